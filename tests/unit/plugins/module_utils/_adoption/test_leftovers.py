# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Uncopied files are reported, and their directories are not removable."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._adoption import leftovers
from ansible_collections.flaskops.production.plugins.module_utils._adoption.deployment import OldDeployment
from ansible_collections.flaskops.production.plugins.module_utils._adoption.leftovers import (
    Comparison,
    find_leftovers,
    find_uncopied,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import Move
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout


class Adopted:
    """An old deployment, and the copies of its files."""

    def __init__(self, path):
        self.top, self.layout = path / "shop", Layout(str(path / "new"))
        self.release = path / "new/releases/adopted"
        self.shared = path / "new/shared"
        for name in ("wsgi.py", "uploads/cat.png", ".env", "venv/pyvenv.cfg", "venv/lib/x.py", "__pycache__/a.pyc"):
            (self.top / name).parent.mkdir(parents=True, exist_ok=True)
            (self.top / name).write_text(name)
        connection = sqlite3.connect(self.top / "shop.db")
        connection.execute("CREATE TABLE entry (id INTEGER)")
        connection.commit()
        connection.close()
        for source, copy in (
            ("wsgi.py", self.release / "wsgi.py"),
            ("uploads/cat.png", self.shared / "media/cat.png"),
            ("shop.db", self.shared / "database/shop.db"),
        ):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.top / source, copy)
        self.moves = [
            Move("uploads", f"{self.top}/uploads", "media", "uploads", "uploads", ""),
            Move("database", f"{self.top}/shop.db", "database/shop.db", "shop.db", "shop.db", ""),
        ]
        self.exclude = [move.source for move in self.moves]
        self.stopped = time.time() + 5

    def describe(self, **changes):
        known = {
            "directory": str(self.top),
            "code": str(self.top),
            "unit": "old.service",
            "moves": self.moves,
            "exclude": self.exclude,
            "dotenv": [f"{self.top}/.env"],
        }
        return OldDeployment(**{**known, **changes})

    def find_uncopied(self):
        comparison = Comparison(self.describe(), self.layout, "adopted", self.stopped)
        return [os.path.relpath(path, self.top) for path in find_uncopied(str(self.top), comparison)]


@pytest.fixture
def adopted(tmp_path):
    return Adopted(tmp_path)


def test_a_completely_copied_deployment_has_no_leftovers(adopted):
    (adopted.top / "shop.db-wal").touch()
    (adopted.top / "current").symlink_to("nowhere")
    (adopted.top / "empty").mkdir()
    assert adopted.find_uncopied() == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".git/objects/1", ".git"),
        ("backups/2026/shop.sql", "backups"),
        (".env.production", ".env.production"),
        ("uploads/later.png", "uploads/later.png"),
        ("uploads/2026/later.png", "uploads/2026"),
        ("venv/project/notes.py", "venv/project"),
        ("other.db", "other.db"),
        ("package/new.py", "package"),
    ],
)
def test_uncopied_files_are_reported(adopted, path, expected):
    (adopted.top / path).parent.mkdir(parents=True, exist_ok=True)
    (adopted.top / path).write_text("x")
    assert adopted.find_uncopied() == [expected]


@pytest.mark.parametrize("name", ["wsgi.py", "uploads/cat.png", "shop.db"])
def test_files_modified_after_the_stop_are_reported(adopted, name):
    adopted.stopped = time.time() - 5
    for path in (adopted.top, *adopted.top.rglob("*")):
        os.utime(path, (1, 1))
    assert adopted.find_uncopied() == []
    os.utime(adopted.top / name)
    assert [os.path.basename(path) for path in adopted.find_uncopied()] in (["uploads"], [os.path.basename(name)])


@pytest.mark.parametrize("name", ["wsgi.py", "uploads/cat.png", "shop.db"])
def test_missing_copies_are_reported(adopted, name):
    for copy in (adopted.release / "wsgi.py", adopted.shared / "media/cat.png", adopted.shared / "database/shop.db"):
        if copy.name == os.path.basename(name):
            copy.unlink()
    assert adopted.find_uncopied() in ([name], [os.path.dirname(name)])


def test_excluded_files_do_not_count_as_copied(adopted):
    (adopted.top / "secrets").mkdir()
    (adopted.top / "secrets/.env").write_text("x")
    adopted.exclude.append(f"{adopted.top}/secrets")
    (adopted.release / "secrets").mkdir()
    (adopted.release / "secrets/.env").write_text("another one")
    assert adopted.find_uncopied() == ["secrets"]


@pytest.fixture
def report(adopted, monkeypatch):
    path = "/etc/systemd/system/old.service"
    monkeypatch.setattr(leftovers, "read_unit_properties", lambda *_arguments: {"FragmentPath": path})
    return lambda **changes: find_leftovers(
        adopted.describe(**changes), adopted.layout, "shop", "adopted", adopted.stopped
    )


def test_only_completely_copied_directories_are_removable(adopted, report):
    removable, kept = report()
    assert len(removable) == 1 and removable[0].startswith(f"{adopted.top}: the old code and data, all of which")
    assert any(text.startswith("/etc/systemd/system/old.service: the old unit") for text in kept)
    (adopted.top / "notes.txt").write_text("only here")
    removable, kept = report()
    assert removable == []
    assert f"{adopted.top}: not copied were {adopted.top}/notes.txt" in kept


def test_older_releases_in_the_same_directory_are_not_removable(adopted, report):
    root = adopted.layout.root
    old = os.path.join(root, "releases", "2026")
    shutil.copytree(adopted.top, old)
    os.makedirs(os.path.join(root, "releases/2025"))
    shutil.rmtree(adopted.top)
    adopted.top = adopted.layout.root
    moves = [move._replace(source=os.path.join(old, os.path.basename(move.source))) for move in adopted.moves]
    more = {"exclude": [move.source for move in moves], "moves": moves}
    removable, kept = report(code=old, dotenv=[f"{old}/.env"], **more)
    assert [text.split(":")[0] for text in removable] == [old]
    assert not any("2025" in text for text in [*removable, *kept])
