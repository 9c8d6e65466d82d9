# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module adoption_copy copies a whole deployment."""

from __future__ import annotations

import os
import sqlite3

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._adoption import environment
from ansible_collections.flaskops.production.plugins.modules import adoption_copy

RUN = {"run": "run-1", "by": "ada", "controller": "ci"}


@pytest.fixture
def shop(tmp_path, as_root, monkeypatch):
    """An old deployment with uploads, a database and an environment file."""
    monkeypatch.setattr(environment, "read_unit_properties", lambda _unit, _name: {"Environment": "LOG=shop.log"})
    old = tmp_path / "shop"
    (old / "uploads").mkdir(parents=True)
    (old / "uploads/cat.png").write_text("cat")
    (old / ".env").write_text("KEY=1\n")
    connection = sqlite3.connect(old / "shop.db")
    connection.execute("CREATE TABLE entry (text)")
    connection.close()
    (tmp_path / "new/shared/media").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def copy(shop, run_module):
    old = shop / "shop"
    move = {"link": "", "via": "", "reason": "why"}
    moves = [
        {**move, "kind": "uploads", "source": f"{old}/uploads", "target": "media"},
        {**move, "kind": "database", "source": f"{old}/shop.db", "target": "database/shop.db", "via": "shop.db"},
        {**move, "kind": "environment", "source": f"{old}/.env", "target": ".env"},
    ]
    adoption = {
        "directory": str(old), "code": str(old), "tops": [str(old)], "user": "root", "unit": "shop.service",
        "moves": moves,
        "dotenv": [f"{old}/.env"], "environment": [], "rewrites": [],
    }  # fmt: skip

    def run():
        accounts = {"user": "www-data", "group": "www-data", "web_group": "www-data"}
        return run_module(adoption_copy, {"root": str(shop / "new"), "adoption": adoption, "run": RUN, **accounts})

    return run


def test_data_and_environment_are_copied_once(shop, copy):
    result = copy()
    assert (result["changed"], result["files"], result["bytes"] > 3) == (True, 2, True)
    shared = shop / "new/shared"
    assert (shared / "media/cat.png").read_text() == "cat"
    assert (shared / ".env").read_text() == 'KEY=1\nLOG="shop.log"\n'
    assert os.readlink(shared / "shop.db") == "database/shop.db"
    assert not copy()["changed"]
    assert sorted(os.listdir(shop / "new/.deploy")) == ["adoption.json", "environments", "guard", "lock", "releases"]


def test_variables_that_only_the_unit_sets_are_written(shop, copy, monkeypatch, run_module):
    (shop / "shop/.env").unlink()
    given = '"COLOUR=blue sky" SECRET_KEY=abc'
    monkeypatch.setattr(environment, "read_unit_properties", lambda _unit, _name: {"Environment": given})
    adoption = {
        "directory": str(shop), "code": str(shop), "tops": [str(shop)], "user": "root", "unit": "shop.service",
        "moves": [],
        "dotenv": [], "environment": [], "unit_variables": ["COLOUR", "SECRET_KEY"], "rewrites": [],
    }  # fmt: skip
    accounts = {"user": "www-data", "group": "www-data", "web_group": "www-data"}
    result = run_module(adoption_copy, {"root": str(shop / "new"), "adoption": adoption, "run": RUN, **accounts})
    assert result["changed"]
    assert (shop / "new/shared/.env").read_text() == 'COLOUR="blue sky"\nSECRET_KEY="abc"\n'


def test_an_environment_file_behind_an_outside_link_is_refused_before_copying(shop, copy):
    (shop / "secret").write_text("SECRET=of-another\n")
    (shop / "shop/.env").unlink()
    (shop / "shop/.env").symlink_to("../secret")
    result = copy()
    assert result["failed"] and f"{shop}/shop/.env leads out of {shop}/shop" in result["msg"]
    assert os.listdir(shop / "new/shared") == ["media"] and os.listdir(shop / "new/shared/media") == []


def test_conflicting_files_are_refused_before_copying(shop, copy):
    (shop / "new/shared/media/cat.png").write_text("another cat")
    result = copy()
    assert result["failed"] and f"{shop}/new/shared/media/cat.png exists with other content" in result["msg"]
    assert not (shop / "new/shared/.env").exists()
