# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to files below directories that other users may write to. Private.

Every step opens one name in a directory that is open already, and follows no link. Where a link may be followed, its
text is read and walked in the same way.
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

MAX_LINKS = 40
# Decides on a link: the directory that it is in, its name, its status and its text. It raises to refuse it.
LinkCheck = Callable[[Directory, str, os.stat_result, str], None]


def _split_path(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]


def _trusted_uids(more: Iterable[int] = ()) -> frozenset[int]:
    return frozenset({0, os.geteuid(), *more})


def _open_root(trusted: frozenset[int] | None) -> Directory:
    return Directory(os.open("/", ENTER_FLAGS), "/", trusted)


def _resolve(top: Directory, names: list[str], allow: LinkCheck) -> DirectoryEntry:
    """Go from a directory through names and the links that are allowed, and never above the directory."""
    way, pending, links = [top.duplicate()], names[::-1], 0
    try:
        while pending:
            name, here = pending.pop(), way[-1]
            if name == "..":
                if len(way) > 1:
                    way.pop().close()
                elif top.path != "/":
                    raise UnsafePathError(f"{os.path.join(top.path, *names)} leads out of {top.path}.")
                continue
            info = here.lstat(name)
            if stat.S_ISLNK(info.st_mode):
                links += 1
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), here.join(name))
                text = here.read_link(name)
                allow(here, name, info, text)
                if text.startswith("/"):
                    _return_to_top(way, top, here.join(name), text)
                    text = os.path.relpath(text, top.path)
                pending.extend(_split_path(text)[::-1])
            elif pending:
                way.append(here.enter(name))
            else:
                return DirectoryEntry(way.pop(), name, info)
        here = way.pop()
        return DirectoryEntry(here, ".", here.stat())
    finally:
        for directory in way:
            directory.close()


def _return_to_top(way: list[Directory], top: Directory, link: str, text: str) -> None:
    """Go back to where an absolute link can be walked from."""
    if os.path.normpath(text) != top.path and not text.startswith(top.path.rstrip("/") + "/"):
        raise UnsafePathError(f"{link} is a symbolic link to {text}, which leads out of {top.path}.")
    while len(way) > 1:
        way.pop().close()


def _allow_trusted_links(trusted: frozenset[int]) -> LinkCheck:
    def allow(directory: Directory, name: str, info: os.stat_result, text: str) -> None:
        if not {info.st_uid, directory.stat().st_uid} <= trusted:
            raise UnsafePathError(
                f"{directory.join(name)} is a symbolic link to {text} that a user other than root can turn elsewhere. "
                "Give the path that it leads to, or let root own the link and its directory."
            )

    return allow


def _refuse_links(directory: Directory, name: str, _info: os.stat_result, text: str) -> None:
    raise UnsafePathError(f"{directory.join(name)} is a symbolic link to {text}, which is not followed.")


def _allow_links(_directory: Directory, _name: str, _info: os.stat_result, _text: str) -> None:
    """Every link may be followed: the walk itself keeps it below its top."""


def open_directory_safely(
    path: str, trusted: Iterable[int] = (), reading: bool = False, links: bool = True
) -> Directory:
    """Open a directory by its absolute path. Of links, at most root's own in root's directories are followed.

    Where something is written below it, a directory of a user who is not trusted must not lead to what others own.
    """
    users = _trusted_uids(trusted)
    with _open_root(None if reading else users) as top:
        found = _resolve(top, _split_path(path), _allow_trusted_links(users) if links else _refuse_links)
    with found.directory:
        return found.directory.duplicate() if found.name == "." else found.directory.enter(found.name)


def make_directories(top: Directory, path: str, uid: int, gid: int, mode: int, prefix: str) -> Directory:
    """Open a directory below another one, and make those that are missing on the way."""
    here = top.duplicate()
    for name in _split_path(path):
        with here as above:
            missing = above.try_lstat(name) is None
            here = above.make_directory(name, uid, gid, mode, prefix) if missing else above.enter(name)
    return here


def resolve_beneath(top: Directory, path: str) -> DirectoryEntry:
    """Find a path below a directory. Links are followed as far as they stay below it."""
    return _resolve(top, _split_path(path), _allow_links)


def open_file(path: str) -> int:
    """Open an ordinary file for reading by its absolute path.

    Links are followed, but where another user than root laid one, the file must be that user's own: otherwise he would
    have root read what he may not.
    """
    laid: set[int] = set()

    def note(directory: Directory, _name: str, info: os.stat_result, _text: str) -> None:
        laid.update({info.st_uid, directory.stat().st_uid} - _trusted_uids())

    with _open_root(None) as top:
        found = _resolve(top, _split_path(path), note)
    with found.directory:
        fd = found.directory.open_file(found.name)
    if laid and os.fstat(fd).st_uid not in laid:
        os.close(fd)
        raise UnsafePathError(
            f"{path} leads through a symbolic link to {found.path}, "
            "which does not belong to the user who laid the link."
        )
    return fd


def read_file(path: str, size: int = -1) -> bytes:
    """The bytes of a file, as open_file opens it, or as many of them as are wanted."""
    with os.fdopen(open_file(path), "rb") as stream:
        return stream.read(size)


def walk_tree(directory: Directory, name: str) -> Iterator[DirectoryEntry]:
    """A name and everything below it, directories before what is in them. No link is followed."""
    info = directory.lstat(name)
    yield DirectoryEntry(directory, name, info)
    if stat.S_ISDIR(info.st_mode):
        with directory.enter(name) as deeper:
            for below in deeper.list_names():
                # It may be gone by now, as temporary files are.
                with contextlib.suppress(FileNotFoundError):
                    yield from walk_tree(deeper, below)
