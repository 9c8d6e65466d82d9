# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases made from code on the host."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import yaml

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import RELEASE_NAME
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._releases.host_code import copy_code, describe_code
from ansible_collections.flaskops.production.plugins.modules import adoption_plan

ROLES = Path(adoption_plan.__file__).parents[2] / "roles"


@pytest.fixture
def code(tmp_path):
    top = tmp_path / "code"
    (top / "shop").mkdir(parents=True)
    (top / "wsgi.py").write_text("app = 1\n")
    (top / "shop/__init__.py").write_text("")
    (top / "manage").write_text("#!/bin/sh\n")
    (top / "manage").chmod(0o711)
    (top / "wsgi.py").chmod(0o600)
    for path in top.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    return top


def source(code, paths=(), patterns=()):
    return describe_code(str(code), [str(code / path) for path in paths], list(patterns))


def test_name_contains_time_and_digest(code):
    found = source(code)
    assert found["name"] == f"adopted-2020-09-13-122640-{found['digest'][:7]}"
    assert RELEASE_NAME.match(found["name"])
    assert found["time"] == "2020-09-13T12:26:40Z"


def test_same_code_has_the_same_name(code, tmp_path):
    copy_code(source(code), str(tmp_path / "copy"))
    assert source(tmp_path / "copy")["name"] == source(code)["name"]


@pytest.mark.parametrize(
    "change",
    [
        lambda code: (code / "wsgi.py").write_text("app = 2\n"),
        lambda code: (code / "wsgi.py").rename(code / "wsgi2.py"),
        lambda code: (code / "manage").chmod(0o600),
        lambda code: (code / "empty").mkdir(),
        lambda code: (code / "link").symlink_to("wsgi.py"),
    ],
)
def test_different_code_has_a_different_digest(code, change):
    before = source(code)["digest"]
    change(code)
    assert source(code)["digest"] != before


def test_copy_is_readable_for_all_users(code, tmp_path):
    copy_code(source(code), str(tmp_path / "copy"))
    modes = {path.name: f"{path.stat().st_mode & 0o7777:o}" for path in (tmp_path / "copy").rglob("*")}
    assert modes == {"wsgi.py": "644", "manage": "755", "shop": "755", "__init__.py": "644"}


def test_excluded_and_special_files_are_not_copied(code, tmp_path):
    (code / "env/bin").mkdir(parents=True)
    (code / "env/pyvenv.cfg").write_text("")
    (code / ".git").mkdir()
    (code / "uploads").mkdir()
    (code / "shop.db").write_text("")
    (code / "shop/x.pyc").write_text("")
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(code)  # the length of a socket's path is limited
        server.bind("shop.sock")
        copy_code(source(code, ["uploads", "shop.db"], [".git", "*.pyc"]), str(tmp_path / "copy"))
    names = sorted(str(path.relative_to(tmp_path / "copy")) for path in (tmp_path / "copy").rglob("*"))
    assert names == ["manage", "shop", "shop/__init__.py", "wsgi.py"]


def test_absolute_links_into_the_tree_become_relative(code, tmp_path):
    (code / "shop/start").symlink_to(code / "wsgi.py")
    (code / "shop/os").symlink_to("/etc/os-release")
    copy_code(source(code), str(tmp_path / "copy"))
    assert os.readlink(tmp_path / "copy/shop/start") == "../wsgi.py"
    assert os.readlink(tmp_path / "copy/shop/os") == "/etc/os-release"


def test_code_that_changes_during_the_copy_is_refused(code, tmp_path):
    found = source(code)
    (code / "wsgi.py").write_text("app = 2\n")
    with pytest.raises(ReleaseError, match="changed while it was copied"):
        copy_code(found, str(tmp_path / "copy"))


def test_default_exclusions_match_those_of_releases():
    defaults = yaml.safe_load((ROLES / "release/defaults/main.yml").read_text())
    assert list(adoption_plan.EXCLUDE) == defaults["release_exclude"]
    documented = yaml.safe_load(adoption_plan.DOCUMENTATION)["options"]["exclude"]["default"]
    assert documented == defaults["release_exclude"]
