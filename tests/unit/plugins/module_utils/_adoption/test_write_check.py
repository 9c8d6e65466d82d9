# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The paths that an adopted application must be able to write to, and the program that checks them."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._adoption.deployment import OldDeployment
from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import Move
from ansible_collections.flaskops.production.plugins.module_utils._adoption.write_check import (
    PROGRAM,
    WritePath,
    list_write_paths,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout


def database(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE entry (id INTEGER)")
    connection.commit()
    connection.close()


@pytest.fixture
def layout(tmp_path):
    database(tmp_path / "shop/shared/data/deep/shop.db")
    database(tmp_path / "shop/shared/database/one.db")
    (tmp_path / "shop/shared/media").mkdir()
    (tmp_path / "shop/shared/counter").write_text("1")
    return Layout(str(tmp_path / "shop"))


def test_all_names_of_data_are_checked(layout):
    moves = [
        Move("data", "/old/data", "data", "var", "var", ""),
        Move("database", "/old/one.db", "database/one.db", "", "", ""),
        Move("uploads", "/old/up", "media", "up", "", ""),
        Move("data", "/old/counter", "counter", "counter", "", ""),
        Move("key", "/old/tls.key", "tls.key", "tls.key", "", ""),
        Move("environment", "/old/.env", ".env", ".env", "", ""),
        Move("data", f"{layout.shared}/media", "media", "stays", "", ""),
    ]
    deployment = OldDeployment("/old", "/old", "old.service", moves=moves, shared=["shared/"], outside=["/mnt/x"])
    found = list_write_paths(layout, "/app", deployment)
    shared = layout.shared
    assert found == [
        WritePath("directory", f"{shared}/data"),
        WritePath("database", f"{shared}/data/deep/shop.db"),
        WritePath("directory", "/app/var"),
        WritePath("database", "/app/var/deep/shop.db"),
        WritePath("database", f"{shared}/database/one.db"),
        WritePath("directory", f"{shared}/media"),
        WritePath("directory", "/app/up"),
        WritePath("file", f"{shared}/counter"),
        WritePath("file", "/app/counter"),
        WritePath("directory", "/mnt/x"),
    ]


def run(tmp_path, found):
    (tmp_path / "places.json").write_text(json.dumps(found))
    (tmp_path / "program.py").write_text(PROGRAM)
    words = [sys.executable, "-I", "program.py", "places.json"]
    return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()


def run_as(uid, given):
    """Run the program as another user, who may not be able to read the Python of the tests."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.dup2(write, 1)
            os.setgid(uid)
            os.setuid(uid)
            with open(1, "w", closefd=False) as sys.stdout:
                sys.argv = ["program", given]
                exec(compile(PROGRAM, "program", "exec"), {})
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as stream:
        message = stream.read()
    os.waitpid(child, 0)
    return message.splitlines()


def test_the_program_leaves_nothing(layout, tmp_path):
    found = [
        WritePath("directory", f"{layout.shared}/media"),
        WritePath("database", f"{layout.shared}/database/one.db"),
        WritePath("file", f"{layout.shared}/counter"),
    ]
    before = hashlib.sha256((tmp_path / "shop/shared/database/one.db").read_bytes()).digest()
    assert run(tmp_path, found) == []
    assert hashlib.sha256((tmp_path / "shop/shared/database/one.db").read_bytes()).digest() == before
    assert sorted(os.listdir(f"{layout.shared}/database")) == ["one.db"]
    assert os.listdir(f"{layout.shared}/media") == []
    assert (tmp_path / "shop/shared/counter").read_text() == "1"


def test_the_program_reports_read_only_paths(layout, tmp_path, as_root, open_path):
    place = open_path / "closed"
    database(place / "shop.db")
    (place / "counter").write_text("1")
    for path in (place, *place.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    found = [
        WritePath("directory", str(place)),
        WritePath("database", f"{place}/shop.db"),
        WritePath("file", f"{place}/counter"),
        WritePath("directory", f"{place}/nothing"),
    ]
    (open_path / "places.json").write_text(json.dumps(found))
    assert run_as(4711, str(open_path / "places.json")) == [
        f"{place} (Permission denied)",
        f"{place}/shop.db (attempt to write a readonly database)",
        f"{place}/counter (Permission denied)",
        f"{place}/nothing (No such file or directory)",
    ]


def test_a_locked_database_counts_as_writable(layout, tmp_path):
    writer = sqlite3.connect(f"{layout.shared}/database/one.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    program = PROGRAM.replace("timeout=5", "timeout=0.1")
    (tmp_path / "program.py").write_text(program)
    (tmp_path / "places.json").write_text(json.dumps([WritePath("database", f"{layout.shared}/database/one.db")]))
    words = [sys.executable, "-I", "program.py", "places.json"]
    assert subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stdout == ""
    writer.execute("ROLLBACK")
    writer.close()
