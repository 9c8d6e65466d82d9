# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks on three hosts: what only Ansible shows, such as who cleans up where hosts are taken out of a play."""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.tests.integration.played import Played
from ansible_collections.flaskops.production.tests.unit.programs import needs

pytestmark = needs("ssh")

V1 = "shop: v1 is live on 3 hosts: web1, web2, web3."


@pytest.fixture
def played():
    """Three hosts that run v1 behind a balancer."""
    if os.geteuid() != 0:
        pytest.skip("provisions trees, whose owner is root")
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    place = Path(tempfile.mkdtemp(prefix="played-", dir=memory))
    place.chmod(0o755)
    found = Played(place)
    code, said = found.run("deploy", "v1", hooks=True)
    assert (code, found.live(), found.states()) == (0, "v1,v1,v1", "done,done,done"), said
    yield found
    shutil.rmtree(place)


@pytest.mark.parametrize("serial", [1, "100%"])
def test_a_balancer_that_cannot_be_reached_leaves_no_lock_and_a_true_report(played, serial):
    played.gone.add("balancer")
    code, said = played.run("deploy", "v2", hooks=True, flask_app_serial=serial)
    assert code != 0
    assert (played.live(), played.locks()) == ("v1,v1,v1", []), said
    assert V1 in said and "drained on" in said and "web1" in played.drained()
    played.gone.clear()
    code, said = played.run("deploy", "v2", hooks=True)
    assert (code, played.live(), played.out(), played.drained(), played.locks()) == (0, "v2,v2,v2", [], [], []), said


def test_a_rollout_that_a_host_refuses_is_undone_once(played):
    played.rejects("web2", "v2")
    code, said = played.run("deploy", "v2", hooks=True)
    assert (code, played.live(), played.locks()) == (2, "v2,v1,v1", []), said
    assert "activating v2 failed on web2" in said and "release_rollback_rollout=true --limit web1" in said
    code, said = played.run("rollback", hooks=True)
    assert (code, played.live(), played.locks()) == (2, "v2,v1,v1", []), said
    assert "hosts differ" in said and "-e release_rollback_to=" in said
    for words in ("of v2, is undone: web1 to v1", "is undone already"):
        code, said = played.run("rollback", hooks=True, release_rollback_rollout=True)
        assert (code, played.live(), played.states()) == (0, "v1,v1,v1", "undone,undone,undone"), said
        assert words in said and V1 in said
    assert (played.out(), played.locks()) == ([], [])


def test_of_two_runs_at_the_same_moment_exactly_one_wins_and_the_other_one_does_nothing(played):
    runs = {release: played.start("deploy", release, hooks=True) for release in ("v2", "v3")}
    outputs = {release: re.sub(r"\s+", " ", run.communicate(timeout=300)[0]) for release, run in runs.items()}
    codes = {release: run.returncode for release, run in runs.items()}
    assert sorted(codes.values()) == [0, 2], outputs
    winner, loser = sorted(codes, key=codes.get)
    assert played.live() == ",".join([winner] * 3), outputs
    assert "Another deploy holds" in outputs[loser] and "release_unlock=true" in outputs[loser]
    assert (played.locks(), played.drained(), played.out()) == ([], [], [])
    for host in played.hosts:
        assert not os.path.exists(played.home(host).release(loser))


def test_a_controller_that_is_killed_while_a_host_is_drained(played):
    run = played.start("deploy", "v2", hooks=True)
    until = time.monotonic() + 120
    while played.out() != ["web2"] and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    assert played.live().startswith("v2,") and played.locks() == played.hosts
    assert played.out() == ["web2"] and "web2" in played.drained()
    code, said = played.run("rollback", hooks=True, release_rollback_rollout=True)
    assert (code, played.live(), played.states()) == (0, "v1,v1,v1", "undone,undone,undone"), said
    assert (played.out(), played.drained(), played.locks()) == ([], [], []), said


def test_a_join_that_fails_is_completed_by_the_next_run(played):
    join = played.place / "join.yml"
    works = join.read_text()
    join.write_text("---\n- name: Join\n  ansible.builtin.fail:\n    msg: no balancer today\n")
    code, said = played.run("deploy", "v2", hooks=True, flask_app_max_fail_percentage=50)
    assert code == 2 and played.out() and played.drained() == played.out(), said
    assert "hooks of release_on_failure failed as well" in said and played.locks() == []
    join.write_text(works)
    code, said = played.run("deploy", "v2", hooks=True)
    assert (code, played.live(), played.out(), played.drained()) == (0, "v2,v2,v2", [], []), said


def test_a_host_that_cannot_be_reached_is_left_out_of_a_rollback_that_is_completed_later(played):
    assert played.run("deploy", "v2")[0] == 0
    played.gone.add("web3")
    for _time in range(2):
        code, said = played.run("rollback", flask_app_max_fail_percentage=40)
        assert (code, played.live(), played.locks()) == (2, "v1,v1,v2", []), said
    played.gone.clear()
    code, said = played.run("rollback")
    assert (code, played.live(), played.states()) == (0, "v1,v1,v1", "done,done,done"), said
    assert "the rollback that has begun is completed" in said


@pytest.mark.parametrize("tolerated", [0, 40])
def test_a_host_that_is_lost_during_the_preparation_takes_no_other_one_along(played, tolerated):
    played.lose("web2")
    code, said = played.run("deploy", "v2", hooks=True, flask_app_max_fail_percentage=tolerated)
    assert code != 0
    assert played.live() == ("v2,v1,v2" if tolerated else "v1,v1,v1"), said
    assert (played.locks(), played.out(), played.drained()) in (([], [], []), (["web2"], [], [])), said
    if tolerated:
        assert "shop: v2 is live on 2 hosts: web1, web3." in said
    else:
        assert "No host has activated another release" in said
    played.lose()
    code, said = played.run("deploy", "v2", hooks=True)
    assert (code, played.live(), played.locks(), played.out()) == (0, "v2,v2,v2", [], []), said


def test_a_migration_is_run_once_whichever_hosts_a_run_has_and_whoever_is_first(played):
    notes = played.place / "migrations"

    def migrated_on(*options, command="migrate"):
        """The hosts on which the migration has been run by now."""
        with_command = {"release_migrate_command": f"pwd >> {notes} # {command}"}
        code, said = played.run("deploy", "v2", *options, **with_command)
        assert (code, played.locks()) == (0, []), said
        return [path.split("/")[-4] for path in notes.read_text().splitlines()]

    assert migrated_on("--limit", "web3") == ["web3"]
    assert migrated_on() == ["web3"]
    played.hosts.insert(0, "web0")
    assert migrated_on() == ["web3"]
    assert played.live() == "v2,v2,v2,v2"
    # Another command is another migration, once again.
    assert len(migrated_on("--limit", "web1", command="another")) == 2
    assert len(migrated_on(command="another")) == 2
    assert played.live() == "v2,v2,v2,v2"
