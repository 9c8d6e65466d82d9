# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy and verify the data of an adopted deployment.

The originals are only read. A copy is written under a temporary name and renamed when it is complete. Each pass copies
only changed files, and completes an interrupted one. The old user may write to the originals and the application to
the copies, so both are opened by directory descriptor only.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import IO, Iterator, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._adoption.database import (
    back_up_database,
    create_workspace,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import ENVIRONMENT, Move
from ansible_collections.flaskops.production.plugins.module_utils._adoption.record import TEMPORARY
from ansible_collections.flaskops.production.plugins.module_utils._adoption.sources import (
    BESIDE,
    SUFFIXES,
    find_source,
    is_database,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._core.text import one_line
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import (
    hash_stream,
    remove_if_exists,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.directory import (
    Directory,
    DirectoryEntry,
    UnsafePathError,
    set_owner_and_mode,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.links import sync_filesystem
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import (
    open_directory_safely,
    walk_tree,
)


class DataOwner(NamedTuple):
    """The owner of the copies: the user that runs the application, its group, and the group of the web server."""

    uid: int
    gid: int
    web_gid: int


class DataOrigin(NamedTuple):
    """The old directories, which links must not lead out of, and the user of the old service."""

    tops: list[str]
    user: str


class CopyItem(NamedTuple):
    """A directory, file, database or link to copy, and its path below shared/."""

    source: DirectoryEntry
    target: str
    kind: str
    uid: int
    gid: int
    mode: int
    # The text of a link.
    text: str = ""


def list_copies(moves: list[Move], owner: DataOwner, tops: list[str], shared: str) -> Iterator[CopyItem]:
    """Yield everything that the moves copy. A directory precedes its contents."""
    for move in moves:
        if move.kind == ENVIRONMENT or move.source == os.path.join(shared, move.target):
            continue
        uid, gid, mode, directory = _get_owner_and_modes(move, owner)
        with find_source(move.source, tops) as top:
            for entry in walk_source(top):
                relative = os.path.relpath(entry.path, top.path)
                target = move.target if relative == "." else os.path.join(move.target, relative)
                kind = _classify(entry)
                if kind == "directory":
                    yield CopyItem(entry, target, kind, uid, gid, directory)
                elif kind == "link":
                    yield CopyItem(entry, target, kind, uid, gid, mode, _read_link_text(entry, top.path))
                elif kind:
                    yield CopyItem(entry, target, kind, uid, gid, mode)


def _read_link_text(entry: DirectoryEntry, top: str) -> str:
    """Return the text of a link in a copy. An absolute link into the data would lead to the original."""
    text = entry.directory.read_link(entry.name)
    inside = os.path.isabs(text) and (text == top or text.startswith(top + "/"))
    return os.path.relpath(text, entry.directory.path) if inside else text


def _classify(entry: DirectoryEntry) -> str:
    """Return the kind of a copy, or an empty string for a socket, a pipe or a device."""
    if stat.S_ISDIR(entry.info.st_mode):
        return "directory"
    if stat.S_ISLNK(entry.info.st_mode):
        return "link"
    if not stat.S_ISREG(entry.info.st_mode):
        return ""
    return "database" if is_database(entry.directory, entry.name) else "file"


def walk_source(top: DirectoryEntry) -> Iterator[DirectoryEntry]:
    """Yield an entry and everything below it, without the files that SQLite keeps beside its databases."""
    for entry in walk_tree(top.directory, top.name):
        database = BESIDE.sub("", entry.name)
        if database == entry.name or not is_database(entry.directory, database):
            yield entry


def _get_owner_and_modes(move: Move, owner: DataOwner) -> tuple[int, int, int, int]:
    """Return the owner, the group, the mode of files and the mode of directories of a copy."""
    if move.kind == "key":
        return 0, owner.gid, 0o640, 0o750
    if move.kind == "uploads":
        # Nginx reads them by its group.
        return owner.uid, owner.web_gid, 0o640, 0o2750
    return owner.uid, owner.gid, 0o640, 0o750


def find_conflicts(layout: Layout, moves: list[Move], owner: DataOwner, tops: list[str]) -> list[str]:
    """Return the files in shared/ that a copy would replace and that have other content."""
    found = []
    for item in list_copies(moves, owner, tops, layout.shared):
        if item.kind == "directory":
            continue
        try:
            with open_directory_safely(
                os.path.join(layout.shared, os.path.dirname(item.target)), reading=True, links=False
            ) as directory:
                info = directory.try_lstat(os.path.basename(item.target))
                same = info is None or _is_same(item, directory, info)
        except FileNotFoundError:
            continue
        except (NotADirectoryError, UnsafePathError):
            same = False
        if not same:
            found.append(os.path.join(layout.shared, item.target))
    return found


def _is_same(item: CopyItem, directory: Directory, info: os.stat_result) -> bool:
    if item.kind != "file" or not stat.S_ISREG(info.st_mode):
        return False
    name, source = os.path.basename(item.target), item.source
    with source.directory.open_stream(source.name) as one, directory.open_stream(name) as other:
        return _hash_file(one) == _hash_file(other)


class DataCopier:
    """Copies the data of one application."""

    def __init__(
        self, layout: Layout, moves: list[Move], owner: DataOwner, origin: DataOrigin, known: dict[str, list[int]]
    ) -> None:
        self.layout, self.moves, self.owner, self.origin = layout, moves, owner, origin
        # The size and time of each copied database and its log, when it was copied.
        self.known = known
        self.files = self.bytes = 0
        self.changed: list[str] = []
        self.open_directory: tuple[str, Directory] | None = None

    def copy(self, final: bool = False) -> None:
        """Update the copies. In the final pass, no process writes to the data any more, and everything must match."""
        try:
            for item in list_copies(self.moves, self.owner, self.origin.tops, self.layout.shared):
                try:
                    self._copy_item(item, final)
                except FileNotFoundError:
                    # Applications remove temporary files.
                    if final or item.source.directory.try_lstat(item.source.name) is not None:
                        raise
        finally:
            self._close_directory()
        for move in self.moves:
            if move.via:
                self._link_via(move)
        if not final:
            sync_filesystem(self.layout.shared)

    def _copy_item(self, item: CopyItem, final: bool) -> None:
        directory = self._get_directory(item.target)
        name = os.path.basename(item.target)
        info = directory.try_lstat(name)
        if info is not None and stat.S_ISDIR(info.st_mode) != (item.kind == "directory"):
            raise ReleaseError(f"{directory.join(name)} is in the way of a copy of {item.source.path}: move it away.")
        if item.kind == "directory":
            changed = self._copy_directory(item, directory, name, info)
        elif item.kind == "link":
            changed = self._copy_link(item.text, directory, name, info)
        else:
            self.files += 1
            self.bytes += item.source.info.st_size
            copy = self._copy_database if item.kind == "database" else self._copy_file
            changed = copy(item, directory, name, info, final)
        if changed:
            self.changed.append(os.path.join(self.layout.shared, item.target))

    def _get_directory(self, target: str) -> Directory:
        """Return the directory of a copy. It stays open for the next copy, because requests wait for the final pass."""
        path = os.path.dirname(target)
        if self.open_directory is None or self.open_directory[0] != path:
            self._close_directory()
            self.open_directory = (path, self._open_or_create(target))
        return self.open_directory[1]

    def _close_directory(self) -> None:
        if self.open_directory is not None:
            self.open_directory[1].close()
            self.open_directory = None

    def _open_or_create(self, target: str) -> Directory:
        """Open the directory of a copy. Missing ones belong to root, except shared/database."""
        here = open_directory_safely(self.layout.shared, {os.stat(self.layout.shared).st_uid})
        for name in os.path.dirname(target).split("/"):
            with here as above:
                if not name:
                    here = above.duplicate()
                elif above.try_lstat(name) is not None:
                    here = above.enter(name)
                elif name == "database" and above.path == self.layout.shared:
                    here = above.make_directory(name, self.owner.uid, self.owner.gid, 0o750, TEMPORARY)
                else:
                    here = above.make_directory(name, 0, 0, 0o755, TEMPORARY)
        return here

    def _copy_directory(self, item: CopyItem, directory: Directory, name: str, info: os.stat_result | None) -> bool:
        if info is None:
            directory.make_directory(name, item.uid, item.gid, item.mode, TEMPORARY).close()
            return True
        if item.target in ("static", "media", "logs"):
            return False  # the role layout manages these
        with directory.enter(name) as entered:
            return entered.set_owner_and_mode(".", item.uid, item.gid, item.mode)

    def _copy_link(self, text: str, directory: Directory, name: str, info: os.stat_result | None) -> bool:
        if info is not None and stat.S_ISLNK(info.st_mode) and directory.read_link(name) == text:
            return False
        directory.replace_link(name, text, TEMPORARY)
        return True

    def _copy_file(
        self, item: CopyItem, directory: Directory, name: str, info: os.stat_result | None, final: bool
    ) -> bool:
        original = item.source.info
        if info is not None and stat.S_ISREG(info.st_mode) and _is_unchanged(info, original):
            return directory.set_owner_and_mode(name, item.uid, item.gid, item.mode)
        # Before the final pass, the whole file system is synchronized at the end.
        with item.source.directory.open_stream(item.source.name) as read, directory.open_replacement(
            name, TEMPORARY, sync=final
        ) as write:
            expected = copy_bytes(read, write)
            if _hash_file(write) != expected:
                message = f"The copy of {item.source.path} differs from it: the disk of {directory.path} is faulty."
                raise ReleaseError(one_line(message))
            os.utime(write.fileno(), ns=(original.st_atime_ns, original.st_mtime_ns))
            set_owner_and_mode(write.fileno(), item.uid, item.gid, item.mode)
        return True

    def _copy_database(
        self, item: CopyItem, directory: Directory, name: str, info: os.stat_result | None, final: bool
    ) -> bool:
        source = item.source
        version = [
            value for suffix in ("", "-wal") for value in _read_size_and_time(source.directory, source.name + suffix)
        ]
        if info is not None and self.known.get(source.path) == version:
            return directory.set_owner_and_mode(name, item.uid, item.gid, item.mode)
        with create_workspace(self.layout.state, TEMPORARY) as workspace:
            if source.info.st_size:
                back_up_database(source, workspace, self.origin.user, exact=final)
            else:
                workspace.create_empty()
            workspace.revoke()
            # SQLite would take the files of an earlier copy for a part of this one.
            for suffix in SUFFIXES:
                remove_if_exists(name + suffix, directory.fd)
            workspace.move_to(directory, name, item.uid, item.gid, item.mode)
        self.known[source.path] = version
        return True

    def _link_via(self, move: Move) -> None:
        """Create the link in shared/ that leads to the data."""
        link, target = os.path.join(self.layout.shared, move.via), os.path.join(self.layout.shared, move.target)
        with self._open_or_create(move.via) as directory:
            name = os.path.basename(move.via)
            info = directory.try_lstat(name)
            if info is not None and not stat.S_ISLNK(info.st_mode):
                raise ReleaseError(f"{link} must be a link to {target}, but is not a link: move it away.")
            if self._copy_link(os.path.relpath(target, os.path.dirname(link)), directory, name, info):
                self.changed.append(link)


def _is_unchanged(copy: os.stat_result, original: os.stat_result) -> bool:
    return (copy.st_size, copy.st_mtime_ns) == (original.st_size, original.st_mtime_ns)


def _read_size_and_time(directory: Directory, name: str) -> tuple[int, int]:
    info = directory.try_lstat(name)
    return (0, 0) if info is None else (info.st_size, info.st_mtime_ns)


def _hash_file(stream: IO[bytes]) -> str:
    stream.seek(0)
    return hash_stream(stream)


def copy_bytes(read: IO[bytes], write: IO[bytes]) -> str:
    """Copy an open file, and return the digest of the bytes read."""
    digest = hashlib.sha256()
    for block in iter(lambda: read.read(1 << 20), b""):
        digest.update(block)
        write.write(block)
    write.flush()
    return digest.hexdigest()
