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
    ENTER,
    Directory,
    Found,
    UnsafePathError,
)

MAX_LINKS = 40
# Decides on a link: the directory that it is in, its name, its status and its text. It raises to refuse it.
Links = Callable[[Directory, str, os.stat_result, str], None]


def _parts(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]


def _trusted(more: Iterable[int] = ()) -> frozenset[int]:
    return frozenset({0, os.geteuid(), *more})


def _root(trusted: frozenset[int] | None) -> Directory:
    return Directory(os.open("/", ENTER), "/", trusted)


def _walk(top: Directory, names: list[str], allow: Links) -> Found:
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
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), here.place(name))
                text = here.read_link(name)
                allow(here, name, info, text)
                if text.startswith("/"):
                    _return(way, top, here.place(name), text)
                    text = os.path.relpath(text, top.path)
                pending.extend(_parts(text)[::-1])
            elif pending:
                way.append(here.enter(name))
            else:
                return Found(way.pop(), name, info)
        here = way.pop()
        return Found(here, ".", here.status())
    finally:
        for directory in way:
            directory.close()


def _return(way: list[Directory], top: Directory, link: str, text: str) -> None:
    """Go back to where an absolute link can be walked from."""
    if os.path.normpath(text) != top.path and not text.startswith(top.path.rstrip("/") + "/"):
        raise UnsafePathError(f"{link} is a symbolic link to {text}, which leads out of {top.path}.")
    while len(way) > 1:
        way.pop().close()


def _of_trusted(trusted: frozenset[int]) -> Links:
    def allow(directory: Directory, name: str, info: os.stat_result, text: str) -> None:
        if not {info.st_uid, directory.status().st_uid} <= trusted:
            raise UnsafePathError(
                f"{directory.place(name)} is a symbolic link to {text} that a user other than root can turn elsewhere. "
                "Give the path that it leads to, or let root own the link and its directory."
            )

    return allow


def _none(directory: Directory, name: str, _info: os.stat_result, text: str) -> None:
    raise UnsafePathError(f"{directory.place(name)} is a symbolic link to {text}, which is not followed.")


def _any(_directory: Directory, _name: str, _info: os.stat_result, _text: str) -> None:
    """Every link may be followed: the walk itself keeps it below its top."""


def reach(path: str, trusted: Iterable[int] = (), reading: bool = False, links: bool = True) -> Directory:
    """Open a directory by its absolute path. Of links, at most root's own in root's directories are followed.

    Where something is written below it, a directory of a user who is not trusted must not lead to what others own.
    """
    users = _trusted(trusted)
    with _root(None if reading else users) as top:
        found = _walk(top, _parts(path), _of_trusted(users) if links else _none)
    with found.directory:
        return found.directory.duplicate() if found.name == "." else found.directory.enter(found.name)


def enter_or_make(top: Directory, path: str, uid: int, gid: int, mode: int, prefix: str) -> Directory:
    """Open a directory below another one, and make those that are missing on the way."""
    here = top.duplicate()
    for name in _parts(path):
        with here as above:
            missing = above.find(name) is None
            here = above.make(name, uid, gid, mode, prefix) if missing else above.enter(name)
    return here


def beneath(top: Directory, path: str) -> Found:
    """Find a path below a directory. Links are followed as far as they stay below it."""
    return _walk(top, _parts(path), _any)


def _follow(path: str) -> tuple[Found, set[int]]:
    """What an absolute path leads to, and the users other than root who laid links on the way."""
    laid: set[int] = set()

    def note(directory: Directory, _name: str, info: os.stat_result, _text: str) -> None:
        laid.update({info.st_uid, directory.status().st_uid} - _trusted())

    with _root(None) as top:
        return _walk(top, _parts(path), note), laid


def _check_owner(path: str, found: Found, laid: set[int], uid: int) -> None:
    if laid and uid not in laid:
        raise UnsafePathError(
            f"{path} leads through a symbolic link to {found.path}, "
            "which does not belong to the user who laid the link."
        )


def open_file(path: str) -> int:
    """Open an ordinary file for reading by its absolute path.

    Links are followed, but where another user than root laid one, the file must be that user's own: otherwise he would
    have root read what he may not.
    """
    found, laid = _follow(path)
    with found.directory:
        fd = found.directory.open_file(found.name)
    try:
        _check_owner(path, found, laid, os.fstat(fd).st_uid)
    except UnsafePathError:
        os.close(fd)
        raise
    return fd


def resolve(path: str) -> str:
    """Where an absolute path leads, without links. If another user than root laid one, that must be the user's own."""
    found, laid = _follow(path)
    with found.directory:
        _check_owner(path, found, laid, found.info.st_uid)
    return found.path


def read_file(path: str, size: int = -1) -> bytes:
    """The bytes of a file, as open_file opens it, or as many of them as are wanted."""
    with os.fdopen(open_file(path), "rb") as stream:
        return stream.read(size)


def tree(directory: Directory, name: str) -> Iterator[Found]:
    """A name and everything below it, directories before what is in them. No link is followed."""
    info = directory.lstat(name)
    yield Found(directory, name, info)
    if stat.S_ISDIR(info.st_mode):
        with directory.enter(name) as deeper:
            for below in deeper.names():
                # It may be gone by now, as temporary files are.
                with contextlib.suppress(FileNotFoundError):
                    yield from tree(deeper, below)
