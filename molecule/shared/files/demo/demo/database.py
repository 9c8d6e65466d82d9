# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from flask import current_app, g

from demo.settings import Unavailable, user_name

SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    id INTEGER PRIMARY KEY,
    written TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M', 'now')),
    name TEXT NOT NULL,
    message TEXT NOT NULL
)
"""


def connection() -> sqlite3.Connection:
    """Return the connection of this request, which is opened at its first use."""
    if "database" not in g:
        g.database = connect(current_app.extensions["demo"].database_path)
    return g.database


def connect(path: Path | None) -> sqlite3.Connection:
    if path is None:
        raise Unavailable(
            "There is no database: this release has no instance/ directory. "
            "Name instance/ as a shared path of the release, or set DATABASE_PATH."
        )
    if not path.parent.is_dir():
        raise Unavailable(f"There is no database: the directory {path.parent} does not exist.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        # SQLite creates its journal in the directory of the database, which must be writable too.
        raise Unavailable(f"The database's directory {path.parent} is not writable for the user {user_name()}.")
    try:
        database = sqlite3.connect(path, timeout=5)
        database.row_factory = sqlite3.Row
        database.execute(SCHEMA)
    except sqlite3.Error as error:
        raise Unavailable(f"The database {path} can't be used: {error}.") from error
    return database


def close(_error: BaseException | None = None) -> None:
    database = g.pop("database", None)
    if database is not None:
        database.close()


def check() -> None:
    """Raise Unavailable if the database is not writable."""
    database = connection()
    try:
        # Deletes no entry, but requires the lock and a writable file.
        database.execute("DELETE FROM entry WHERE id IS NULL")
        database.rollback()
    except sqlite3.Error as error:
        path = current_app.extensions["demo"].database_path
        raise Unavailable(f"The database {path} can't be written: {error}.") from error


def entries(limit: int = 50) -> list[sqlite3.Row]:
    return (
        connection().execute("SELECT written, name, message FROM entry ORDER BY id DESC LIMIT ?", (limit,)).fetchall()
    )


def add_entry(name: str, message: str) -> None:
    database = connection()
    try:
        with database:
            database.execute("INSERT INTO entry (name, message) VALUES (?, ?)", (name, message))
    except sqlite3.Error as error:
        raise Unavailable(f"The entry could not be written: {error}.") from error
