# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be told without systemd; tests/integration/test_host_state.py looks at a whole host."""

from __future__ import annotations

import json
import os
import sys

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._core import platforms
from ansible_collections.flaskops.production.plugins.modules import (
    adoption_plan,
    host_state,
    nginx_site,
    release_stage,
    tree,
    venv,
)

SECRET = "a secret of several\nlines"


@pytest.fixture
def asked(run_module, tmp_path, monkeypatch):
    """What is said of a host whose socket listens, with these options."""
    unit = {"UnitFileState": "enabled", "ActiveState": "active", "NeedDaemonReload": "no"}
    monkeypatch.setattr(host_state, "read_unit_properties", lambda _unit, _properties: unit)

    def run(**options):
        arguments = {
            "name": "myapp",
            "root": str(tmp_path),
            "entries": [{"path": str(tmp_path), "mode": f"{os.stat(tmp_path).st_mode & 0o7777:04o}"}],
            "site": {"path": str(tmp_path / "site.conf"), "content": "", "nginx": "no-such-program"},
            "release": {"source": {"name": "v1", "digest": "1a2b"}, "user": "www-data", "group": "www-data"},
            "venv": {"directory": str(tmp_path / "venvs"), "requirements": [], "python": sys.executable},
        }
        return run_module(host_state, {**arguments, **options})

    return run


def test_nothing_is_there_and_nothing_is_changed(asked, tmp_path):
    result = asked()
    assert not result["provisioned"]
    assert not result["changed"]
    assert result["live"] == ""
    assert result["differs"] == [
        str(tmp_path / "site.conf"),
        "nginx.service is not running and enabled",
        "v1 is not live",
    ]
    assert list(tmp_path.iterdir()) == []


def test_an_activation_that_was_interrupted_is_completed_whatever_is_in_place(asked, tmp_path):
    former = tmp_path / ".deploy/settings/former"
    former.mkdir(parents=True)
    result = asked()
    assert f"{former} was left by a run that was interrupted" in result["differs"] and not result["provisioned"]


def test_a_path_that_differs_is_named(asked, tmp_path):
    assert str(tmp_path / "run") in asked(entries=[{"path": str(tmp_path / "run"), "mode": "0755"}])["differs"]


def test_a_path_that_can_not_be_made_is_a_difference_too(asked, tmp_path):
    (tmp_path / "run").symlink_to("/")
    differs = asked(entries=[{"path": str(tmp_path / "run"), "mode": "0755"}])["differs"]
    assert any(f"{tmp_path}/run is a symbolic link to /" in said for said in differs)


@pytest.mark.parametrize(
    ("unit", "state", "expected"),
    [
        ("myapp.socket", {"UnitFileState": "disabled"}, "myapp.socket is not enabled"),
        ("myapp.service", {"UnitFileState": "disabled"}, "myapp.service is not enabled"),
        ("myapp.socket", {"ActiveState": "inactive"}, "myapp.socket does not listen"),
        ("myapp.socket", {"NeedDaemonReload": "yes"}, "myapp.socket changed on disk"),
    ],
)
def test_the_units(asked, monkeypatch, unit, state, expected):
    right = {"UnitFileState": "enabled", "ActiveState": "active", "NeedDaemonReload": "no"}
    monkeypatch.setattr(
        host_state, "read_unit_properties", lambda name, _properties: {**right, **state} if name == unit else right
    )
    assert [said for said in asked()["differs"] if said.startswith("myapp")] == [expected]


@pytest.mark.parametrize(
    ("option", "wrong", "expected"),
    [
        ("site", {"path": "/x", "content": "", "backlog": "many"}, "site: "),
        ("release", {"source": {"name": "v1", "digest": "1a2b"}, "user": "www-data"}, "release: "),
        ("entries", [{"mode": "0755"}], "entries: "),
    ],
)
def test_an_option_that_a_role_would_refuse_is_a_difference(asked, option, wrong, expected):
    assert any(said.startswith(expected) for said in asked(**{option: wrong})["differs"])


def test_code_that_was_put_there_by_hand_is_refused_unless_it_is_to_be_adopted(asked, tmp_path):
    (tmp_path / "app").mkdir()
    assert any("app is not a link but holds code" in said for said in asked()["differs"])
    assert any("app is not a link but holds code" in said for said in asked()["refused"])
    assert asked(adopt=True)["refused"] == []


HEADER = "# Ansible managed: written by flaskops.production for the application"


def test_what_belongs_to_the_application_is_not_refused(asked, tmp_path):
    assert asked()["refused"] == []


def test_all_that_belongs_to_somebody_else_is_refused_at_once(asked, tmp_path):
    root, unit, site = tmp_path / "root", tmp_path / "myapp.service", tmp_path / "site.conf"
    root.mkdir()
    (root / "notes.txt").write_text("")
    unit.write_text(f"{HEADER} blog.\n")
    site.write_text("server {}\n")
    result = asked(
        entries=[
            {"path": str(root), "mode": "0755", "application": "myapp"},
            {"path": str(unit), "content": "x", "mode": "0644", "application": "myapp"},
        ],
        site={"path": str(site), "content": "", "nginx": "no-such-program", "application": "myapp", "reload": False},
    )
    assert not result["provisioned"]
    said = " ".join(result["refused"])
    for expected in (f"{root} holds files", f"{unit} belongs to the application blog", f"{site} exists and was not"):
        assert expected in said


def test_what_nobody_owns_may_be_adopted(asked, tmp_path):
    unit = tmp_path / "myapp.service"
    unit.write_text("")
    entries = [{"path": str(unit), "content": "x", "mode": "0644", "application": "myapp"}]
    assert asked(entries=entries)["refused"]
    assert asked(entries=entries, adopt=True)["refused"] == []


def test_a_system_that_is_not_supported(asked, monkeypatch):
    monkeypatch.setattr(host_state, "check_platform", lambda: "This host runs BeOS.")
    assert asked()["refused"] == ["This host runs BeOS."]


def test_no_secret_is_in_the_result(asked, tmp_path):
    path = str(tmp_path / ".env")
    result = asked(
        entries=[{"path": path, "type": "file", "mode": "0600"}],
        secret_contents={path: SECRET},
        venv={"directory": str(tmp_path / "venvs"), "index_url": "https://u:passw0rd@pypi.example.org/simple"},
    )
    assert path in result["differs"]
    said = json.dumps(result)
    assert "passw0rd" not in said
    assert json.dumps(SECRET)[1:-1] not in said
    assert result["invocation"] == {"module_args": {"name": "myapp", "root": str(tmp_path)}}


def test_each_module_that_changes_a_host_refuses_a_system_that_is_not_supported(run_module, tmp_path, monkeypatch):
    (tmp_path / "os-release").write_text("PRETTY_NAME='BeOS R5'\nID=beos\n")
    monkeypatch.setattr(platforms, "FILES", (str(tmp_path / "os-release"),))
    root = {"root": str(tmp_path / "app"), "name": "myapp"}
    stage = {"root": root["root"], "app": "myapp", "user": "www-data", "group": "www-data"}
    for module, arguments in (
        (tree, {"entries": [{"path": str(tmp_path / "app"), "mode": "0755"}]}),
        (nginx_site, {"path": str(tmp_path / "site.conf"), "content": ""}),
        (venv, {"source": str(tmp_path), "directory": str(tmp_path / "venvs"), "link": str(tmp_path / "venv")}),
        (release_stage, {**stage, "only": "check"}),
        (adoption_plan, root),
    ):
        result = run_module(module, arguments)
        assert result["failed"] and result["msg"].startswith("This host runs BeOS R5, but only "), module.__name__
    assert [path.name for path in tmp_path.iterdir()] == ["os-release"]
    # A deploy lock is given back wherever it was taken.
    assert "failed" not in run_module(release_stage, {**stage, "only": "unlock", "run": {"run": "x", "by": "y"}})
