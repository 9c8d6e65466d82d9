# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users have in their projects, in ansible.cfg and in the inventory, with hosts that can't be reached."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from environment import tool_environment

SITE = [{"import_playbook": "flaskops.production.site"}]


@pytest.fixture
def project(tmp_path) -> Path:
    """A playbook of one's own beside the application, and the working directory elsewhere."""
    (tmp_path / "plays/app").mkdir(parents=True)
    (tmp_path / "plays/app/wsgi.py").write_text("app = None\n")
    (tmp_path / "plays/app/requirements.txt").write_text("")
    (tmp_path / "plays/site.yml").write_text(json.dumps(SITE))
    (tmp_path / "elsewhere").mkdir()
    return tmp_path


@pytest.fixture
def play(project):
    """Run a playbook on two hosts with these variables of all hosts, which count for the controller, too."""

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


def was_accepted(output: str) -> bool:
    """Whether the source was found, so that a host is asked next."""
    return "compare | Compare the host with its description" in output and "FAILED!" not in output


@pytest.mark.parametrize("directory", ["app", "{{ playbook_dir }}/app", "../plays/app"])
def test_a_source_beside_the_playbook_that_imports_the_collections(project, play, directory):
    output = play(str(project / "plays/site.yml"), project / "elsewhere", release_directory=directory)
    assert was_accepted(output), output


def test_a_source_in_the_working_directory(project, play):
    output = play("flaskops.production.site", project / "plays/app", "-e", "release_directory=.")
    assert was_accepted(output), output


def test_a_source_that_is_missing_is_sought_where_users_keep_theirs(project, play):
    output = play(str(project / "plays/site.yml"), project / "elsewhere", release_directory="none")
    assert f"release_directory: {project}/plays/none does not exist (nor does {project}/elsewhere/none)" in output


def test_variables_that_refer_to_the_application_and_to_one_another(project, play):
    app = {
        "flask_app_name": "blog",
        "flask_app_root": "/opt/{{ flask_app_name }}",
        "flask_app_env": {"DATABASE": "sqlite:///{{ flask_app_shared }}/{{ flask_app_name }}.db"},
        "nginx_site_server_name": "{{ flask_app_name }}.example.org",
        "release_directory": "{{ playbook_dir }}/app",
        "release_shared_paths": ["instance/"],
    }
    output = play(str(project / "plays/site.yml"), project, flask_apps=[app, {**app, "flask_app_name": "shop"}])
    assert was_accepted(output), output


def test_the_sentence_comes_first(project, play):
    output = play("flaskops.production.status", project, "-e", "flask_app_only=shpo")
    (said,) = {line.partition(" => ")[2] for line in output.splitlines() if line.startswith("fatal: [web1]")}
    assert json.loads(said)["msg"] == (
        "flask_app_only is 'shpo', but must name one or more of the applications of these hosts: shop."
    )


def test_reports_are_written_without_the_rights_that_hosts_need(project, play):
    hosts = {"ansible_become": True, "ansible_become_exe": "/no/such/sudo"}
    for name in ("status_json", "doctor_json"):
        report = project / f"{name}.json"
        output = play(f"flaskops.production.{name.partition('_')[0]}", project, "-e", f"{name}={report}", **hosts)
        assert report.exists(), output


@pytest.mark.parametrize(("share", "goes_on"), [(0, False), ("0", False), (50, True), ("0.5", True), ("few", False)])
def test_how_many_may_fail_is_known_from_the_inventory(project, play, share, goes_on):
    tasks = [
        {"name": "Fail", "ansible.builtin.fail": {}, "when": "inventory_hostname == 'web1'"},
        {"name": "Go on", "ansible.builtin.debug": {"msg": "went on"}},
    ]
    common = {"hosts": "flask", "gather_facts": False, "strategy": "linear"}
    tolerant = {"max_fail_percentage": "{{ lookup('flaskops.production.tolerance') }}", "tasks": tasks}
    (project / "plays.yml").write_text(json.dumps([{**common, "tasks": tasks[1:]}, {**common, **tolerant}]))
    output = play("plays.yml", project, flask_app_max_fail_percentage=share)
    assert output.count("went on") == (3 if goes_on else 2), output
