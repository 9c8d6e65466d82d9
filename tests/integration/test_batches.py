# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the order of hosts and batches, for plays with one and with several applications."""

from __future__ import annotations

import json
import subprocess

import pytest
import yaml
from environment import ROOT, tool_environment

HOSTS = ["web1", "web2", "web3", "web4"]
PLAY = {
    "hosts": "all",
    "gather_facts": False,
    # As in the playbooks.
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
# The name of the release is the host on which it fails.
ACTIVATE_TASKS = [
    {"name": "Begin", "ansible.builtin.debug": {"msg": "begin {{ flask_app_name }} {{ inventory_hostname }}"}},
    {"name": "Fail", "ansible.builtin.fail": {}, "when": "inventory_hostname == release_name | default('')"},
    {"name": "End", "ansible.builtin.debug": {"msg": "end {{ flask_app_name }} {{ inventory_hostname }}"}},
]


@pytest.fixture
def play(tmp_path):
    """Return a function that runs plays on an inventory."""

    def run(plays: list[dict], inventory: dict, given: dict) -> subprocess.CompletedProcess:
        for name, content in {"site.yml": plays, "inventory.json": inventory, "variables.json": given}.items():
            (tmp_path / name).write_text(json.dumps(content))
        done = subprocess.run(
            ["ansible-playbook", "-i", "inventory.json", "-e", "@variables.json", "site.yml"],
            check=False,
            cwd=tmp_path,
            env=tool_environment(ANSIBLE_STDOUT_CALLBACK="ansible.builtin.default", ANSIBLE_NOCOLOR="true"),
            capture_output=True,
            text=True,
        )
        assert "PLAY RECAP" in done.stdout, done.stdout + done.stderr
        return done

    return run


def find_messages(done: subprocess.CompletedProcess, *starts: str) -> list[str]:
    """Return the messages of tasks with one of these prefixes, in order."""
    found = (line.split('"')[3] for line in done.stdout.splitlines() if line.strip().startswith('"msg": "'))
    return [message for message in found if message.startswith(starts)]


@pytest.fixture
def activate_apps(play, tmp_path):
    """Return a function that activates applications and returns the order of hosts."""

    def run(*apps: dict) -> list[str]:
        (tmp_path / "activate.yml").write_text(json.dumps(ACTIVATE_TASKS))
        inventory = {"all": {"hosts": {host: {"ansible_connection": "local"} for host in HOSTS}}}
        return find_messages(play([PLAY], inventory, {"flask_apps": apps}), "begin ", "end ")

    return run


def format_messages(what: str, app: str, hosts: list[str]) -> list[str]:
    return [f"{what} {app} {host}" for host in hosts]


def test_batches_apply_to_their_application_only(activate_apps):
    order = activate_apps({"flask_app_name": "shop", "flask_app_serial": [1, "100%"]}, {"flask_app_name": "blog"})
    groups = [
        format_messages("begin", "shop", HOSTS[:1]),
        format_messages("end", "shop", HOSTS[:1]),
        format_messages("begin", "shop", HOSTS[1:]),
        format_messages("end", "shop", HOSTS[1:]),
        format_messages("begin", "blog", HOSTS),
        format_messages("end", "blog", HOSTS),
    ]
    # The order of hosts in a batch is undefined.
    for group in groups:
        assert sorted(order[: len(group)]) == group
        order = order[len(group) :]
    assert order == []


def test_failed_batch_is_the_last_one(activate_apps):
    order = activate_apps({"flask_app_name": "shop", "flask_app_serial": 2, "release_name": "web2"})
    assert sorted(order) == ["begin shop web1", "begin shop web2"]


# Batches from the inventory


@pytest.fixture
def list_batches(play, tmp_path):
    """Return a function that runs a second play as the playbooks do, and returns the hosts of each batch."""

    def run(of_hosts: dict, **given: object) -> list[list[str]]:
        hosts = "{{ flask_app_hosts | default('flask') }}"
        batch = "{{ __release_batch | default(ansible_play_batch) | join(' ') }}"
        tasks = [{"ansible.builtin.debug": {"msg": f"batch {batch}"}, "run_once": True}]
        (tmp_path / "activate.yml").write_text(json.dumps(tasks))
        plays = [{"hosts": hosts, "gather_facts": False, "tasks": []}, {**PLAY, "hosts": hosts}]
        inventory = {host: {"ansible_connection": "local", **of_hosts.get(host, {})} for host in HOSTS}
        group = {"hosts": inventory, "vars": {"flask_app_name": "shop", **of_hosts.get("group", {})}}
        done = play(plays, {"flask": group, "others": {"hosts": {"db1": {}}}}, given)
        assert done.returncode == 0, done.stdout + done.stderr
        return [message.split()[1:] for message in find_messages(done, "batch ")]

    return run


CANARY = {"group": {"flask_app_serial": [1, "100%"]}}


@pytest.mark.parametrize(
    ("of_hosts", "given", "sizes"),
    [
        ({}, {}, [4]),
        (CANARY, {}, [1, 3]),
        ({"group": {"flask_app_serial": "{{ share }}", "share": "50%"}}, {}, [2, 2]),
        # Extra variables take precedence.
        (CANARY, {"flask_app_serial": 2}, [2, 2]),
        (CANARY, {"flask_app_hosts": "flask:!web1"}, [1, 2]),
        (CANARY, {"flask_app_hosts": ["web3", "web4"]}, [1, 1]),
        ({"web1": {"flask_app_serial": 3}, **CANARY}, {}, [3, 1]),
        (CANARY, {"flask_app_hosts": "nobody"}, []),
    ],
)
def test_batches_can_be_set_in_the_inventory(list_batches, of_hosts, given, sizes):
    assert [len(batch) for batch in list_batches(of_hosts, **given)] == sizes


@pytest.mark.parametrize("name", ["site", "deploy", "rollback", "adopt"])
def test_each_playbook_reads_its_batches_after_the_first_play(name):
    plays = yaml.safe_load((ROOT / f"playbooks/{name}.yml").read_text())
    asking = [number for number, play in enumerate(plays) if "batches" in json.dumps(play)]
    assert len(asking) == 1 and asking > [0]


def test_other_hosts_continue_after_a_batch_is_unreachable(play, tmp_path):
    """With the keyword serial, Ansible would end the playbook."""
    nobody = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    (tmp_path / "activate.yml").write_text(json.dumps([{"ansible.builtin.ping": None}]))
    tell = {"name": "Tell", "ansible.builtin.debug": {"msg": "left {{ inventory_hostname }}"}}
    hosts = {host: nobody if host == "web1" else {"ansible_connection": "local"} for host in HOSTS[:3]}
    variables = {"flask_app_name": "shop", "flask_app_serial": 1}
    done = play([{**PLAY, "tasks": [*PLAY["tasks"], tell]}], {"all": {"hosts": hosts}}, variables)
    assert sorted(find_messages(done, "left ")) == ["left web2", "left web3"], done.stdout
