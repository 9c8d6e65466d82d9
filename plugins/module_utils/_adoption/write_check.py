# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that an adopted application can write wherever it wrote before, as its user and in its sandbox."""

from __future__ import annotations

import os
from typing import Iterator, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import ENV, Move
from ansible_collections.flaskops.production.plugins.module_utils._adoption.sources import is_database_at
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._doctor.names import DATABASE

# A program of its own, which the Python of the release runs. Everything that it writes is undone at once. A database
# that another process holds locked can be written to.
PROGRAM = """\
import json
import os
import sys
import tempfile


def write_to(kind, path):
    if kind == "directory":
        handle, name = tempfile.mkstemp(prefix=".adoption-", dir=path)
        os.close(handle)
        os.unlink(name)
    elif kind == "database":
        import sqlite3

        connection = sqlite3.connect(path, isolation_level=None, timeout=5)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute('CREATE TABLE "of the adoption" (x)')
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
        finally:
            connection.close()
    else:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND))


with open(sys.argv[1]) as file:
    for kind, path in json.load(file):
        try:
            write_to(kind, path)
        except Exception as error:
            print("{} ({})".format(path, getattr(error, "strerror", None) or error))
"""
# Directives of a service that a program of its own must not have.
_OF_SERVICES = ("Requires=", "After=", "Sockets=", "NotifyAccess=", "Type=", "ExecStart=", "Restart=", "StartLimit")


class Place(NamedTuple):
    """What the application has to be able to write to: a directory, a database or a file."""

    kind: str
    path: str


def places(layout: Layout, directory: str, moves: list[Move], shared: list[str], outside: list[str]) -> list[Place]:
    """Everything that the old deployment wrote to, by the names that the application has for it now.

    directory: the release, or the link that leads to it. shared: what the release finds in shared/ already. outside:
    directories that stay where they are.
    """
    found: dict[Place, None] = {}
    for move in moves:
        target = os.path.join(layout.shared, move.target)
        if move.kind not in (ENV, "key") and move.source != target:
            names = [target, *([os.path.join(directory, move.link)] if move.link else [])]
            found.update(dict.fromkeys(place for name in names for place in _places_at(target, name)))
    for name in shared:
        path = os.path.join(directory, name.rstrip("/"))
        found.update(dict.fromkeys(_places_at(os.path.realpath(path), path)))
    found.update(dict.fromkeys(Place("directory", path) for path in outside))
    return list(found)


def _places_at(target: str, name: str) -> Iterator[Place]:
    """What is to be written to below a directory or file, by another name of it."""
    if os.path.isdir(target):
        yield Place("directory", name)
        for here, _directories, files in os.walk(target):
            for file in files:
                if DATABASE.search(file) and is_database_at(os.path.join(here, file)):
                    yield Place("database", os.path.join(name, os.path.relpath(os.path.join(here, file), target)))
    elif os.path.isfile(target):
        yield Place("database" if is_database_at(target) else "file", name)


def unit_text(service: str, python: str, program: str, given: str, said: str) -> str:
    """A unit that runs the program as the service runs: its user, its sandbox, its limits."""
    kept = [line for line in service.splitlines() if not line.startswith(_OF_SERVICES)]
    own = ["Type=oneshot", f"ExecStart={python} -I {program} {given}", f"StandardOutput=truncate:{said}"]
    where = kept.index("[Service]") + 1
    return "\n".join([*kept[:where], *own, *kept[where:]]) + "\n"
