# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test plays whose hosts have different applications, in check mode, which reports migrations as changes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from environment import ROOT, tool_environment

from ansible_collections.flaskops.production.tests.unit.programs import needs

RELEASE = "2026-04-21-120000-1a2b3c4"
PREPARED = "{{ __release_prepared | default({}) | combine({flask_app_name: __ready}) }}"
LIVE = "{{ release_live | default({}) | combine({flask_app_name: ''}) }}"
PREPARE = [
    {
        "name": "Be prepared",
        "ansible.builtin.set_fact": {"__release_prepared": PREPARED, "release_live": LIVE},
        "vars": {"__ready": {"release": RELEASE, "live": "", "needed": True, "migrated": False}},
    }
]
HOOK = [{"name": "Tell", "ansible.builtin.debug": {"msg": "failed {{ flask_app_name }} {{ inventory_hostname }}"}}]


def per_app(name: str, path: str) -> dict:
    return {"name": name, "ansible.builtin.include_tasks": f"{{{{ lookup('flaskops.production.per_app', {path}) }}}}"}


class MigrationResult:
    def __init__(self, output: str) -> None:
        self.output = output
        parts = re.split(r"^TASK \[", output, flags=re.MULTILINE)
        runs = [part for part in parts if "migration | Run the migration" in part.splitlines()[0]]
        self.migrations = [host for part in runs for host in re.findall(r"^changed: \[(\w+)\]", part, re.MULTILINE)]
        self.ended = re.findall(r'"msg": "end (\w+)"', output)
        self.hooks = sorted(re.findall(r'"msg": "failed (\w+ \w+)"', output))


@pytest.fixture
def play(tmp_path):
    """Return a function that prepares and migrates as deploy.yml does, on hosts with the given applications."""

    def run(
        hosts: dict[str, list[str]], gone: str = "", strategy: str = "linear", slow: str = "", **variables
    ) -> MigrationResult:
        tasks = [
            per_app("Prepare each release", f"'{tmp_path}/prepare.yml'"),
            per_app("Migrate for each release", f"'{ROOT}/playbooks/tasks/migrate.yml'"),
            {"name": "Report", "ansible.builtin.import_tasks": f"{ROOT}/playbooks/tasks/report.yml"},
            {"name": "End", "ansible.builtin.debug": {"msg": "end {{ inventory_hostname }}"}},
        ]
        share = variables.get("flask_app_max_fail_percentage", 0)
        play = {"hosts": "all", "gather_facts": False, "max_fail_percentage": 100 if share else 0, "tasks": tasks}
        play["strategy"] = strategy
        inventory = {
            host: {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                # A host with one name has it from the inventory.
                **({"flask_apps": [app(name) for name in names]} if isinstance(names, list) else app(names)),
            }
            for host, names in hosts.items()
        }
        common = {"release_migrate_command": "flask db upgrade", "release_on_failure": [str(tmp_path / "hook.yml")]}
        if gone:
            nobody = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
            inventory[gone].update(nobody)
        if slow:
            python = tmp_path / "slow-python"
            python.write_text(f'#!/bin/sh\nsleep 3\nexec {sys.executable} "$@"\n')
            python.chmod(0o755)
            inventory[slow]["ansible_python_interpreter"] = str(python)
        texts = {
            "site.yml": [play],
            "prepare.yml": PREPARE,
            "hook.yml": HOOK,
            "variables.json": {**common, **variables},
        }
        texts["inventory.json"] = {"all": {"hosts": inventory}}
        for name, data in texts.items():
            (tmp_path / name).write_text(json.dumps(data))
        done = subprocess.run(
            ["ansible-playbook", "--check", "-i", "inventory.json", "-e", "@variables.json", "site.yml"],
            check=False,
            cwd=tmp_path,
            env=tool_environment(ANSIBLE_STDOUT_CALLBACK="ansible.builtin.default", ANSIBLE_NOCOLOR="true"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return MigrationResult(done.stdout)

    def app(name: str) -> dict:
        return {"flask_app_name": name, "flask_app_root": str(tmp_path / name), "release_directory": str(tmp_path)}

    return run


def break_migration(root: Path) -> None:
    """Replace the environment file with a directory, so that the comparison before the migration fails."""
    records = root / ".deploy/releases"
    records.mkdir(parents=True)
    record = {"digest": "", "state": "active", "staged": "", "migrated": {"salt": "00", "digest": ""}}
    (records / f"{RELEASE}.json").write_text(json.dumps(record))
    (root / "shared/.env").mkdir(parents=True)


def test_each_application_is_migrated_once(play):
    done = play({"web1": ["a", "b"], "web2": ["a"], "web3": ["c", "a"], "web4": ["b", "a"]})
    # a, b and c.
    assert len(done.migrations) == 3, done.output
    assert sorted(done.ended) == ["web1", "web2", "web3", "web4"], done.output


@pytest.mark.parametrize("tolerated", [0, 90])
def test_failed_migration_is_not_repeated_and_stops_all_hosts(play, tmp_path, tolerated):
    break_migration(tmp_path / "a")
    hosts = {"web1": ["a"], "web2": ["a", "b"], "web3": ["a"], "web4": ["b", "a"]}
    done = play(hosts, flask_app_max_fail_percentage=tolerated)
    tried = [line for line in done.output.splitlines() if line.startswith("fatal:") and "Is a directory" in line]
    assert len(tried) == 1, done.output
    assert done.ended == [], done.output
    # If no host may fail, the run ends with the first group of hosts.
    hosts = ["a web1", "a web2", "a web3", "a web4"]
    assert done.hooks == hosts if tolerated else set(done.hooks) <= set(hosts) and done.hooks, done.output


@needs("ssh")
@pytest.mark.parametrize("tolerated", [0, 90])
def test_unreachable_migration_host_stops_all_hosts(play, tolerated):
    done = play({"web1": ["a"], "web2": ["a"], "web3": ["a"]}, gone="web1", flask_app_max_fail_percentage=tolerated)
    assert "web1, or that host could not be reached" in " ".join(done.output.split()), done.output
    assert done.ended == done.migrations == [], done.output
    assert {"a web2", "a web3"} <= set(done.hooks), done.output


def test_application_names_can_be_set_in_the_inventory(play):
    done = play({"web1": "a", "web2": "b", "web3": "a", "web4": "b", "web5": "c"})
    assert sorted(done.migrations) == ["web1", "web2", "web5"], done.output
    assert sorted(done.ended) == ["web1", "web2", "web3", "web4", "web5"], done.output


def test_failed_application_stops_only_its_own_hosts(play, tmp_path):
    break_migration(tmp_path / "b")
    done = play({"web1": "a", "web2": "b", "web3": "b", "web4": "a"}, flask_app_max_fail_percentage=60)
    assert done.migrations == ["web1"], done.output
    assert sorted(done.ended) == ["web1", "web4"], done.output
    assert done.hooks == ["b web2", "b web3"], done.output


def test_other_strategies_are_refused(play):
    """The playbooks set the strategy linear."""
    done = play({"web1": ["a"], "web2": ["a"]}, strategy="free", slow="web1")
    assert "set strategy to linear for the play" in " ".join(done.output.split()), done.output


def test_hosts_without_the_selected_application_are_not_changed(play):
    done = play({"web1": ["a"], "web2": ["b", "a"], "web3": ["c"]}, flask_app_only="b")
    assert done.migrations == ["web2"], done.output
    assert "b: nothing is live on 1 host: web2." in done.output and "not known" not in done.output, done.output
    assert sorted(done.ended) == ["web1", "web2", "web3"], done.output


def test_selected_application_must_exist(play):
    done = play({"web1": ["a"], "web2": ["b", "a"]}, flask_app_only="d")
    assert done.ended == done.migrations == []
    assert "flask_app_only is 'd', but must name one or more of the applications of these hosts: a, b." in done.output
