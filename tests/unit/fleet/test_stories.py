# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stories of a fleet: after each, what hosts answer, the balancer, the locks, and the words of the report."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._app.rollout import read_rollout
from ansible_collections.flaskops.production.plugins.module_utils._core import clock as clock_module
from ansible_collections.flaskops.production.plugins.plugin_utils._run import identity
from ansible_collections.flaskops.production.tests.unit.fleet.fleet import Fleet, Killed

Story = Callable[[Fleet], Any]


def kill() -> None:
    raise Killed


def deployed(fleet: Fleet, *releases: str, **options: Any) -> None:
    for release in releases:
        assert fleet.run("deploy", release, **options).code == 0


def undo(fleet: Fleet, **options: Any):
    return fleet.run("rollback", undo=True, **options)


def stopped(fleet: Fleet, release: str = "v4", host: str = "web2", **options: Any):
    """A rollout that a host refuses, and that stops there."""
    fleet.rejecting[host] = {release}
    run = fleet.run("deploy", release, **options)
    fleet.rejecting.clear()
    return run


# Undoing a rollout


def undone(fleet):
    deployed(fleet, "v1", "v2")
    return undo(fleet)


def undone_twice(fleet):
    undone(fleet)
    return undo(fleet)


def undone_and_deployed_again(fleet):
    undone(fleet)
    deployed(fleet, "v2")
    return undo(fleet)


def undo_of_a_stopped_rollout(fleet):
    deployed(fleet, "v1", "v3")
    assert stopped(fleet).code == 2
    return undo(fleet)


def undo_of_a_stopped_rollout_twice(fleet):
    undo_of_a_stopped_rollout(fleet)
    return undo(fleet)


def undo_of_a_rollout_that_was_retried(fleet):
    deployed(fleet, "v1")
    stopped(fleet)
    deployed(fleet, "v4")
    assert fleet.live() == "v4,v4,v4"
    return undo(fleet)


def undo_that_is_interrupted_and_repeated(fleet):
    deployed(fleet, "v1", "v3")
    assert undo(fleet, at={("activate", "web2"): kill}).code == 137
    assert fleet.live() == "v1,v3,v3"
    return undo(fleet)


def undo_of_a_canary_and_the_rest(fleet):
    deployed(fleet, "v1")
    deployed(fleet, "v2", limit=("web3",))
    deployed(fleet, "v2")
    return undo(fleet)


def undo_with_clocks_a_day_apart(fleet):
    hours = {"web1": "2026-04-22T12:00:00Z", "web2": "2026-04-20T12:00:00Z", "web3": "2026-04-21T12:00:00Z"}
    for host, time in hours.items():
        clock_module.format_now = lambda time=time: time
        deployed(fleet, "v1", limit=(host,))
    deployed(fleet, "v2", limit=("web2", "web3"))
    return undo(fleet)


def undo_with_a_host_added_before(fleet):
    deployed(fleet, "v1", "v2")
    fleet.add("web4")
    deployed(fleet, "v2")
    assert fleet.live() == "v2,v2,v2,v2"
    return undo(fleet)


def undo_with_a_host_removed(fleet):
    deployed(fleet, "v1", "v2")
    fleet.names.remove("web3")
    return undo(fleet)


def undo_with_a_host_removed_and_added_again(fleet):
    deployed(fleet, "v1", "v2")
    fleet.names.remove("web3")
    deployed(fleet, "v3")
    fleet.add("web3")
    assert fleet.live() == "v3,v3,v2"
    deployed(fleet, "v3")
    return undo(fleet)


def undo_with_a_host_that_was_down(fleet):
    deployed(fleet, "v1")
    fleet.unreachable = {"web3"}
    assert fleet.run("deploy", "v2", tolerated=1).code == 2
    fleet.unreachable = set()
    return undo(fleet)


def undo_after_the_host_that_was_down_joined(fleet):
    deployed(fleet, "v1")
    fleet.unreachable = {"web3"}
    fleet.run("deploy", "v2", tolerated=1)
    fleet.unreachable = set()
    deployed(fleet, "v2")
    return undo(fleet)


def undo_of_one_application(fleet):
    deployed(fleet, "v1", "v2", apps=("shop", "blog"))
    deployed(fleet, "v3", apps=("blog",))
    run = undo(fleet)
    assert fleet.live("blog") == "v3,v3,v3"
    return run


def undo_of_both_applications(fleet):
    deployed(fleet, "v1", "v2", apps=("shop", "blog"))
    deployed(fleet, "v3", apps=("blog",))
    run = undo(fleet, apps=("shop", "blog"))
    assert fleet.live("blog") == "v2,v2,v2"
    return run


def undo_of_a_rollback(fleet):
    deployed(fleet, "v1", "v2")
    assert fleet.run("rollback").code == 0
    assert fleet.live() == "v1,v1,v1"
    return undo(fleet)


def undo_of_different_last_rollouts(fleet):
    deployed(fleet, "v1")
    deployed(fleet, "v2", limit=("web1",))
    deployed(fleet, "v3", limit=("web2", "web3"))
    return undo(fleet)


def undo_of_different_last_rollouts_by_their_hosts(fleet):
    run = undo_of_different_last_rollouts(fleet)
    # The limits are those of the message.
    limits = list(dict.fromkeys(re.findall(r"--limit ([\w,]+)", run.words)))
    assert limits == ["web1", "web2,web3"]
    return [undo(fleet, limit=tuple(limit.split(","))) for limit in limits][-1]


def undo_without_a_rollout(fleet):
    deployed(fleet, "v1")
    for host in fleet.names:
        os.unlink(os.path.join(fleet.layout(host).state, "rollout.json"))
    return undo(fleet)


def undo_of_the_first_rollout(fleet):
    deployed(fleet, "v1")
    return undo(fleet)


# Rolling back


def rolled_back(fleet):
    deployed(fleet, "v1", "v2")
    return fleet.run("rollback")


def rolled_back_to_a_name(fleet):
    deployed(fleet, "v1", "v2", "v3")
    return fleet.run("rollback", to="v1")


def rolled_back_to_a_name_twice(fleet):
    rolled_back_to_a_name(fleet)
    return fleet.run("rollback", to="v1")


def rolled_back_to_what_a_host_lacks(fleet):
    deployed(fleet, "v1", limit=("web1", "web2"))
    deployed(fleet, "v2")
    return fleet.run("rollback", to="v1")


def rollback_of_hosts_that_differ(fleet):
    deployed(fleet, "v4", "v5")
    stopped(fleet, "v6")
    assert fleet.live() == "v6,v5,v5"
    return fleet.run("rollback")


def rollback_of_hosts_that_differ_to_one(fleet):
    rollback_of_hosts_that_differ(fleet)
    return fleet.run("rollback", to="v4")


def rollback_without_a_host_and_repeated(fleet):
    deployed(fleet, "v1", "v2", "v3")
    fleet.unreachable = {"web3"}
    assert fleet.run("rollback", tolerated=1).code == 2
    assert fleet.live() == "v2,v2,v3"
    fleet.unreachable = set()
    return fleet.run("rollback")


def rollback_stopped_by_an_unreachable_host(step: str) -> Story:
    def story(fleet):
        deployed(fleet, "v1", "v2")
        gone = {(step, "web2"): lambda: fleet.unreachable.add("web2")}
        run = fleet.run("rollback", at=gone)
        assert run.code and "web2" in run.words
        assert fleet.live() == {"claim": "v2,v2,v2", "activate": "v1,v2,v2", "finish": "v1,v1,v1"}[step]
        assert [lock for lock in fleet.locks() if "web2" not in lock] == []
        fleet.unreachable.clear()
        fleet.dead.add(run.name)
        return fleet.run("rollback", to="" if step == "claim" else "v1")

    return story


def rollback_repeated_while_a_host_is_down(fleet):
    deployed(fleet, "v1", "v2", "v3")
    fleet.unreachable = {"web3"}
    fleet.run("rollback", tolerated=1)
    return fleet.run("rollback", tolerated=1)


def rollback_that_is_interrupted_and_repeated(fleet):
    deployed(fleet, "v1", "v2", "v3")
    fleet.run("rollback", at={("activate", "web2"): kill})
    assert fleet.live() == "v2,v3,v3"
    return fleet.run("rollback")


def rolled_back_with_clocks_a_day_apart(fleet):
    """The first host's clock is a day ahead of the others', and is set back before the last rollout."""
    deploy_with_clocks(fleet, "v1", "2026-04-22T12:00:00Z", "2026-04-21T12:00:00Z", "2026-04-21T12:00:00Z")
    deploy_with_clocks(fleet, "v2", "2026-04-22T13:00:00Z", "2026-04-21T13:00:00Z", "2026-04-21T13:00:00Z")
    deploy_with_clocks(fleet, "v3", "2026-04-20T14:00:00Z", "2026-04-21T14:00:00Z", "2026-04-21T14:00:00Z")
    return fleet.run("rollback")


def deploy_with_clocks(fleet, release, *times):
    """One rollout, during which each host has a time of its own."""

    def set_clock(time):
        clock_module.format_now = lambda: time

    steps = ("prepare", "activate", "finish")
    at = {
        (step, host): (lambda time=time: set_clock(time))
        for host, time in zip(fleet.names, times, strict=True)
        for step in steps
    }
    assert fleet.run("deploy", release, at=at).code == 0


def rollback_of_hosts_that_differ_to_one_twice(fleet):
    rollback_of_hosts_that_differ_to_one(fleet)
    return fleet.run("rollback", to="v4")


def rollback_of_hosts_that_differ_twice(fleet):
    rollback_of_hosts_that_differ(fleet)
    return fleet.run("rollback")


def rolled_back_two_steps(fleet):
    deployed(fleet, "v1", "v2", "v3")
    assert fleet.run("rollback").code == 0
    return fleet.run("rollback")


def rollback_where_nothing_is_live(fleet):
    deployed(fleet, "v1", "v2")
    for host in fleet.names:
        os.unlink(fleet.layout(host).app)
    assert fleet.live() == "-,-,-"
    return fleet.run("rollback")


def rollback_with_a_host_that_has_nothing_before(fleet):
    deployed(fleet, "v1", "v2")
    fleet.add("web4")
    deployed(fleet, "v2")
    return fleet.run("rollback")


# One rollout at a time


def two_rollouts_at_once(fleet):
    deployed(fleet, "v1")
    other = []
    run = fleet.run("deploy", "v2", at={("activate", "web2"): lambda: other.append(fleet.run("deploy", "v3"))})
    assert other[0].code == 2 and "Another deploy holds" in other[0].words and "ada on ci" in other[0].words
    return run


def two_rollouts_of_releases_that_are_there(fleet):
    deployed(fleet, "v1", "v2", "v3")
    other = []
    run = fleet.run("deploy", "v1", at={("activate", "web2"): lambda: other.append(fleet.run("deploy", "v2"))})
    assert other[0].code == 2
    return run


def a_rollback_during_a_rollout(fleet):
    deployed(fleet, "v1", "v2")
    other = []
    run = fleet.run("deploy", "v3", at={("activate", "web3"): lambda: other.append(fleet.run("rollback"))})
    assert other[0].code == 2 and "Another deploy holds" in other[0].words
    return run


def a_rollout_during_a_rollback(fleet):
    deployed(fleet, "v1", "v2")
    other = []
    run = fleet.run("rollback", at={("activate", "web3"): lambda: other.append(fleet.run("deploy", "v3"))})
    assert other[0].code == 2
    return run


def a_rollout_on_a_host_that_another_one_has_done_with(fleet):
    deployed(fleet, "v1")
    other = []
    begin = {("activate", "web3"): lambda: other.append(fleet.run("deploy", "v3", limit=("web1",)))}
    run = fleet.run("deploy", "v2", at=begin)
    assert other[0].code == 2
    return run


def a_rollout_of_another_application_meanwhile(fleet):
    deployed(fleet, "v1", apps=("shop", "blog"))
    other = []
    begin = {("activate", "web2"): lambda: other.append(fleet.run("deploy", "v3", apps=("blog",)))}
    run = fleet.run("deploy", "v2", at=begin)
    assert other[0].code == 0 and fleet.live("blog") == "v3,v3,v3"
    return run


def two_at_the_same_moment(fleet):
    """The second one comes while the first one has only one of its locks, and gives way; it tries again later."""
    deployed(fleet, "v1")
    other = []
    run = fleet.run("deploy", "v2", at={("claim", "web2"): lambda: other.append(fleet.run("deploy", "v3"))})
    assert other[0].code == 2 and fleet.live() == "v2,v2,v2"
    return run


def a_lock_is_taken_away(fleet):
    deployed(fleet, "v1")
    fleet.run("deploy", "v2", at={("activate", "web2"): kill})
    fleet.dead.clear()
    assert fleet.run("deploy", "v2").code == 2
    return fleet.run("deploy", "v2", unlock=True)


# A controller that is killed, at each step


def killed(step: str, host: str = "web2", hooks: bool = True) -> Story:
    def story(fleet):
        deployed(fleet, "v1", hooks=hooks)
        assert fleet.run("deploy", "v2", hooks=hooks, at={(step, host): kill}).code == 137
        return fleet.run("deploy", "v2", hooks=hooks)

    return story


def killed_with_two_applications(fleet):
    """Each batch activates both applications, one after the other."""
    apps = ("shop", "blog")
    deployed(fleet, "v1", apps=apps, hooks=True)
    reached: list[str] = []

    def kill_at_the_second_time() -> None:
        reached.append(fleet.live("blog"))
        if len(reached) == 2:
            kill()

    run = fleet.run("deploy", "v2", apps=apps, hooks=True, at={("activate", "web2"): kill_at_the_second_time})
    assert run.code == 137 and (fleet.live(), fleet.live("blog")) == ("v2,v2,v1", "v2,v1,v1")
    run = fleet.run("deploy", "v2", apps=apps, hooks=True)
    assert fleet.live("blog") == "v2,v2,v2" and fleet.drained("blog") == []
    return run


def killed_and_undone(fleet):
    deployed(fleet, "v1", hooks=True)
    fleet.run("deploy", "v2", hooks=True, at={("join", "web2"): kill})
    assert fleet.live() == "v2,v2,v1" and fleet.out == {"web2"}
    return undo(fleet, hooks=True)


# Hosts that cannot be reached, at each step


def unreachable(step: str, tolerated: int = 0) -> Story:
    def story(fleet):
        deployed(fleet, "v1", hooks=True)
        gone = {(step, "web2"): lambda: fleet.unreachable.add("web2")}
        run = fleet.run("deploy", "v2", hooks=True, tolerated=tolerated, at=gone)
        assert run.code
        others = [lock for lock in fleet.locks() if "web2" not in lock]
        assert others == [], "the locks of the others are given back"
        fleet.unreachable.clear()
        fleet.dead.add(run.name)
        return fleet.run("deploy", "v2", hooks=True)

    return story


# The balancer


def join_that_fails_once(fleet):
    deployed(fleet, "v1", hooks=True)
    fleet.join_fails = 2
    run = fleet.run("deploy", "v2", hooks=True)
    assert run.code == 2 and fleet.out == {"web1"} and fleet.drained() == ["web1"]
    return fleet.run("deploy", "v2", hooks=True)


def join_that_fails_and_a_run_with_nothing_to_do(fleet):
    deployed(fleet, "v1", hooks=True)
    fleet.join_fails = 2
    fleet.run("deploy", "v2", hooks=True, serial=3)
    assert fleet.out == {"web1"}
    fleet.run("deploy", "v2", hooks=True)
    return fleet.run("deploy", "v2", hooks=True)


def balancer_that_is_down(fleet):
    deployed(fleet, "v1", hooks=True)
    fleet.balancer_down = True
    run = fleet.run("deploy", "v2", hooks=True)
    assert run.code and fleet.live() == "v1,v1,v1"
    return run


def balancer_that_is_down_for_a_batch_of_all(fleet):
    deployed(fleet, "v1", hooks=True)
    fleet.balancer_down = True
    run = fleet.run("deploy", "v2", hooks=True, serial=3)
    assert run.code and fleet.live() == "v1,v1,v1"
    return run


def balancer_that_comes_back(fleet):
    balancer_that_is_down(fleet)
    fleet.balancer_down = False
    return fleet.run("deploy", "v2", hooks=True)


UNDONE, DONE, STOPPED = (",".join([state] * 3) for state in ("undone", "done", "stopped"))
V1, V2 = (f"shop: {release} is live on 3 hosts: web1, web2, web3." for release in ("v1", "v2"))
# story, releases, states of the rollout, out of the balancer, code, words
STORIES: list[tuple[Story, str, str, set[str], int, str]] = [
    (undone, "v1,v1,v1", UNDONE, set(), 0, "undoing the last rollout, of v2: web1, web2 and web3 to v1"),
    (undone_twice, "v1,v1,v1", UNDONE, set(), 0, "is already undone"),
    (
        undone_and_deployed_again,
        "v1,v1,v1",
        UNDONE,
        set(),
        0,
        "undoing the last rollout, of v2: web1, web2 and web3 to v1",
    ),
    (undo_of_a_stopped_rollout, "v3,v3,v3", UNDONE, set(), 0, "undoing the last rollout, of v4: web1 to v3"),
    (undo_of_a_stopped_rollout_twice, "v3,v3,v3", UNDONE, set(), 0, "is already undone"),
    (undo_of_a_rollout_that_was_retried, "v1,v1,v1", UNDONE, set(), 0, "web1, web2 and web3 to v1"),
    (undo_that_is_interrupted_and_repeated, "v1,v1,v1", UNDONE, set(), 0, "web2 and web3 to v1"),
    (undo_of_a_canary_and_the_rest, "v1,v1,v1", UNDONE, set(), 0, "web1, web2 and web3 to v1"),
    (undo_with_clocks_a_day_apart, "v1,v1,v1", "done,undone,undone", set(), 0, "web1 is not rolled back"),
    (
        undo_with_a_host_added_before,
        "v1,v1,v1,v2",
        UNDONE + ",done",
        set(),
        0,
        "web4 is not rolled back: it had no",
    ),
    (undo_with_a_host_removed, "v1,v1", "undone,undone", set(), 0, "web1 and web2 to v1"),
    (undo_with_a_host_removed_and_added_again, "v2,v2,v2", UNDONE, set(), 0, "web1, web2 and web3 to v2"),
    (undo_with_a_host_that_was_down, "v1,v1,v1", "undone,undone,done", set(), 0, "web3 is not rolled back: it did not"),
    (
        undo_after_the_host_that_was_down_joined,
        "v1,v1,v1",
        UNDONE,
        set(),
        0,
        "web1, web2 and web3 to v1",
    ),
    (undo_of_one_application, "v1,v1,v1", UNDONE, set(), 0, "shop: undoing the last rollout, of v2"),
    (undo_of_both_applications, "v1,v1,v1", UNDONE, set(), 0, "blog: undoing the last rollout, of v3"),
    (undo_of_a_rollback, "v2,v2,v2", UNDONE, set(), 0, "undoing the last rollout, of v1: web1, web2 and web3 to v2"),
    (undo_of_different_last_rollouts, "v2,v3,v3", DONE, set(), 2, "v2 on web1 (--limit web1); v3 on web2"),
    (undo_of_different_last_rollouts_by_their_hosts, "v1,v1,v1", UNDONE, set(), 0, "of v3: web2 and web3 to v1"),
    (undo_without_a_rollout, "v1,v1,v1", "-,-,-", set(), 2, "no rollout is recorded on web1, web2 and web3"),
    (undo_of_the_first_rollout, "v1,v1,v1", DONE, set(), 2, "it had no live release before"),
    (rolled_back, "v1,v1,v1", DONE, set(), 0, "shop: rolling back to v1 on web1, web2 and web3"),
    (rolled_back_to_a_name, "v1,v1,v1", DONE, set(), 0, "back to v1"),
    (rolled_back_to_a_name_twice, "v1,v1,v1", DONE, set(), 0, V1),
    (rolled_back_to_what_a_host_lacks, "v2,v2,v2", DONE, set(), 2, "not complete on web3"),
    (
        rollback_of_hosts_that_differ,
        "v6,v5,v5",
        STOPPED,
        set(),
        2,
        "v6 on web1; v5 on web2 and web3",
    ),
    (rollback_of_hosts_that_differ_to_one, "v4,v4,v4", DONE, set(), 0, "back to v4 on web1, web2 and web3"),
    (rollback_of_hosts_that_differ_to_one_twice, "v4,v4,v4", DONE, set(), 0, "back to v4 on web1, web2 and web3"),
    (rollback_of_hosts_that_differ_twice, "v6,v5,v5", STOPPED, set(), 2, "hosts differ"),
    (rolled_back_with_clocks_a_day_apart, "v2,v2,v2", DONE, set(), 0, "back to v2 on web1, web2 and web3"),
    (
        rollback_without_a_host_and_repeated,
        "v2,v2,v2",
        DONE,
        set(),
        0,
        "completing the unfinished rollback",
    ),
    (
        rollback_repeated_while_a_host_is_down,
        "v2,v2,v3",
        "stopped,stopped,done",
        set(),
        2,
        "back to v2 on web1 and web2",
    ),
    *[
        (rollback_stopped_by_an_unreachable_host(step), "v1,v1,v1", DONE, set(), 0, V1)
        for step in ("claim", "activate", "finish")
    ],
    (rollback_that_is_interrupted_and_repeated, "v2,v2,v2", DONE, set(), 0, "rollback to v2"),
    (rolled_back_two_steps, "v1,v1,v1", DONE, set(), 0, "back to v1"),
    (rollback_where_nothing_is_live, "v2,v2,v2", DONE, set(), 0, "back to v2"),
    (
        rollback_with_a_host_that_has_nothing_before,
        "v1,v1,v1,v2",
        "done,done,done,done",
        set(),
        0,
        "web4 is not rolled back",
    ),
    (two_rollouts_at_once, "v2,v2,v2", DONE, set(), 0, V2),
    (two_rollouts_of_releases_that_are_there, "v1,v1,v1", DONE, set(), 0, V1),
    (a_rollback_during_a_rollout, "v3,v3,v3", DONE, set(), 0, "v3 is live on 3 hosts"),
    (a_rollout_during_a_rollback, "v1,v1,v1", DONE, set(), 0, V1),
    (
        a_rollout_on_a_host_that_another_one_has_done_with,
        "v2,v2,v2",
        DONE,
        set(),
        0,
        V2,
    ),
    (a_rollout_of_another_application_meanwhile, "v2,v2,v2", DONE, set(), 0, V2),
    (two_at_the_same_moment, "v2,v2,v2", DONE, set(), 0, V2),
    (a_lock_is_taken_away, "v2,v2,v2", DONE, set(), 0, V2),
    *[
        (killed(step), "v2,v2,v2", DONE, set(), 0, V2)
        for step in ("claim", "prepare", "drain", "activate", "join", "finish")
    ],
    (killed_with_two_applications, "v2,v2,v2", DONE, set(), 0, V2),
    (killed_and_undone, "v1,v1,v1", UNDONE, set(), 0, "web1 and web2 to v1"),
    *[
        (unreachable(step, tolerated), "v2,v2,v2", DONE, set(), 0, V2)
        for step in ("claim", "prepare", "drain", "activate", "join", "finish")
        for tolerated in (0, 1)
    ],
    (join_that_fails_once, "v2,v2,v2", DONE, set(), 0, V2),
    (join_that_fails_and_a_run_with_nothing_to_do, "v2,v2,v2", DONE, set(), 0, ""),
    (balancer_that_is_down, "v1,v1,v1", STOPPED, set(), 4, V1),
    (
        balancer_that_is_down_for_a_batch_of_all,
        "v1,v1,v1",
        STOPPED,
        set(),
        4,
        V1,
    ),
    (balancer_that_comes_back, "v2,v2,v2", DONE, set(), 0, V2),
]


def name_of(story: Any) -> str:
    return getattr(story, "__qualname__", "").replace(".<locals>.story", "")


@pytest.mark.parametrize(
    ("story", "live", "states", "out", "code", "words"), STORIES, ids=[name_of(story) for story, *_expected in STORIES]
)
def test_a_story(fleet, monkeypatch, story, live, states, out, code, words):
    # A story may change the clock.
    monkeypatch.setattr(clock_module, "format_now", clock_module.format_now)
    run = story(fleet)
    assert fleet.live() == live, run.words
    assert fleet.states() == states, run.words
    assert fleet.out == out
    assert bool(run.code) == bool(code), run.words
    assert words in run.words
    assert fleet.locks() == []


def rollouts_of(fleet):
    """The rollout that each host has recorded."""
    return [read_rollout(fleet.layout(host)).get("id") for host in fleet.names]


def test_a_host_that_is_added_later_joins_the_rollout_that_is_live(fleet):
    deployed(fleet, "v1", "v2")
    before = rollouts_of(fleet)
    assert len(set(before)) == 1
    fleet.add("web4")
    deployed(fleet, "v2")
    assert rollouts_of(fleet) == [before[0]] * 4
    # The next one is one of all hosts, and so is its undoing.
    deployed(fleet, "v3")
    assert len(set(rollouts_of(fleet))) == 1 and rollouts_of(fleet) != [before[0]] * 4
    run = undo(fleet)
    assert (run.code, fleet.live()) == (0, "v2,v2,v2,v2"), run.words


def test_a_host_that_was_added_alone_takes_part_in_the_next_rollout(fleet):
    deployed(fleet, "v1", "v2")
    fleet.add("web4")
    deployed(fleet, "v2", limit=("web4",))
    deployed(fleet, "v3")
    run = undo(fleet)
    assert (run.code, fleet.live(), fleet.states()) == (0, "v2,v2,v2,v2", UNDONE + ",undone"), run.words


def test_of_two_runs_exactly_one_goes_on_whichever_locks_each_got_first(fleet, monkeypatch):
    """The first one comes to web2 when the second one has just taken it. By its name, it waits for that one."""
    deployed(fleet, "v1")

    def begin() -> None:
        fleet.run("deploy", "v3", limit=("web2", "web3"), at={("claim", "web3"): kill})
        # It lives, and is about to give way on a host that the first one has.
        fleet.dead.clear()

    monkeypatch.setattr(identity.time, "sleep", lambda _seconds: os.unlink(fleet.layout("web2").lock))
    run = fleet.run("deploy", "v2", at={("claim", "web2"): begin})
    assert (run.code, fleet.live(), fleet.locks()) == (0, "v2,v2,v2", []), run.words


def test_a_run_whose_name_comes_later_gives_way_at_once(fleet, monkeypatch):
    deployed(fleet, "v1")
    waits: list[float] = []
    monkeypatch.setattr(identity.time, "sleep", waits.append)
    assert two_at_the_same_moment(fleet).code == 0
    assert waits == []


def test_a_run_with_nothing_to_do_takes_one_execution_and_no_lock(fleet):
    deployed(fleet, "v1")
    fleet.executions.clear()
    taken = []
    deployed(fleet, "v1", at={("finish", "web3"): lambda: taken.extend(fleet.locks())})
    assert fleet.executions == {"web1": 1, "web2": 1, "web3": 1}
    assert taken == []


@pytest.mark.parametrize(
    ("playbook", "options"), [("deploy", {"release": "v3"}), ("deploy", {"release": "v1"}), ("rollback", {})]
)
def test_the_locks_are_held_from_the_first_preparation_to_the_last_activation(fleet, playbook, options):
    deployed(fleet, "v1", "v2")
    seen: list[list[str]] = []
    steps = (("activate", "web1"), ("activate", "web3"), ("finish", "web1"))
    fleet.run(playbook, **options, at=dict.fromkeys(steps, lambda: seen.append(fleet.locks())))
    assert seen == [[f"{host}/shop/.deploy/lock" for host in fleet.names]] * 3
