# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that an adopted application can write wherever it wrote before, as its user and in its sandbox."""

from __future__ import annotations

import json
import os
import time
from typing import Iterator, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._adoption.candidate import get_runtime_path
from ansible_collections.flaskops.production.plugins.module_utils._adoption.deployment import OldDeployment
from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import ENVIRONMENT
from ansible_collections.flaskops.production.plugins.module_utils._adoption.record import write_root_file
from ansible_collections.flaskops.production.plugins.module_utils._adoption.sources import is_database_at
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._doctor.finding import format_paths
from ansible_collections.flaskops.production.plugins.module_utils._doctor.names import DATABASE
from ansible_collections.flaskops.production.plugins.module_utils._releases.failure import ActivationError
from ansible_collections.flaskops.production.plugins.module_utils._releases.settings_set import reload_units
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import run_systemctl

# The files of the check do not survive a reboot. The unit of the role gunicorn_systemd names them.
RUNTIME = "/run"
# The Python of the release runs this program. All its writes are undone at once. A database that another process has
# locked counts as writable.
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


class WritePath(NamedTuple):
    """A directory, a database or a file that the application must be able to write to."""

    kind: str
    path: str


def list_write_paths(layout: Layout, directory: str, deployment: OldDeployment) -> list[WritePath]:
    """Return the paths that the old deployment wrote to, by the names that the application uses now.

    `directory` is the release, or the link that leads to it.
    """
    found: dict[WritePath, None] = {}
    for move in deployment.moves:
        target = os.path.join(layout.shared, move.target)
        if move.kind not in (ENVIRONMENT, "key") and move.source != target:
            names = [target, *([os.path.join(directory, move.link)] if move.link else [])]
            found.update(dict.fromkeys(path for name in names for path in _list_paths_below(target, name)))
    for name in deployment.shared:
        path = os.path.join(directory, name.rstrip("/"))
        found.update(dict.fromkeys(_list_paths_below(os.path.realpath(path), path)))
    found.update(dict.fromkeys(WritePath("directory", path) for path in deployment.outside))
    return list(found)


def _list_paths_below(target: str, name: str) -> Iterator[WritePath]:
    """Yield a directory or file and the databases below it, by another name of it."""
    if os.path.isdir(target):
        yield WritePath("directory", name)
        for here, _directories, files in os.walk(target):
            for file in files:
                if DATABASE.search(file) and is_database_at(os.path.join(here, file)):
                    yield WritePath("database", os.path.join(name, os.path.relpath(os.path.join(here, file), target)))
    elif os.path.isfile(target):
        yield WritePath("database" if is_database_at(target) else "file", name)


class WriteCheck:
    """A program that runs once as the user and in the sandbox of the service, and tries to write to paths."""

    def __init__(self, name: str) -> None:
        self.unit = f"{name}-adoption-writes.service"
        base = f"{RUNTIME}/{name}-adoption-writes"
        self.program, self.paths, self.output = f"{base}.py", f"{base}.json", f"{base}.txt"

    def run(self, paths: list[WritePath], unit_text: str) -> None:
        """Raise ActivationError unless the application can write to all the paths."""
        if not paths:
            return
        since = time.time()
        try:
            write_root_file(self.program, PROGRAM.encode())
            write_root_file(self.paths, json.dumps(paths).encode())
            write_root_file(self.output, b"")
            write_root_file(get_runtime_path(self.unit), unit_text.encode())
            reload_units()
            code, error = run_systemctl("start", self.unit)
            with open(self.output, encoding="utf-8", errors="replace") as file:
                failures = file.read().splitlines()
        finally:
            self.remove()
        if failures:
            error = f"the application cannot write to {format_paths(failures)}"
        if code or failures:
            raise ActivationError("writes", error, self.unit, since)

    def list_files(self) -> list[str]:
        return [self.program, self.paths, self.output, get_runtime_path(self.unit)]

    def remove(self) -> None:
        for path in self.list_files():
            if os.path.lexists(path):
                os.unlink(path)
        run_systemctl("reset-failed", self.unit)
