# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test rollouts of the playbooks on three hosts, with failed and unreachable hosts."""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.tests.integration.local_fleet import LocalFleet
from ansible_collections.flaskops.production.tests.unit.programs import needs

pytestmark = needs("ssh")

V1 = "shop: v1 is live on 3 hosts: web1, web2, web3."


@pytest.fixture
def fleet():
    """Create three hosts with v1 behind a load balancer."""
    if os.geteuid() != 0:
        pytest.skip("provisions trees, whose owner is root")
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    place = Path(tempfile.mkdtemp(prefix="fleet-", dir=memory))
    place.chmod(0o755)
    found = LocalFleet(place)
    code, output = found.run("deploy", "v1", hooks=True)
    assert (code, found.live(), found.states()) == (0, "v1,v1,v1", "done,done,done"), output
    yield found
    shutil.rmtree(place)


@pytest.mark.parametrize("serial", [1, "100%"])
def test_unreachable_balancer_leaves_no_lock_and_a_correct_report(fleet, serial):
    fleet.gone.add("balancer")
    code, output = fleet.run("deploy", "v2", hooks=True, flask_app_serial=serial)
    assert code != 0
    assert (fleet.live(), fleet.locks()) == ("v1,v1,v1", []), output
    assert V1 in output and "drained on" in output and "web1" in fleet.drained()
    fleet.gone.clear()
    code, output = fleet.run("deploy", "v2", hooks=True)
    assert (code, fleet.live(), fleet.out(), fleet.drained(), fleet.locks()) == (0, "v2,v2,v2", [], [], []), output


def test_partly_failed_rollout_is_undone_once(fleet):
    fleet.rejects("web2", "v2")
    code, output = fleet.run("deploy", "v2", hooks=True)
    assert (code, fleet.live(), fleet.locks()) == (2, "v2,v1,v1", []), output
    assert "activating v2 failed on web2" in output
    advised = re.search(r"ansible-playbook flaskops.production.rollback -e (\S+) --limit ([\w,.-]+)", output)
    assert advised and advised.groups() == ("release_rollback_rollout=true", "web1"), output
    code, output = fleet.run("rollback", hooks=True)
    assert (code, fleet.live(), fleet.locks()) == (2, "v2,v1,v1", []), output
    assert "the live releases of the hosts differ" in output and "-e release_rollback_to=" in output
    # Run the command of the message.
    code, output = fleet.run("rollback", "", "-e", advised[1], "--limit", advised[2], hooks=True)
    assert (code, fleet.live(), fleet.states()) == (0, "v1,v1,v1", "undone,stopped,stopped"), output
    assert "undoing the last rollout, of v2: web1 to v1" in output
    # The same for all hosts.
    code, output = fleet.run("rollback", hooks=True, release_rollback_rollout=True)
    assert (code, fleet.live(), fleet.states()) == (0, "v1,v1,v1", "undone,undone,undone"), output
    assert "is already undone" in output and V1 in output
    assert (fleet.out(), fleet.locks()) == ([], [])


def test_only_one_of_two_concurrent_runs_proceeds(fleet):
    runs = {release: fleet.start("deploy", release, hooks=True) for release in ("v2", "v3")}
    outputs = {release: re.sub(r"\s+", " ", run.communicate(timeout=300)[0]) for release, run in runs.items()}
    codes = {release: run.returncode for release, run in runs.items()}
    assert sorted(codes.values()) == [0, 2], outputs
    winner, loser = sorted(codes, key=codes.get)
    assert fleet.live() == ",".join([winner] * 3), outputs
    assert "Another deploy holds" in outputs[loser] and "release_unlock=true" in outputs[loser]
    assert (fleet.locks(), fleet.drained(), fleet.out()) == ([], [], [])
    for host in fleet.hosts:
        assert not os.path.exists(fleet.layout(host).release(loser))


def test_rollback_after_the_controller_was_killed_joins_drained_hosts(fleet):
    run = fleet.start("deploy", "v2", hooks=True)
    until = time.monotonic() + 120
    while fleet.out() != ["web2"] and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    assert fleet.live().startswith("v2,") and fleet.locks() == fleet.hosts
    assert fleet.out() == ["web2"] and "web2" in fleet.drained()
    code, output = fleet.run("rollback", hooks=True, release_rollback_rollout=True)
    assert (code, fleet.live(), fleet.states()) == (0, "v1,v1,v1", "undone,undone,undone"), output
    assert (fleet.out(), fleet.drained(), fleet.locks()) == ([], [], []), output


def test_failed_join_is_completed_by_the_next_run(fleet):
    join = fleet.place / "join.yml"
    works = join.read_text()
    join.write_text("---\n- name: Join\n  ansible.builtin.fail:\n    msg: no balancer today\n")
    code, output = fleet.run("deploy", "v2", hooks=True, flask_app_max_fail_percentage=50)
    assert code == 2 and fleet.out() and fleet.drained() == fleet.out(), output
    assert "hooks of release_on_failure failed as well" in output and fleet.locks() == []
    join.write_text(works)
    code, output = fleet.run("deploy", "v2", hooks=True)
    assert (code, fleet.live(), fleet.out(), fleet.drained()) == (0, "v2,v2,v2", [], []), output


def test_rollback_is_completed_on_a_host_that_was_unreachable(fleet):
    assert fleet.run("deploy", "v2")[0] == 0
    fleet.gone.add("web3")
    for _time in range(2):
        code, output = fleet.run("rollback", flask_app_max_fail_percentage=40)
        assert (code, fleet.live(), fleet.locks()) == (2, "v1,v1,v2", []), output
    fleet.gone.clear()
    code, output = fleet.run("rollback")
    assert (code, fleet.live(), fleet.states()) == (0, "v1,v1,v1", "done,done,done"), output
    assert "completing the unfinished rollback" in output


@pytest.mark.parametrize("tolerated", [0, 40])
def test_a_host_that_is_lost_during_the_preparation_takes_no_other_one_along(fleet, tolerated):
    fleet.lose("web2")
    code, said = fleet.run("deploy", "v2", hooks=True, flask_app_max_fail_percentage=tolerated)
    assert code != 0
    assert fleet.live() == ("v2,v1,v2" if tolerated else "v1,v1,v1"), said
    assert (fleet.locks(), fleet.out(), fleet.drained()) in (([], [], []), (["web2"], [], [])), said
    if tolerated:
        assert "shop: v2 is live on 2 hosts: web1, web3." in said
    else:
        assert "No host has activated another release" in said
    fleet.lose()
    code, said = fleet.run("deploy", "v2", hooks=True)
    assert (code, fleet.live(), fleet.locks(), fleet.out()) == (0, "v2,v2,v2", [], []), said


def test_a_migration_is_run_once_whichever_hosts_a_run_has_and_whoever_is_first(fleet):
    notes = fleet.place / "migrations"

    def migrated_on(*options, command="migrate"):
        """The hosts on which the migration has been run by now."""
        with_command = {"release_migrate_command": f"pwd >> {notes} # {command}"}
        code, said = fleet.run("deploy", "v2", *options, **with_command)
        assert (code, fleet.locks()) == (0, []), said
        return [path.split("/")[-4] for path in notes.read_text().splitlines()]

    assert migrated_on("--limit", "web3") == ["web3"]
    assert migrated_on() == ["web3"]
    fleet.hosts.insert(0, "web0")
    assert migrated_on() == ["web3"]
    assert fleet.live() == "v2,v2,v2,v2"
    # Another command is another migration, once again.
    assert len(migrated_on("--limit", "web1", command="another")) == 2
    assert len(migrated_on(command="another")) == 2
    assert fleet.live() == "v2,v2,v2,v2"


def test_host_with_two_inventory_names_is_deployed_once(fleet):
    """The release of the second name is on the host by the time that it comes."""
    fleet.hosts.append("alias")
    fleet.more["alias"] = {"flask_app_root": str(fleet.place / "web1/shop")}
    code, output = fleet.run("deploy", "v2", hooks=True)
    assert (code, fleet.live()) == (0, "v2,v2,v2,-"), output
    assert "shop: v2 is live on 4 hosts: web1, web2, web3, alias." in output
    assert (fleet.locks(), fleet.drained()) == ([], []), output
    code, output = fleet.run("rollback", hooks=True)
    assert (code, fleet.live(), fleet.locks()) == (0, "v1,v1,v1,-", []), output
