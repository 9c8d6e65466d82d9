# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy SQLite databases while another process may write to them.

SQLite opens its files by path, and a link could make root open or create another file. Therefore a process of a user of
the old deployment makes the copy, in its own directory below one that only root can write to.
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
# Timeout in seconds for opening a database, which may have been replaced by a pipe.
OPEN_TIMEOUT = 120
# The timeout of a copy: seconds, plus the size divided by a rate in bytes per second. Its user can stop the process.
COPY_TIMEOUT, MIN_RATE = 600, 1 << 20


class CopyWorkspace:
    """A directory for the copy of a database. It belongs to the user that makes the copy until root revokes it."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.path = directory.join(COPY)

    def grant(self, uid: int, gid: int) -> None:
        self.directory.set_owner_and_mode(".", uid, gid, 0o700)

    def revoke(self) -> None:
        """Give the directory to root, so that no other user can change names in it."""
        self.directory.set_owner_and_mode(".", os.geteuid(), os.getegid(), 0o700)

    def create_empty(self) -> None:
        with self.directory.open_replacement(COPY, COPY):
            pass

    def clear(self) -> None:
        for name in self.directory.list_names():
            os.unlink(name, dir_fd=self.directory.fd)

    def move_to(self, target: Directory, name: str, uid: int, gid: int, mode: int) -> None:
        """Set the owner and mode of the copy, and move it to a directory."""
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
def create_workspace(state: str, prefix: str) -> Iterator[CopyWorkspace]:
    """Create a workspace below `state`, where only root can write. It is removed at the end."""
    for name in os.listdir(state):
        # Left by an interrupted run.
        if name.startswith(prefix):
            _remove(os.path.join(state, name))
    outer = tempfile.mkdtemp(prefix=prefix, dir=state)
    try:
        os.chmod(outer, 0o711)
        os.mkdir(os.path.join(outer, "user"), 0o700)
        with open_directory_safely(outer) as above, above.enter("user") as directory:
            yield CopyWorkspace(directory)
    finally:
        _remove(outer)


def _remove(path: str) -> None:
    """Remove a workspace as far as possible. Its user may have nested directories without limit."""
    with contextlib.suppress(OSError):
        remove_tree(path)


def back_up_database(source: DirectoryEntry, workspace: CopyWorkspace, user: str, exact: bool) -> None:
    """Copy a database consistently, even if other processes write to it.

    With `exact`, no process may write, and each table must have as many rows as the original. Raises ReleaseError if no
    user of the old deployment can make the copy.
    """
    # The user of the process may not be able to read the library.
    importlib.import_module("sqlite3")
    first_error = ""
    for name, uid, gid in list_readers(source.path, user):
        workspace.clear()
        workspace.grant(uid, gid)
        timeout = COPY_TIMEOUT + source.info.st_size / MIN_RATE
        kind, text = _run_as_user((name, uid, gid), timeout, lambda: copy_database(source.path, workspace.path, exact))
        if kind == "done":
            return
        if kind == "refused":
            raise ReleaseError(one_line(text))
        first_error = first_error or f"{text}, as the user {name or uid}"
        workspace.revoke()
    raise ReleaseError(
        one_line(f"{source.path} cannot be copied: {first_error}. ")
        + "Root itself does not open a database in a directory that others can replace: let that user read it, and run "
        "again."
    )


def list_readers(path: str, user: str) -> list[tuple[str, int, int]]:
    """Return the users that may make the copy, each as name, UID and GID, in the order to try them.

    These are the user of the old service and the owners of the database and of the directories above it. Root makes the
    copy only if no other user could redirect the path.
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


def _run_as_user(user: tuple[str, int, int], timeout: float, work: Callable[[], None]) -> tuple[str, str]:
    """Run a function in a process of a user. Return `done`, `refused` or `failed`, and the error."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        _run_child(user, write, work)
    os.close(write)
    output, result = b"", ("failed", "its process was ended, or took too long")
    with os.fdopen(read, "rb", buffering=0) as stream:
        deadline = time.monotonic() + timeout
        # Its user can stop it at any moment, even while it reports its result.
        while select.select([stream], [], [], max(0.0, deadline - time.monotonic()))[0]:
            block = stream.read(1 << 16)
            output += block
            with contextlib.suppress(ValueError):
                kind, text = json.loads(output)
                result = (kind, text)
                break
            if not block:
                break
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return result


def _run_child(user: tuple[str, int, int], write: int, work: Callable[[], None]) -> None:
    """Change to the user, run the function, write its result to the pipe, and exit."""
    result = ("failed", "its process ended")
    try:
        _change_user(*user)
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


def _change_user(name: str, uid: int, gid: int) -> None:
    os.umask(0o077)
    if uid == os.geteuid():
        return
    os.setgroups(os.getgrouplist(name, gid) if name else [gid])
    os.setgid(gid)
    os.setuid(uid)


def copy_database(source: str, target: str, exact: bool) -> None:
    import sqlite3  # only if there is a database

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(OPEN_TIMEOUT)
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
        if exact and count_rows(before) != count_rows(after):
            raise ReleaseError(f"The copy of {source} has other rows than it: a process still writes to it.")


def count_rows(connection) -> dict[str, int]:
    """Return the number of rows of each table."""
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    quoted = {name: '"' + name.replace('"', '""') + '"' for name in names}
    return {name: connection.execute(f"SELECT count(*) FROM {quoted[name]}").fetchone()[0] for name in names}
