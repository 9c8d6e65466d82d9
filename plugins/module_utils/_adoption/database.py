# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy SQLite databases while another process may write to them.

SQLite opens its files by path. So that no link can have root open or create another one, a process of a user of the old
deployment makes the copy, in a directory of its own below one that only root can write to.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import pwd
import select
import shutil
import signal
import tempfile
import time
from typing import Callable, Iterator
from urllib.parse import quote

from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._core.text import one_line
from ansible_collections.flaskops.production.plugins.module_utils._files.directory import (
    Directory,
    DirectoryEntry,
    set_owner_and_mode,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.ownership import remove_tree
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import (
    open_directory_safely,
)

COPY = "copy"
# Seconds for which opening a database may take: something else may be in its place by now.
OPENING = 120
# Seconds, and bytes in a second, after which a copy has failed: its process can be stopped by its user.
PATIENCE, SLOWEST = 600, 1 << 20


class Place:
    """Where a copy comes into being: a directory of the user that makes it, until root takes it over."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.path = directory.join(COPY)

    def give(self, uid: int, gid: int) -> None:
        self.directory.set_owner_and_mode(".", uid, gid, 0o700)

    def take_over(self) -> None:
        """From here on nobody else changes names in it."""
        self.directory.set_owner_and_mode(".", os.geteuid(), os.getegid(), 0o700)

    def create_empty(self) -> None:
        with self.directory.open_replacement(COPY, COPY):
            pass

    def clear(self) -> None:
        for name in self.directory.list_names():
            os.unlink(name, dir_fd=self.directory.fd)

    def put(self, target: Directory, name: str, uid: int, gid: int, mode: int) -> None:
        """Give the copy its owner and mode, and put it in its place."""
        with self.directory.open_stream(COPY) as stream:
            self.directory.set_owner_and_mode(COPY, uid, gid, mode)
            try:
                os.rename(COPY, name, src_dir_fd=self.directory.fd, dst_dir_fd=target.fd)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                with target.open_replacement(name, f".{COPY}-") as write:
                    shutil.copyfileobj(stream, write, 1 << 20)
                    write.flush()
                    set_owner_and_mode(write.fileno(), uid, gid, mode)


@contextlib.contextmanager
def prepared(state: str, prefix: str) -> Iterator[Place]:
    """A new place below a directory of root, removed in the end. state: a directory that only root can write to."""
    for name in os.listdir(state):
        # A run that was killed left it.
        if name.startswith(prefix):
            _remove(os.path.join(state, name))
    outer = tempfile.mkdtemp(prefix=prefix, dir=state)
    try:
        os.chmod(outer, 0o711)
        os.mkdir(os.path.join(outer, "user"), 0o700)
        with open_directory_safely(outer) as above, above.enter("user") as directory:
            yield Place(directory)
    finally:
        _remove(outer)


def _remove(path: str) -> None:
    """Remove a place as far as it goes: the user that had it may have made directories in directories without end."""
    with contextlib.suppress(OSError):
        remove_tree(path)


def back_up(source: DirectoryEntry, place: Place, user: str, exact: bool) -> None:
    """A copy of a database that is whole, whoever writes to it meanwhile."""
    # The user of the process may not be able to read the library.
    importlib.import_module("sqlite3")
    said = ""
    for name, uid, gid in readers(source.path, user):
        place.clear()
        place.give(uid, gid)
        patience = PATIENCE + source.info.st_size / SLOWEST
        kind, text = _in_process((name, uid, gid), patience, lambda: copy(source.path, place.path, exact))
        if kind == "done":
            return
        if kind == "refused":
            raise ReleaseError(one_line(text))
        said = said or f"{text}, as the user {name or uid}"
        place.take_over()
    raise ReleaseError(
        one_line(f"{source.path} can't be copied: {said}. ")
        + "Root itself does not open a database in a directory that others can replace: let that user read it, and run "
        "again."
    )


def readers(path: str, user: str) -> list[tuple[str, int, int]]:
    """Who may make the copy: the old service's user, else whoever owns the database or a directory on the way to it.

    Root itself only where nobody else could redirect the path.
    """
    found: dict[int, tuple[str, int, int]] = {}
    with contextlib.suppress(KeyError):
        entry = pwd.getpwnam(user)
        found[entry.pw_uid] = (entry.pw_name, entry.pw_uid, entry.pw_gid)
    while True:
        info = os.lstat(path)
        with contextlib.suppress(KeyError):
            entry = pwd.getpwuid(info.st_uid)
            found.setdefault(entry.pw_uid, (entry.pw_name, entry.pw_uid, entry.pw_gid))
        found.setdefault(info.st_uid, ("", info.st_uid, info.st_gid))
        if path == "/":
            break
        path = os.path.dirname(path)
    own = os.geteuid()
    return [item for uid, item in found.items() if uid != own] or [("", own, os.getegid())]


def _in_process(user: tuple[str, int, int], patience: float, work: Callable[[], None]) -> tuple[str, str]:
    """Do the work in a process of a user; how it ended, and why."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        _work(user, write, work)
    os.close(write)
    said, result = b"", ("failed", "its process was ended, or took too long")
    with os.fdopen(read, "rb", buffering=0) as stream:
        until = time.monotonic() + patience
        # Its user can stop it at any moment, also while it tells.
        while select.select([stream], [], [], max(0.0, until - time.monotonic()))[0]:
            block = stream.read(1 << 16)
            said += block
            with contextlib.suppress(ValueError):
                kind, text = json.loads(said)
                result = (kind, text)
                break
            if not block:
                break
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return result


def _work(user: tuple[str, int, int], write: int, work: Callable[[], None]) -> None:
    """In the process of its own: become the user, do the work, tell how it ended, and end."""
    result = ("failed", "its process ended")
    try:
        _become(*user)
        work()
        result = ("done", "")
    except ReleaseError as error:
        result = ("refused", str(error))
    except BaseException as error:  # whatever it is, the parent reports it
        result = ("failed", str(error) or type(error).__name__)
    finally:
        with contextlib.suppress(BaseException):
            os.write(write, json.dumps(result).encode())
        os._exit(0)


def _become(name: str, uid: int, gid: int) -> None:
    os.umask(0o077)
    if uid == os.geteuid():
        return
    os.setgroups(os.getgrouplist(name, gid) if name else [gid])
    os.setgid(gid)
    os.setuid(uid)


def copy(source: str, target: str, exact: bool) -> None:
    import sqlite3  # only where there is a database

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(OPENING)
    with contextlib.ExitStack() as stack:
        before = sqlite3.connect(f"file:{quote(os.fsencode(source))}?mode=ro", uri=True, timeout=60)
        stack.callback(before.close)
        before.execute("PRAGMA schema_version").fetchone()
        signal.alarm(0)
        after = sqlite3.connect(target)
        stack.callback(after.close)
        before.backup(after)
        verdict = after.execute("PRAGMA quick_check").fetchone()[0]
        if verdict != "ok":
            raise ReleaseError(f"The copy of {source} is damaged ({verdict}): is the database itself sound?")
        if exact and rows(before) != rows(after):
            raise ReleaseError(f"The copy of {source} has other rows than it: somebody still writes to it.")


def rows(connection) -> dict[str, int]:  # type: ignore[no-untyped-def]
    """How many rows each table has."""
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    quoted = {name: '"' + name.replace('"', '""') + '"' for name in names}
    return {name: connection.execute(f"SELECT count(*) FROM {quoted[name]}").fetchone()[0] for name in names}
