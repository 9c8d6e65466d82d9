# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy and verify the data of an adopted deployment, and record the adoption.

The originals are only read. A copy comes into being under another name and is renamed when it is whole, so that a pass
that was cut off is completed by the next one, which copies nothing but what has changed. The old user may write to the
originals and the application to the copies: both are reached by directory descriptor only.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from typing import IO, Iterator, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._adoption.database import back_up, prepared
from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import Move
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
    replace_file,
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

TEMPORARY = ".adopting-"


class Owner(NamedTuple):
    """Whom the copies belong to: the user that runs the application, its group, and that of the web server."""

    uid: int
    gid: int
    web_gid: int


class Origin(NamedTuple):
    """Where the data comes from: directories that links must not lead out of, and the user that the old service has."""

    tops: list[str]
    user: str


class Record:
    """What is known of the adoption of an application, in one file that only root can read."""

    def __init__(self, layout: Layout) -> None:
        self.path = os.path.join(layout.state, "adoption.json")
        self.kept = os.path.join(layout.state, "adopted")

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
        replace_file(self.path, text.encode(), mode=0o600)
        return content


# --- what is to be copied --------------------------------------------------------------------------------------------


class Copy(NamedTuple):
    """One directory, file, database or link to be copied, and its place below shared/."""

    source: DirectoryEntry
    target: str
    kind: str
    uid: int
    gid: int
    mode: int
    # The text of a link.
    text: str = ""


def copies(moves: list[Move], owner: Owner, tops: list[str], shared: str) -> Iterator[Copy]:
    """Everything that the moves amount to, directories before what is in them."""
    for move in moves:
        if move.kind == "environment" or move.source == os.path.join(shared, move.target):
            continue
        uid, gid, mode, directory = _access(move, owner)
        with find_source(move.source, tops) as top:
            for found in below(top):
                relative = os.path.relpath(found.path, top.path)
                target = move.target if relative == "." else os.path.join(move.target, relative)
                kind = _kind(found)
                if kind == "directory":
                    yield Copy(found, target, kind, uid, gid, directory)
                elif kind == "link":
                    yield Copy(found, target, kind, uid, gid, mode, _link_text(found, top.path))
                elif kind:
                    yield Copy(found, target, kind, uid, gid, mode)


def _link_text(found: DirectoryEntry, top: str) -> str:
    """The text of a link in a copy. One that names a place in the data by its whole path would lead to the original."""
    text = found.directory.read_link(found.name)
    inside = os.path.isabs(text) and (text == top or text.startswith(top + "/"))
    return os.path.relpath(text, found.directory.path) if inside else text


def _kind(found: DirectoryEntry) -> str:
    """What is copied of it; empty for a socket or a pipe."""
    if stat.S_ISDIR(found.info.st_mode):
        return "directory"
    if stat.S_ISLNK(found.info.st_mode):
        return "link"
    if not stat.S_ISREG(found.info.st_mode):
        return ""
    return "database" if is_database(found.directory, found.name) else "file"


def below(top: DirectoryEntry) -> Iterator[DirectoryEntry]:
    """What was found and all below it, without what SQLite keeps beside its databases."""
    for found in walk_tree(top.directory, top.name):
        database = BESIDE.sub("", found.name)
        if database == found.name or not is_database(found.directory, database):
            yield found


def _access(move: Move, owner: Owner) -> tuple[int, int, int, int]:
    """Owner, group, mode of files and mode of directories of what is copied."""
    if move.kind == "key":
        return 0, owner.gid, 0o640, 0o750
    if move.kind == "uploads":
        # Nginx reads them, by the group.
        return owner.uid, owner.web_gid, 0o640, 0o2750
    return owner.uid, owner.gid, 0o640, 0o750


def occupied(layout: Layout, moves: list[Move], owner: Owner, tops: list[str]) -> list[str]:
    """Files in shared/ that a copy would replace, and that hold something else."""
    found = []
    for item in copies(moves, owner, tops, layout.shared):
        if item.kind == "directory":
            continue
        try:
            with open_directory_safely(
                os.path.join(layout.shared, os.path.dirname(item.target)), reading=True, links=False
            ) as directory:
                there = directory.try_lstat(os.path.basename(item.target))
                same = there is None or _is_same(item, directory, there)
        except FileNotFoundError:
            continue
        except (NotADirectoryError, UnsafePathError):
            same = False
        if not same:
            found.append(os.path.join(layout.shared, item.target))
    return found


def _is_same(item: Copy, directory: Directory, there: os.stat_result) -> bool:
    if item.kind != "file" or not stat.S_ISREG(there.st_mode):
        return False
    name, source = os.path.basename(item.target), item.source
    with source.directory.open_stream(source.name) as one, directory.open_stream(name) as other:
        return _digest(one) == _digest(other)


# --- copying ---------------------------------------------------------------------------------------------------------


class Data:
    """The copies of one application."""

    def __init__(
        self, layout: Layout, moves: list[Move], owner: Owner, origin: Origin, known: dict[str, list[int]]
    ) -> None:
        self.layout, self.moves, self.owner, self.origin = layout, moves, owner, origin
        # Of each database that was copied, what it and its log looked like before.
        self.known = known
        self.files = self.bytes = 0
        self.changed: list[str] = []
        self.held: tuple[str, Directory] | None = None

    def copy(self, final: bool = False) -> None:
        """Bring the copies up to the originals. In the final pass nobody writes any more, and all has to be equal."""
        try:
            for item in copies(self.moves, self.owner, self.origin.tops, self.layout.shared):
                try:
                    self._one(item, final)
                except FileNotFoundError:
                    # Somebody removed it in between, as applications do with their temporary files.
                    if final or item.source.directory.try_lstat(item.source.name) is not None:
                        raise
        finally:
            self._let_go()
        for move in self.moves:
            if move.via:
                self._way(move)
        if not final:
            sync_filesystem(self.layout.shared)

    def _one(self, item: Copy, final: bool) -> None:
        directory = self._hold(item.target)
        name = os.path.basename(item.target)
        there = directory.try_lstat(name)
        if there is not None and stat.S_ISDIR(there.st_mode) != (item.kind == "directory"):
            raise ReleaseError(f"{directory.join(name)} is in the way of a copy of {item.source.path}: move it away.")
        if item.kind == "directory":
            done = self._directory(item, directory, name, there)
        elif item.kind == "link":
            done = self._link(item.text, directory, name, there)
        else:
            self.files += 1
            self.bytes += item.source.info.st_size
            copy = self._database if item.kind == "database" else self._file
            done = copy(item, directory, name, there, final)
        if done:
            self.changed.append(os.path.join(self.layout.shared, item.target))

    def _hold(self, target: str) -> Directory:
        """The directory of a copy, which stays open for the next one: visitors wait while thousands are compared."""
        place = os.path.dirname(target)
        if self.held is None or self.held[0] != place:
            self._let_go()
            self.held = (place, self._directory_of(target))
        return self.held[1]

    def _let_go(self) -> None:
        if self.held is not None:
            self.held[1].close()
            self.held = None

    def _directory_of(self, target: str) -> Directory:
        """The directory of a copy. A database and a log are made in one that the application may write to."""
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

    def _directory(self, item: Copy, directory: Directory, name: str, there: os.stat_result | None) -> bool:
        if there is None:
            directory.make_directory(name, item.uid, item.gid, item.mode, TEMPORARY).close()
            return True
        if item.target in ("static", "media", "logs"):
            return False  # the role layout's own
        with directory.enter(name) as entered:
            return entered.set_owner_and_mode(".", item.uid, item.gid, item.mode)

    def _link(self, text: str, directory: Directory, name: str, there: os.stat_result | None) -> bool:
        if there is not None and stat.S_ISLNK(there.st_mode) and directory.read_link(name) == text:
            return False
        directory.replace_link(name, text, TEMPORARY)
        return True

    def _file(self, item: Copy, directory: Directory, name: str, there: os.stat_result | None, final: bool) -> bool:
        info = item.source.info
        is_file = there is not None and stat.S_ISREG(there.st_mode)
        if is_file and (there.st_size, there.st_mtime_ns) == (info.st_size, info.st_mtime_ns):
            return directory.set_owner_and_mode(name, item.uid, item.gid, item.mode)
        # Before the old service stops, the whole file system is written to the disk at the end.
        with item.source.directory.open_stream(item.source.name) as read, directory.open_replacement(
            name, TEMPORARY, sync=final
        ) as write:
            expected = copy_bytes(read, write)
            if _digest(write) != expected:
                place = directory.path
                seen = f"The copy of {item.source.path} differs from it: the disk of {place} is not sound."
                raise ReleaseError(one_line(seen))
            os.utime(write.fileno(), ns=(info.st_atime_ns, info.st_mtime_ns))
            set_owner_and_mode(write.fileno(), item.uid, item.gid, item.mode)
        return True

    def _database(self, item: Copy, directory: Directory, name: str, there: os.stat_result | None, final: bool) -> bool:
        source = item.source
        looks = [value for suffix in ("", "-wal") for value in _looks(source.directory, source.name + suffix)]
        if there is not None and self.known.get(source.path) == looks:
            return directory.set_owner_and_mode(name, item.uid, item.gid, item.mode)
        with prepared(self.layout.state, TEMPORARY) as place:
            if source.info.st_size:
                back_up(source, place, self.origin.user, exact=final)
            else:
                place.create_empty()
            place.take_over()
            # What belongs to an earlier copy would be taken for a part of this one.
            for suffix in SUFFIXES:
                remove_if_exists(name + suffix, directory.fd)
            place.put(directory, name, item.uid, item.gid, item.mode)
        self.known[source.path] = looks
        return True

    def _way(self, move: Move) -> None:
        """A name in shared/ that leads to where the data is."""
        link, target = os.path.join(self.layout.shared, move.via), os.path.join(self.layout.shared, move.target)
        with self._directory_of(move.via) as directory:
            name = os.path.basename(move.via)
            there = directory.try_lstat(name)
            if there is not None and not stat.S_ISLNK(there.st_mode):
                raise ReleaseError(f"{link} is to lead to {target}, but something else is there: move it away.")
            if self._link(os.path.relpath(target, os.path.dirname(link)), directory, name, there):
                self.changed.append(link)


def _looks(directory: Directory, name: str) -> tuple[int, int]:
    info = directory.try_lstat(name)
    return (0, 0) if info is None else (info.st_size, info.st_mtime_ns)


def _digest(stream: IO[bytes]) -> str:
    stream.seek(0)
    return hash_stream(stream)


def copy_bytes(read: IO[bytes], write: IO[bytes]) -> str:
    """Copy an open file, and return the digest of what was read."""
    digest = hashlib.sha256()
    for block in iter(lambda: read.read(1 << 20), b""):
        digest.update(block)
        write.write(block)
    write.flush()
    return digest.hexdigest()
