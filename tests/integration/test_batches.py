# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Batches of one application among several, with a task file in the place of the switch that tells when it ran."""

from __future__ import annotations

import json
import subprocess

import pytest
from environment import tool_environment

HOSTS = ["web1", "web2", "web3", "web4"]
PLAY = {
    "hosts": "all",
    "gather_facts": False,
    # As the playbooks have it.
    "max_fail_percentage": 0,
    "tasks": [
        {
            "name": "Activate each release",
            "ansible.builtin.include_tasks": {
                "file": "{{ lookup('flaskops.production.per_app', playbook_dir ~ '/activate.yml', batches=true) }}"
            },
        }
    ],
}
# The release is called after the host on which it fails.
SWITCH = [
    {"name": "Begin", "ansible.builtin.debug": {"msg": "begin {{ flask_app_name }} {{ inventory_hostname }}"}},
    {"name": "Fail", "ansible.builtin.fail": {}, "when": "inventory_hostname == release_name | default('')"},
    {"name": "End", "ansible.builtin.debug": {"msg": "end {{ flask_app_name }} {{ inventory_hostname }}"}},
]


@pytest.fixture
def switched(tmp_path):
    """Which applications began and ended on which hosts, in this order."""

    def run(*apps: dict) -> list[str]:
        (tmp_path / "site.yml").write_text(json.dumps([PLAY]))
        (tmp_path / "activate.yml").write_text(json.dumps(SWITCH))
        (tmp_path / "variables.json").write_text(json.dumps({"flask_apps": apps}))
        inventory = {"all": {"hosts": {host: {"ansible_connection": "local"} for host in HOSTS}}}
        (tmp_path / "inventory.json").write_text(json.dumps(inventory))
        done = subprocess.run(
            ["ansible-playbook", "-i", "inventory.json", "-e", "@variables.json", "site.yml"],
            check=False,
            cwd=tmp_path,
            env=tool_environment(ANSIBLE_STDOUT_CALLBACK="ansible.builtin.default", ANSIBLE_NOCOLOR="true"),
            capture_output=True,
            text=True,
        )
        assert "PLAY RECAP" in done.stdout, done.stdout + done.stderr
        words = (line.split('"')[3] for line in done.stdout.splitlines() if line.strip().startswith('"msg": "'))
        return [said for said in words if said.startswith(("begin ", "end "))]

    return run


def each(what: str, app: str, hosts: list[str]) -> list[str]:
    return [f"{what} {app} {host}" for host in hosts]


def test_an_application_with_batches_follows_them_and_the_others_do_not(switched):
    said = switched({"flask_app_name": "shop", "flask_app_serial": [1, "100%"]}, {"flask_app_name": "blog"})
    groups = [
        each("begin", "shop", HOSTS[:1]),
        each("end", "shop", HOSTS[:1]),
        each("begin", "shop", HOSTS[1:]),
        each("end", "shop", HOSTS[1:]),
        each("begin", "blog", HOSTS),
        each("end", "blog", HOSTS),
    ]
    # Hosts of one batch answer in any order.
    for group in groups:
        assert sorted(said[: len(group)]) == group
        said = said[len(group) :]
    assert said == []


def test_a_batch_that_fails_is_the_last_one(switched):
    said = switched({"flask_app_name": "shop", "flask_app_serial": 2, "release_name": "web2"})
    assert sorted(said) == ["begin shop web1", "begin shop web2"]
