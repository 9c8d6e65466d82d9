# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find SQLite databases in shared data, and check that the application can write to their directories."""

from __future__ import annotations

import grp
import os
import pwd
import re
from typing import Iterator

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._core.secrets import ASSIGNMENT, unquote_value
from ansible_collections.flaskops.production.plugins.module_utils._files import acl
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import read_file
from ansible_collections.flaskops.production.plugins.module_utils._releases.options import ReleaseOptions

DATABASE_NAME = re.compile(r"\.(db|db3|sqlite|sqlite3)\Z", re.IGNORECASE)
# The first bytes of a database.
SQLITE_MAGIC = b"SQLite format 3\0"
# An absolute path, or a URL as of SQLAlchemy and of Django's dj-database-url.
SQLITE_URL = re.compile(r"(?:sqlite(?:\+\w+)?://(?=//))?/?(?P<path>/[^/?#][^?#]*)")


def check_databases(layout: Layout, options: ReleaseOptions) -> None:
    """Raise ReleaseError for an SQLite database in a directory that the application cannot write to.

    SQLite writes beside its file, so every write would fail.
    """
    for name in options.shared_paths:
        place = os.path.realpath(os.path.join(layout.shared, name))
        directory = os.path.dirname(place)
        # An adoption moves the file there.
        path = place if os.path.lexists(place) or not options.adopt else os.path.join(layout.app, name)
        if name.endswith("/") or not is_database(path) or _is_writable(directory, options.user, options.group):
            continue
        raise ReleaseError(
            f"release_shared_paths has {name}, an SQLite database, but {options.user} may not write to {directory}, "
            "and SQLite writes beside its file: stop the application, move the file to a directory such as "
            f"{layout.shared}/instance that belongs to {options.user}, and share that directory: instance/."
        )
    # The application owns these directories, or will own them.
    own = [os.path.join(layout.shared, name) for name in options.shared_paths if name.endswith("/")]
    for variable, path in list_databases(layout):
        directory = os.path.dirname(os.path.realpath(path))
        if not path.startswith(tuple(own)) and not _is_writable(directory, options.user, options.group):
            raise ReleaseError(
                f"flask_app_env.{variable} names {path}, an SQLite database, but {options.user} may not write to "
                f"{directory}, and SQLite writes beside its file: name a directory such as instance/ in "
                f"release_shared_paths, and a database in it: {layout.shared}/instance/{os.path.basename(path)}."
            )


def list_databases(layout: Layout) -> Iterator[tuple[str, str]]:
    """Yield name and path for each environment variable with the path of an SQLite database in shared/."""
    try:
        with open(layout.find_settings_file(layout.env_file), encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError:
        return
    for variable, raw in ASSIGNMENT.findall(text):
        found = SQLITE_URL.match(unquote_value(raw.strip()))
        path = os.path.normpath(found["path"]) if found else ""
        if path.startswith(layout.shared + os.sep) and (DATABASE_NAME.search(path) or is_database(path)):
            yield variable, path


def is_database(path: str) -> bool:
    """Return whether a file is an SQLite database, or an empty file with the name of one."""
    try:
        beginning = read_file(path, len(SQLITE_MAGIC))
    except OSError:
        return False
    return beginning == SQLITE_MAGIC or not beginning and bool(DATABASE_NAME.search(path))


def _is_writable(directory: str, user: str, group: str) -> bool:
    """Return whether the mode of a directory lets the application write to it. True for an access control list."""
    try:
        info = os.stat(directory)
    except FileNotFoundError:
        # Root would create it.
        return False
    if acl.read_acl(directory):
        return True
    try:
        if pwd.getpwnam(user).pw_uid == info.st_uid:
            return bool(info.st_mode & 0o200)
        if info.st_gid in os.getgrouplist(user, grp.getgrnam(group).gr_gid):
            return bool(info.st_mode & 0o020)
    except KeyError:
        # The account does not exist yet, so it owns nothing.
        pass
    return bool(info.st_mode & 0o002)
