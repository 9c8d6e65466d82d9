# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test layouts of users' projects, settings in ansible.cfg and the inventory, with unreachable hosts."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from environment import tool_environment

SITE = [{"import_playbook": "flaskops.production.site"}]


@pytest.fixture
def project(tmp_path) -> Path:
    """Create a playbook beside the application, and a separate working directory."""
    (tmp_path / "plays/app").mkdir(parents=True)
    (tmp_path / "plays/app/wsgi.py").write_text("app = None\n")
    (tmp_path / "plays/app/requirements.txt").write_text("")
    (tmp_path / "plays/site.yml").write_text(json.dumps(SITE))
    (tmp_path / "elsewhere").mkdir()
    return tmp_path


@pytest.fixture
def play(project):
    """Return a function that runs a playbook on two hosts with variables of the group all."""

    def run(playbook: str, cwd: Path, *options: str, **variables) -> str:
        variables = {"flask_app_name": "shop", "ansible_ssh_executable": "/bin/false", **variables}
        inventory = {"all": {"vars": variables, "children": {"flask": {"hosts": {"web1": {}, "web2": {}}}}}}
        (project / "inventory.json").write_text(json.dumps(inventory))
        done = subprocess.run(
            ["ansible-playbook", "-i", str(project / "inventory.json"), *options, playbook],
            check=False,
            cwd=cwd,
            env=tool_environment(ANSIBLE_NOCOLOR="true", ANSIBLE_INJECT_FACT_VARS="false", ANSIBLE_STRATEGY="free"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.stdout

    return run


def is_source_accepted(output: str) -> bool:
    """Return whether the source was accepted and a host was contacted."""
    return "compare | Compare the host with its description" in output and "FAILED!" not in output


@pytest.mark.parametrize("directory", ["app", "{{ playbook_dir }}/app", "../plays/app"])
def test_source_beside_the_importing_playbook_is_found(project, play, directory):
    output = play(str(project / "plays/site.yml"), project / "elsewhere", release_directory=directory)
    assert is_source_accepted(output), output


def test_source_in_the_working_directory_is_found(project, play):
    output = play("flaskops.production.site", project / "plays/app", "-e", "release_directory=.")
    assert is_source_accepted(output), output


def test_missing_source_names_the_searched_directories(project, play):
    output = play(str(project / "plays/site.yml"), project / "elsewhere", release_directory="none")
    assert f"release_directory: {project}/plays/none does not exist (nor does {project}/elsewhere/none)" in output


def test_variables_can_refer_to_each_other(project, play):
    app = {
        "flask_app_name": "blog",
        "flask_app_root": "/opt/{{ flask_app_name }}",
        "flask_app_env": {"DATABASE": "sqlite:///{{ flask_app_shared }}/{{ flask_app_name }}.db"},
        "nginx_site_server_name": "{{ flask_app_name }}.example.org",
        "release_directory": "{{ playbook_dir }}/app",
        "release_shared_paths": ["instance/"],
    }
    output = play(str(project / "plays/site.yml"), project, flask_apps=[app, {**app, "flask_app_name": "shop"}])
    assert is_source_accepted(output), output


def test_message_begins_with_the_cause(project, play):
    output = play("flaskops.production.status", project, "-e", "flask_app_only=shpo")
    (result,) = {line.partition(" => ")[2] for line in output.splitlines() if line.startswith("fatal: [web1]")}
    assert json.loads(result)["msg"] == (
        "flask_app_only is 'shpo', but must name one or more of the applications of these hosts: shop."
    )


def test_reports_are_written_without_become_on_the_controller(project, play):
    hosts = {"ansible_become": True, "ansible_become_exe": "/no/such/sudo"}
    for name in ("status_json", "doctor_json"):
        report = project / f"{name}.json"
        output = play(f"flaskops.production.{name.partition('_')[0]}", project, "-e", f"{name}={report}", **hosts)
        assert report.exists(), output


@pytest.mark.parametrize(("share", "goes_on"), [(0, False), ("0", False), (50, True), ("0.5", True), ("few", False)])
def test_max_fail_percentage_can_be_set_in_the_inventory(project, play, share, goes_on):
    tasks = [
        {"name": "Fail", "ansible.builtin.fail": {}, "when": "inventory_hostname == 'web1'"},
        {"name": "Go on", "ansible.builtin.debug": {"msg": "went on"}},
    ]
    common = {"hosts": "flask", "gather_facts": False, "strategy": "linear"}
    tolerant = {"max_fail_percentage": "{{ lookup('flaskops.production.tolerance') }}", "tasks": tasks}
    (project / "plays.yml").write_text(json.dumps([{**common, "tasks": tasks[1:]}, {**common, **tolerant}]))
    output = play("plays.yml", project, flask_app_max_fail_percentage=share)
    assert output.count("went on") == (3 if goes_on else 2), output
