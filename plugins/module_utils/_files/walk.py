# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open files below directories that other users can write to.

Each step opens one name in an open directory without following a link. If a link may be followed, its text is read and
resolved in the same way.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Callable, Iterable, Iterator

from ansible_collections.flaskops.production.plugins.module_utils._files.directory import (
    ENTER_FLAGS,
    Directory,
    DirectoryEntry,
    UnsafePathError,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.paths import MAX_LINKS

# Checks a link, given its directory, name, status and text. Raises UnsafePathError to refuse it.
LinkCheck = Callable[[Directory, str, os.stat_result, str], None]


def _split_path(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]


def _trusted_uids(more: Iterable[int] = ()) -> frozenset[int]:
    return frozenset({0, os.geteuid(), *more})


def _open_root(trusted: frozenset[int] | None) -> Directory:
    return Directory(os.open("/", ENTER_FLAGS), "/", trusted)


def _resolve(top: Directory, names: list[str], allow: LinkCheck) -> DirectoryEntry:
    """Resolve names and allowed links below a directory. Raises UnsafePathError if they lead above it."""
    opened, pending, links = [top.duplicate()], names[::-1], 0
    try:
        while pending:
            name, current = pending.pop(), opened[-1]
            if name == "..":
                if len(opened) > 1:
                    opened.pop().close()
                elif top.path != "/":
                    raise UnsafePathError(f"{os.path.join(top.path, *names)} leads out of {top.path}.")
                continue
            info = current.lstat(name)
            if stat.S_ISLNK(info.st_mode):
                links += 1
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), current.join(name))
                text = current.read_link(name)
                allow(current, name, info, text)
                if text.startswith("/"):
                    _return_to_top(opened, top, current.join(name), text)
                    text = os.path.relpath(text, top.path)
                pending.extend(_split_path(text)[::-1])
            elif pending:
                opened.append(current.enter(name))
            else:
                return DirectoryEntry(opened.pop(), name, info)
        current = opened.pop()
        return DirectoryEntry(current, ".", current.stat())
    finally:
        for directory in opened:
            directory.close()


def _return_to_top(opened: list[Directory], top: Directory, link: str, text: str) -> None:
    """Close all directories but the first, from which an absolute link is resolved."""
    if os.path.normpath(text) != top.path and not text.startswith(top.path.rstrip("/") + "/"):
        raise UnsafePathError(f"{link} is a symbolic link to {text}, which leads out of {top.path}.")
    while len(opened) > 1:
        opened.pop().close()


def _allow_trusted_links(trusted: frozenset[int]) -> LinkCheck:
    def allow(directory: Directory, name: str, info: os.stat_result, text: str) -> None:
        if not {info.st_uid, directory.stat().st_uid} <= trusted:
            raise UnsafePathError(
                f"{directory.join(name)} is a symbolic link to {text} that a user other than root can replace. "
                "Set the path it points to, or give the link and its directory to root."
            )

    return allow


def _refuse_links(directory: Directory, name: str, _info: os.stat_result, text: str) -> None:
    raise UnsafePathError(f"{directory.join(name)} is a symbolic link to {text}, which is not followed.")


def _allow_links(_directory: Directory, _name: str, _info: os.stat_result, _text: str) -> None:
    """Allow all links: _resolve() itself refuses those that lead above its top."""


def open_directory_safely(
    path: str, trusted: Iterable[int] = (), reading: bool = False, links: bool = True
) -> Directory:
    """Open a directory by its absolute path. Only links of root in directories of root are followed, if any.

    Unless reading is set, raises UnsafePathError if a user who is not trusted owns a directory above one of another
    user.
    """
    users = _trusted_uids(trusted)
    with _open_root(None if reading else users) as top:
        found = _resolve(top, _split_path(path), _allow_trusted_links(users) if links else _refuse_links)
    with found.directory:
        return found.directory.duplicate() if found.name == "." else found.directory.enter(found.name)


def make_directories(top: Directory, path: str, uid: int, gid: int, mode: int, prefix: str) -> Directory:
    """Open a directory below another one, and create missing directories of the path."""
    current = top.duplicate()
    for name in _split_path(path):
        with current as above:
            missing = above.try_lstat(name) is None
            current = above.make_directory(name, uid, gid, mode, prefix) if missing else above.enter(name)
    return current


def resolve_beneath(top: Directory, path: str) -> DirectoryEntry:
    """Resolve a path below a directory. Raises UnsafePathError for links that lead out of it."""
    return _resolve(top, _split_path(path), _allow_links)


def _follow(path: str) -> tuple[DirectoryEntry, set[int]]:
    """Resolve an absolute path. Returns its entry, and the owners other than root of links on the way."""
    link_owners: set[int] = set()

    def record_owners(directory: Directory, _name: str, info: os.stat_result, _text: str) -> None:
        link_owners.update({info.st_uid, directory.stat().st_uid} - _trusted_uids())

    with _open_root(None) as top:
        return _resolve(top, _split_path(path), record_owners), link_owners


def _check_owner(path: str, found: DirectoryEntry, link_owners: set[int], uid: int) -> None:
    if link_owners and uid not in link_owners:
        raise UnsafePathError(
            f"{path} leads through a symbolic link to {found.path}, which does not belong to the owner of the link."
        )


def open_file(path: str) -> int:
    """Open a regular file for reading by its absolute path.

    Links are followed. If a user other than root owns a link, that user must own the file too. Otherwise root would
    read a file for a user who lacks permission.
    """
    found, link_owners = _follow(path)
    with found.directory:
        fd = found.directory.open_file(found.name)
    try:
        _check_owner(path, found, link_owners, os.fstat(fd).st_uid)
    except UnsafePathError:
        os.close(fd)
        raise
    return fd


def resolve(path: str) -> str:
    """Return an absolute path without links. If a user other than root owns a link, that user must own the target."""
    found, link_owners = _follow(path)
    with found.directory:
        _check_owner(path, found, link_owners, found.info.st_uid)
    return found.path


def read_file(path: str, size: int = -1) -> bytes:
    """Read a file opened by open_file(), or at most size bytes of it."""
    with os.fdopen(open_file(path), "rb") as stream:
        return stream.read(size)


def walk_tree(directory: Directory, name: str) -> Iterator[DirectoryEntry]:
    """Yield a name and everything below it, a directory before its entries. Links are not followed."""
    info = directory.lstat(name)
    yield DirectoryEntry(directory, name, info)
    if stat.S_ISDIR(info.st_mode):
        with directory.enter(name) as subdirectory:
            for entry_name in subdirectory.list_names():
                # A temporary file may have been removed.
                with contextlib.suppress(FileNotFoundError):
                    yield from walk_tree(subdirectory, entry_name)
