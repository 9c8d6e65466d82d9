# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible import constants as C
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader

from ansible_collections.flaskops.production.plugins.action import release_source
from ansible_collections.flaskops.production.plugins.modules import release_source as documented


@pytest.fixture
def app(tmp_path):
    root = tmp_path / "playbooks/app"
    root.mkdir(parents=True)
    (root / "wsgi.py").write_text("app = 1\n")
    os.utime(root / "wsgi.py", (1_776_772_800, 1_776_772_800))
    return root


@pytest.fixture
def run(tmp_path, monkeypatch, app):
    """Return a function that runs the action as a task of a playbook in tmp_path/playbooks does."""
    monkeypatch.setattr(C, "DEFAULT_LOCAL_TMP", str(tmp_path / "local"))
    loader = DataLoader()
    loader.set_basedir(str(app.parent))

    def call(**arguments):
        task = SimpleNamespace(args=arguments, async_val=0, check_mode=False, action="release_source")
        connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
        action = release_source.ActionModule(task, connection, None, loader, None, None)
        action._load_name = "flaskops.production.release_source"
        return action.run(task_vars={})

    return call


def test_result_describes_the_release(run, app):
    result = run(directory="app")
    keys = {"name", "named", "digest", "archive", "sha256", "size", "files", "dropped", "time", "source"}
    assert set(result) == {"changed", *keys}
    assert result["changed"] is False
    assert result["source"]["location"] == str(app)
    assert result["name"].startswith("2026-04-21-120000-")
    assert Path(result["archive"]).is_relative_to(C.DEFAULT_LOCAL_TMP)


def test_empty_arguments_count_as_unset(run, app):
    result = run(directory="app", archive="", archive_checksum=None, git_repo="", git_ref="", name="", subdirectory="")
    assert result["files"] == 1


def test_relative_paths_are_resolved_in_order(run, app, tmp_path, monkeypatch):
    """Paths are relative to the playbook, then to the working directory. The error names both."""
    (tmp_path / "elsewhere/other").mkdir(parents=True)
    (tmp_path / "elsewhere/other/x").write_text("")
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run(directory="app")["source"]["location"] == str(app)
    assert run(directory="../playbooks/app")["source"]["location"] == str(app)
    assert run(directory="other")["source"]["location"] == str(tmp_path / "elsewhere/other")
    assert run(directory="~/playbooks/app")["source"]["location"] == str(app)
    for name in ("directory", "archive", "git_repo"):
        with pytest.raises(AnsibleActionFail) as refusal:
            run(**{name: "nowhere"})
        message = str(refusal.value)
        assert f"release_{name}: {app.parent}/nowhere does not exist" in message
        assert f"nor does {tmp_path}/elsewhere/nowhere" in message


REJECTED_ARGUMENTS = {
    "no source": ({}, ["release_directory", "exactly one"]),
    "two sources": ({"directory": "app", "archive": "app.tgz"}, ["release_directory", "release_archive", "2 sources"]),
    "name": ({"directory": "app", "name": "a b"}, ["release_name", '"a b"']),
    "number as a ref": ({"git_repo": "app", "git_ref": 1.1}, ["release_git_ref: 1.1", "quotes"]),
    "number as a name": ({"directory": "app", "name": 1.1}, ["release_name: 1.1", "quotes"]),
    "text as a number": ({"archive": "a", "strip_components": "x"}, ["release_strip_components", "int"]),
    "mapping as a list": ({"directory": "app", "requirements": {"a": 1}}, ["venv_requirements", "list"]),
    "text as a boolean": ({"directory": "app", "require_hashes": "perhaps"}, ["venv_require_hashes", "perhaps"]),
    "unknown argument": ({"directroy": "app"}, ["directroy", "git_repo"]),
    "missing requirements": (
        {"directory": "app", "requirements": ["requirements.txt"]},
        ["venv_requirements", "requirements.txt", "wsgi.py"],
    ),
}


@pytest.mark.parametrize(("arguments", "expected"), REJECTED_ARGUMENTS.values(), ids=REJECTED_ARGUMENTS)
def test_invalid_arguments_are_rejected(run, arguments, expected):
    with pytest.raises(AnsibleActionFail) as refusal:
        run(**arguments)
    assert [word for word in expected if word not in str(refusal.value)] == []


def test_warnings_are_shown(run, app, monkeypatch):
    shown = []
    monkeypatch.setattr(release_source.display, "warning", shown.append)
    (app / "logo.png").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "warnings" not in run(directory="app")
    assert len(shown) == 1
    assert "LFS" in shown[0]


def test_documentation_and_code_have_the_same_options():
    options = yaml.safe_load(documented.DOCUMENTATION)["options"]
    facts = ("type", "elements", "default", "choices")
    stated = {name: {key: value[key] for key in facts if key in value} for name, value in options.items()}
    # Only the code sets no_log for the names of keys.
    assert stated == {
        name: {key: value for key, value in option.items() if key != "no_log"}
        for name, option in release_source.SOURCE.items()
    }


def test_module_reports_that_it_is_an_action_plugin(run_module):
    result = run_module(documented, {"directory": "/app"})
    assert "runs as an action plugin" in result["msg"]


PLAYBOOK = """
- name: Three unreachable hosts in batches
  hosts: all
  gather_facts: false
  serial: 2
  tasks: &tasks
    - name: Resolve
      flaskops.production.release_source:
        directory: app
      register: source
    - name: Change the source meanwhile
      ansible.builtin.copy:
        content: "{{ play }}-{{ inventory_hostname }}"
        dest: "{{ playbook_dir }}/app/wsgi.py"
        mode: "0644"
      delegate_to: localhost
      run_once: true
      check_mode: false
      vars:
        ansible_connection: local
        ansible_python_interpreter: "{{ ansible_playbook_python }}"
    - name: Keep
      ansible.builtin.debug:
        msg: "RELEASE {{ source | to_json }}"
  vars:
    play: first
- name: Another play
  hosts: all
  gather_facts: false
  tasks: *tasks
  vars:
    play: second
"""


@pytest.mark.parametrize("options", [[], ["--check"]], ids=["run", "check"])
def test_source_is_resolved_once_per_run(app, tmp_path, options):
    (app.parent / "site.yml").write_text(PLAYBOOK)
    collections = str(Path(release_source.__file__).parents[5])
    env = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": collections,
        "ANSIBLE_LOCAL_TEMP": str(tmp_path / "local"),
        "ANSIBLE_REMOTE_TEMP": str(tmp_path / "remote"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_STDOUT_CALLBACK": "default",
    }
    command = ["ansible-playbook", "-i", "a.invalid,b.invalid,c.invalid", *options, "site.yml"]
    done = subprocess.run(command, cwd=app.parent, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    expected = re.findall(r'^    "msg": ("RELEASE .*")$', done.stdout, re.MULTILINE)
    found = [json.loads(json.loads(text).removeprefix("RELEASE ")) for text in expected]
    assert len(found) == 6, done.stdout
    assert (app / "wsgi.py").read_text().startswith("second-")
    assert [source for source in found if source != found[0]] == []
    assert found[0]["name"].startswith("2026-04-21-120000-")
    assert found[0]["changed"] is False
    # The archive is removed at the end of the run.
    assert not Path(found[0]["archive"]).exists()
