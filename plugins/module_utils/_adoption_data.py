# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of the data of an adopted deployment, each verified, and the record of the adoption. Private.

The originals are only read. A copy comes into being under another name and is renamed when it is whole, so that a pass
that was cut off is completed by the next one, which copies nothing but what has changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shlex
import stat
from typing import Iterator, NamedTuple
from urllib.parse import quote

from ansible_collections.flaskops.production.plugins.module_utils._adoption import BESIDE, SUFFIXES, Move, _is_database
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import (
    file_sha256,
    put_file,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases import Home, ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._secrets import ASSIGNMENT
from ansible_collections.flaskops.production.plugins.module_utils._service import show
from ansible_collections.flaskops.production.plugins.module_utils._symlink import swap_file_link, sync_filesystem

TEMPORARY = ".adopting-"


class Owner(NamedTuple):
    """Whom the copies belong to: the user that runs the application, its group, and that of the web server."""

    uid: int
    gid: int
    web_gid: int


class Record:
    """What is known of the adoption of an application, in one file that only root can read."""

    def __init__(self, home: Home) -> None:
        self.path = os.path.join(home.state, "adoption.json")
        self.kept = os.path.join(home.state, "adopted")

    def read(self) -> dict:
        try:
            with open(self.path, encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise ReleaseError(f"{self.path} can't be read: {error}.") from error

    def write(self, **values: object) -> dict:
        content = {**self.read(), **values}
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        put_file(self.path, text.encode(), mode=0o600)
        return content


# --- what is to be copied --------------------------------------------------------------------------------------------


class Copy(NamedTuple):
    """One directory, file or link to be copied."""

    source: str
    target: str
    kind: str
    info: os.stat_result
    uid: int
    gid: int
    mode: int


def copies(home: Home, moves: list[Move], owner: Owner) -> Iterator[Copy]:
    """Everything that the moves amount to, directories before what is in them."""
    for move in moves:
        if move.kind == "environment":
            continue
        top = os.path.join(home.shared, move.target)
        uid, gid, mode, directory = _access(move, owner)
        for source in below(move.source):
            target = top if source == move.source else os.path.join(top, os.path.relpath(source, move.source))
            info = os.lstat(source)
            if stat.S_ISDIR(info.st_mode):
                yield Copy(source, target, "directory", info, uid, gid, directory)
            elif stat.S_ISLNK(info.st_mode):
                yield Copy(source, target, "link", info, uid, gid, 0)
            elif stat.S_ISREG(info.st_mode):
                kind = "database" if _is_database(source) else "file"
                yield Copy(source, target, kind, info, uid, gid, mode)


def below(top: str) -> Iterator[str]:
    """A path and all paths below it, without what SQLite keeps beside its databases."""
    yield top
    if not os.path.isdir(top) or os.path.islink(top):
        return
    for directory, directories, files in os.walk(top):
        directories.sort()
        for name in sorted([*directories, *files]):
            path = os.path.join(directory, name)
            if not (BESIDE.search(name) and _is_database(BESIDE.sub("", path))):
                yield path


def _access(move: Move, owner: Owner) -> tuple[int, int, int, int]:
    """Owner, group, mode of files and mode of directories of what is copied."""
    if move.kind == "key":
        return 0, owner.gid, 0o640, 0o750
    if move.kind == "uploads":
        # Nginx reads them, by the group.
        return owner.uid, owner.web_gid, 0o640, 0o2750
    return owner.uid, owner.gid, 0o640, 0o750


def occupied(home: Home, moves: list[Move], owner: Owner) -> list[str]:
    """Files in shared/ that a copy would replace, and that hold something else."""
    found = []
    for item in copies(home, moves, owner):
        if item.kind == "directory" or not os.path.lexists(item.target):
            continue
        same = (
            item.kind == "file" and os.path.isfile(item.target) and file_sha256(item.source) == file_sha256(item.target)
        )
        if not same:
            found.append(item.target)
    return found


# --- copying ---------------------------------------------------------------------------------------------------------


class Data:
    """The copies of one application."""

    def __init__(self, home: Home, moves: list[Move], owner: Owner, known: dict[str, list[int]]) -> None:
        self.home, self.moves, self.owner = home, moves, owner
        # Of each database that was copied, what it and its log looked like before.
        self.known = known
        self.files = self.bytes = 0
        self.changed: list[str] = []

    def copy(self, final: bool = False) -> None:
        """Bring the copies up to the originals. In the final pass nobody writes any more, and all has to be equal."""
        for item in copies(self.home, self.moves, self.owner):
            try:
                self._one(item, final)
            except FileNotFoundError:
                # Somebody removed it in between, as applications do with their temporary files.
                if final or os.path.lexists(item.source):
                    raise
        for move in self.moves:
            if move.via:
                self._way(move)
        if not final:
            sync_filesystem(self.home.shared)

    def _one(self, item: Copy, final: bool) -> None:
        if item.kind == "directory":
            self._directory(item)
            return
        self._parents(os.path.dirname(item.target), item)
        if item.kind == "link":
            text = os.readlink(item.source)
            if not os.path.islink(item.target) or os.readlink(item.target) != text:
                swap_file_link(item.target, text)
                self.changed.append(item.target)
            return
        self.files += 1
        self.bytes += item.info.st_size
        done = self._database(item, final) if item.kind == "database" else self._file(item)
        if done:
            self.changed.append(item.target)

    def _directory(self, item: Copy) -> None:
        self._parents(os.path.dirname(item.target), item)
        if not os.path.isdir(item.target):
            os.mkdir(item.target, 0o700)
            self.changed.append(item.target)
        elif item.target in (self.home.static, os.path.join(self.home.shared, "media"), f"{self.home.shared}/logs"):
            return  # the role layout's own
        _settle(item.target, item.uid, item.gid, item.mode)

    def _parents(self, directory: str, item: Copy) -> None:
        """Directories above a copy: a database and a log are made in one that the application may write to."""
        if os.path.isdir(directory):
            return
        self._parents(os.path.dirname(directory), item)
        os.mkdir(directory, 0o755)
        if directory == os.path.join(self.home.shared, "database"):
            _settle(directory, self.owner.uid, self.owner.gid, 0o750)

    def _file(self, item: Copy) -> bool:
        with contextlib.suppress(FileNotFoundError):
            there = os.lstat(item.target)
            if (there.st_size, there.st_mtime_ns) == (item.info.st_size, item.info.st_mtime_ns):
                return _settle(item.target, item.uid, item.gid, item.mode)
        temporary = os.path.join(os.path.dirname(item.target), f"{TEMPORARY}{os.getpid()}")
        try:
            expected = copy_bytes(item.source, temporary)
            if file_sha256(temporary) != expected:
                raise ReleaseError(f"The copy of {item.source} differs from it: the disk of {temporary} is not sound.")
            os.utime(temporary, ns=(item.info.st_atime_ns, item.info.st_mtime_ns))
            _settle(temporary, item.uid, item.gid, item.mode)
            os.replace(temporary, item.target)
        finally:
            _discard(temporary)
        return True

    def _database(self, item: Copy, final: bool) -> bool:
        looks = [value for path in (item.source, item.source + "-wal") for value in _looks(path)]
        if os.path.exists(item.target) and self.known.get(item.source) == looks:
            return _settle(item.target, item.uid, item.gid, item.mode)
        # Not hidden by a dot alone: SQLite makes its journal beside it.
        temporary = os.path.join(os.path.dirname(item.target), f"{TEMPORARY}{os.getpid()}")
        try:
            if item.info.st_size:
                back_up(item.source, temporary, exact=final)
            else:
                open(temporary, "wb").close()
            _settle(temporary, item.uid, item.gid, item.mode)
            # What belongs to an earlier copy would be taken for a part of this one.
            for suffix in SUFFIXES:
                _discard(item.target + suffix)
            os.replace(temporary, item.target)
        finally:
            for suffix in ("", *SUFFIXES):
                _discard(temporary + suffix)
        self.known[item.source] = looks
        return True

    def _way(self, move: Move) -> None:
        """A name in shared/ that leads to where the data is."""
        link, target = os.path.join(self.home.shared, move.via), os.path.join(self.home.shared, move.target)
        os.makedirs(os.path.dirname(link), mode=0o755, exist_ok=True)
        text = os.path.relpath(target, os.path.dirname(link))
        if os.path.lexists(link) and not os.path.islink(link):
            raise ReleaseError(f"{link} is to lead to {target}, but something else is there: move it away.")
        if not os.path.islink(link) or os.readlink(link) != text:
            swap_file_link(link, text)
            self.changed.append(link)


def _looks(path: str) -> tuple[int, int]:
    try:
        info = os.stat(path)
    except FileNotFoundError:
        return (0, 0)
    return (info.st_size, info.st_mtime_ns)


def _settle(path: str, uid: int, gid: int, mode: int) -> bool:
    """Give a path its owner and mode; whether it had others."""
    found = os.lstat(path)
    if (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (uid, gid, mode):
        return False
    os.chown(path, uid, gid, follow_symlinks=False)
    os.chmod(path, mode)
    return True


def _discard(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def copy_bytes(source: str, target: str) -> str:
    """Copy a file, never what a link leads to, and return the digest of what was read."""
    digest = hashlib.sha256()
    fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as read, open(target, "wb") as write:
        os.fchmod(write.fileno(), 0o600)
        for block in iter(lambda: read.read(1 << 20), b""):
            digest.update(block)
            write.write(block)
        write.flush()
        os.fsync(write.fileno())
    return digest.hexdigest()


def back_up(source: str, target: str, exact: bool) -> None:
    """A copy of a database that is whole, whoever writes to it meanwhile."""
    import sqlite3  # only where there is a database

    try:
        with contextlib.ExitStack() as stack:
            before = sqlite3.connect(f"file:{quote(source)}?mode=ro", uri=True, timeout=60)
            stack.callback(before.close)
            after = sqlite3.connect(target)
            stack.callback(after.close)
            before.backup(after)
            verdict = after.execute("PRAGMA quick_check").fetchone()[0]
            if verdict != "ok":
                raise ReleaseError(f"The copy of {source} is damaged ({verdict}): is the database itself sound?")
            if exact and rows(before) != rows(after):
                raise ReleaseError(f"The copy of {source} has other rows than it: somebody still writes to it.")
    except sqlite3.Error as error:
        raise ReleaseError(f"{source} can't be copied: {error}.") from error


def rows(connection) -> dict[str, int]:  # type: ignore[no-untyped-def]
    """How many rows each table has."""
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    quoted = {name: '"' + name.replace('"', '""') + '"' for name in names}
    return {name: connection.execute(f"SELECT count(*) FROM {quoted[name]}").fetchone()[0] for name in names}


# --- the environment -------------------------------------------------------------------------------------------------


def environment_text(unit: str, weak: list[str], strong: list[str]) -> bytes:
    """The environment of a service as one file, the strongest last: systemd takes the last value of a name.

    Weak is what the application reads by itself, which gives way to what the unit sets; strong are the unit's files.
    """
    given = shlex.split(show(unit, "Environment").get("Environment", ""))
    below = b"".join(map(_whole_lines, strong))
    overridden = {name for name, _value in ASSIGNMENT.findall(below.decode(errors="replace"))}
    pairs = [item.partition("=") for item in given]
    lines = [f"{name}={_quoted(value)}\n" for name, separator, value in pairs if separator and name not in overridden]
    return b"".join(map(_whole_lines, weak)) + "".join(lines).encode() + below


def _whole_lines(path: str) -> bytes:
    with open(path, "rb") as file:
        text = file.read()
    return text if text.endswith(b"\n") or not text else text + b"\n"


def _quoted(value: str) -> str:
    return '"' + re.sub(r'([\\"`$])', r"\\\1", value) + '"'


def write_environment(home: Home, text: bytes, uid: int, gid: int) -> bool:
    """Put the environment in place; whether it is another one than before."""
    try:
        with open(home.env_file, "rb") as file:
            same = file.read() == text
    except FileNotFoundError:
        same = False
    if same:
        return _settle(home.env_file, uid, gid, 0o640)
    put_file(home.env_file, text, mode=0o640, uid=uid, gid=gid)
    return True
