# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every play of the collection has to say for itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

PLAYBOOKS = sorted((Path(__file__).parents[3] / "playbooks").glob("*.yml"))
PLAYS = [(path.stem, play) for path in PLAYBOOKS for play in yaml.safe_load(path.read_text())]


def on_controller(tasks: list[dict]) -> list[dict]:
    """The tasks and blocks that are delegated to the controller."""
    found = [task for task in tasks if task.get("delegate_to") == "localhost"]
    return found + [inner for task in tasks for inner in on_controller(task.get("block", []))]


@pytest.mark.parametrize(("name", "play"), PLAYS, ids=[f"{name}: {play['name']}" for name, play in PLAYS])
def test_a_play(name, play):
    # run_once and what one host notes for others need hosts that wait for one another, whatever ansible.cfg says.
    assert play["strategy"] == "linear"
    # What a play is read with is also to be found in the inventory.
    assert play.get("serial", "{{ lookup('flaskops.production.batches') }}").count("lookup") == 1
    if play["name"] != "Finish the rollout":
        share = play.get("max_fail_percentage", "{{ lookup('flaskops.production.tolerance') }}")
        assert share.count("lookup") == 1
    for task in on_controller(play["tasks"]):
        # ansible_become may be set for all hosts, and the controller needs no sudo.
        assert (task["become"], task["vars"]["ansible_become"]) == (False, False)


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_the_inventory_is_known_before_it_counts(path):
    """A play sees the inventory's variables only when another one has run before."""
    first, *others = yaml.safe_load(path.read_text())
    assert not {"serial", "max_fail_percentage"} & set(first)
    assert any("max_fail_percentage" in play for play in others) == (path.stem not in ("doctor", "status"))


@pytest.mark.parametrize("name", ["site", "deploy", "rollback"])
def test_a_rollout_is_finished_whatever_failed_and_its_batches_leave_somebody_to_clean_up(name):
    (finish,) = (play for found, play in PLAYS if found == name and play["name"] == "Finish the rollout")
    assert finish["max_fail_percentage"] == 100
    assert finish is [play for found, play in PLAYS if found == name][-1]
    # With serial, Ansible ends the playbook where a whole batch is lost, and nobody gives the locks back.
    assert not [play for found, play in PLAYS if found == name and "serial" in play]


ROOT = Path(__file__).parents[3]
ROLES = sorted(path.name for path in ROOT.glob("roles/*"))
PRIVATE = re.compile(rf"__({'|'.join(ROLES)})_\w+")


@pytest.mark.parametrize("place", ["playbooks", *(f"roles/{role}" for role in ROLES)])
def test_a_private_variable_is_named_by_its_own_role_only(place):
    files = [path for path in (ROOT / place).rglob("*") if path.is_file()]
    assert files
    named = {
        (path.relative_to(ROOT), found[0])
        for path in files
        for found in PRIVATE.finditer(path.read_text())
        if f"roles/{found[1]}" != place
    }
    assert named == set()
