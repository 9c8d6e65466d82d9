# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the files of an old deployment, and detect databases among them."""

from __future__ import annotations

import contextlib
import os
import re
from typing import Iterator

from ansible_collections.flaskops.production.plugins.module_utils._doctor.names import DATABASE
from ansible_collections.flaskops.production.plugins.module_utils._files.directory import (
    Directory,
    DirectoryEntry,
    UnsafePathError,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.paths import is_within
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import (
    open_directory_safely,
    read_file,
    resolve_beneath,
)

# Files that SQLite keeps beside a database while it is written to.
BESIDE = re.compile(r"-(wal|shm|journal)$")
SUFFIXES = ("-wal", "-shm", "-journal")
SQLITE = b"SQLite format 3\0"


def is_database_at(path: str) -> bool:
    """Return whether a path is an SQLite database. An empty file with a database's name is one, too."""
    try:
        return bool(DATABASE.search(path)) and read_file(path, len(SQLITE)) in (SQLITE, b"")
    except OSError:
        return False


def is_database(directory: Directory, name: str) -> bool:
    """Return whether a name in an open directory is an SQLite database."""
    if not DATABASE.search(name):
        return False
    try:
        with directory.open_stream(name) as stream:
            return stream.read(len(SQLITE)) in (SQLITE, b"")
    except OSError:
        return False


@contextlib.contextmanager
def find_source(path: str, tops: list[str]) -> Iterator[DirectoryEntry]:
    """Open the path of data to copy. Raises UnsafePathError if a link leads out of the old deployment."""
    above = [top for top in tops if is_within(path, top)]
    if not above:
        raise UnsafePathError(f"{path} lies outside of the old deployment ({', '.join(tops)}).")
    # A link may lead from the code to data beside it, as in the releases of other tools.
    widest = min(above, key=len)
    with open_directory_safely(widest, reading=True) as directory:
        found = resolve_beneath(directory, os.path.relpath(path, widest))
    try:
        yield found
    finally:
        found.close()
