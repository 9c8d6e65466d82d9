# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last message of a run that failed: what failed where, what is live, and the right next command."""

from __future__ import annotations

import re

import pytest
import yaml

from ansible_collections.flaskops.production.tests.unit.roles.playing import COLLECTION, play

NOTHING = "No host has activated another release: there is nothing to roll back. Fix the cause and run again."


def host(before, live, cause=None):
    activation = {"failed": True, "cause": cause} if cause else {"failed": False}
    return {
        "flask_app_name": "shop",
        "__release_prepared": {"shop": {"release": "v3", "live": before, "needed": True}},
        "release_live": {} if live is None else {"shop": live},
        "__release_activation": activation,
    }


@pytest.fixture
def messages(tmp_path):
    """The last message of each of these hosts."""

    def run(hosts):
        stop = yaml.safe_load((COLLECTION / "roles/release/tasks/fail.yml").read_text())[-1]
        done = play(tmp_path, hosts, [{"include_vars": str(COLLECTION / "roles/release/vars/main.yml")}, stop])
        assert done.returncode == 2, done.stdout + done.stderr
        return dict(re.findall(r'fatal: \[(\w+)\]: FAILED! => .*?"msg": "(.*?)"', done.stdout.replace("\n", " ")))

    return run


def test_a_release_that_every_candidate_refused_leaves_the_rollout_before_alone(messages):
    said = messages({"web1": host("v2", "v2", "candidate: it did not start: KeyError: 1"), "web2": host("v2", "v2")})
    assert said["web1"] == (
        "shop: activating v3 failed on web1 (candidate: it did not start: KeyError: 1). v2 is live there. " + NOTHING
    )


def test_hosts_that_activated_are_named_with_the_command_that_returns_them_and_no_others(messages):
    hosts = {
        "web1": host("v2", "v3"),
        "web2": host("v2", "v2", "health: GET / answered 500, expected 200"),
        "web3": host("v2", "v2"),
        "web4": host("", "v3"),
    }
    assert messages(hosts)["web2"] == (
        "shop: activating v3 failed on web2 (health: GET / answered 500, expected 200). v2 is live there. "
        "Fix the cause and run again. To return web1 to what ran before instead: "
        "ansible-playbook flaskops.production.rollback -e release_rollback_rollout=true --limit web1"
    )


@pytest.mark.parametrize(
    ("live", "said"), [("", "Nothing is live there."), (None, "It is not known what is live there.")]
)
def test_what_is_live_is_said_as_far_as_it_is_known(messages, live, said):
    assert messages({"web1": host("", live)})["web1"] == f"shop: stopped on web1 by the failure above. {said} {NOTHING}"
