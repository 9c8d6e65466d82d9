# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies at a path and who may do what with it, links never followed unseen. Private to the collection."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
import struct
from typing import Iterator, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._files.directory import (
    Directory,
    UnsafePathError,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import (
    reach,
    read_file,
    resolve,
)

# A tree that has more than this below its code keeps data there.
SCANNED = 20000
# More than a file has that is read as text, but for what its user has blown up.
TEXT_BYTES = 1 << 24
# Neither environments nor version control are code of the application, and both are large.
PASSED_OVER = (".git", ".hg", ".svn", "node_modules", "__pycache__")


class Node(NamedTuple):
    """What lies at a path, not followed: kind is directory, file, link, socket or other."""

    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    modified: float = 0
    acl: tuple[tuple[int, int, int], ...] = ()
    target: str = ""


class Account(NamedTuple):
    """A user with all groups that a process of it has."""

    name: str
    uid: int
    groups: tuple[int, ...]
    group: str = ""


def within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def text_of(path: str) -> str:
    """The text of a file; empty when it cannot be read, or is another user's link to what that user may not read."""
    try:
        if path.startswith("/proc/"):
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        return read_file(path, TEXT_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def node(path: str) -> Node | None:
    """What lies there; None when nothing does."""
    try:
        info = os.lstat(path)
    except OSError:
        return None
    kinds = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFSOCK: "socket"}
    kind = kinds.get(stat.S_IFMT(info.st_mode), "other")
    target = os.readlink(path) if kind == "link" else ""
    return Node(
        path, kind, stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_mtime, _acl(path, kind), target
    )


def _acl(path: str, kind: str) -> tuple[tuple[int, int, int], ...]:
    """The entries (tag, permissions, id) of an access control list; empty where there is none."""
    if kind not in ("directory", "file"):
        return ()
    try:
        data = os.getxattr(path, "system.posix_acl_access", follow_symlinks=False)
    except OSError:
        return ()
    return tuple(struct.iter_unpack("<HHI", data[4:]))  # type: ignore[arg-type]


def may(account: Account, item: Node, wanted: int) -> bool:
    """Whether the kernel grants an account 4 (read), 2 (write) or 1 (execute, search), or a sum of them."""
    if account.uid == 0 or item.kind == "link":
        return True
    user, group, other = item.mode >> 6 & 7, item.mode >> 3 & 7, item.mode & 7
    if account.uid == item.uid:
        return user & wanted == wanted
    mask = next((permissions for tag, permissions, _id in item.acl if tag == 0x10), 7)
    for tag, permissions, number in item.acl:
        if tag == 0x02 and number == account.uid:
            return permissions & mask & wanted == wanted
    # With a list, the group bits of the mode are its mask.
    owning = next((permissions for tag, permissions, _id in item.acl if tag == 0x04), group)
    granted = [owning & mask] if item.gid in account.groups else []
    granted += [bits & mask for tag, bits, number in item.acl if tag == 0x08 and number in account.groups]
    if granted:
        return any(bits & wanted == wanted for bits in granted)
    return other & wanted == wanted


def resolve_safely(path: str) -> str:
    """Where a path leads, without links. One with a user's link to what is not the user's own leads nowhere."""
    try:
        return resolve(path)
    except UnsafePathError:
        return path
    except OSError:
        missing = os.path.realpath(path)
        # What is there now was put there since.
        return path if os.path.lexists(missing) else missing


def route(path: str) -> list[Node]:
    """Every directory that the kernel passes on the way to a path, links followed, as `namei -l` shows them."""
    found: list[Node] = []
    try:
        resolve(path)
    except UnsafePathError:
        # What lies behind that link is nothing to advise a change of.
        return route(os.path.dirname(path))
    except OSError:
        pass
    pending = [part for part in path.split("/") if part]
    here, links = "/", 0
    while pending and links < 40:
        item = node(here)
        if item is None:
            break
        if item not in found:
            found.append(item)
        part = pending.pop(0)
        step = os.path.normpath(os.path.join(here, part))
        target = os.readlink(step) if os.path.islink(step) else None
        if target is None:
            here = step
        else:
            links += 1
            pending = [part for part in target.split("/") if part] + pending
            here = "/" if target.startswith("/") else here
    return found


def scan(top: str, leave: tuple[str, ...] = ()) -> tuple[list[Node], bool]:
    """Everything below a directory, environments and version control by their top only, and whether it was too much."""
    found: list[Node] = []
    pending: list[str] = []
    with contextlib.suppress(OSError), reach(resolve(top), reading=True) as directory:
        pending = [""]
        while pending:
            below = pending.pop(0)
            with contextlib.suppress(OSError), _entered(directory, below) as here:
                pending[:0] = _scan_one(here, os.path.join(top, below) if below else top, below, leave, found)
            if len(found) > SCANNED:
                return found[:SCANNED], True
    return found, False


@contextlib.contextmanager
def _entered(top: Directory, below: str) -> Iterator[Directory]:
    with contextlib.ExitStack() as stack:
        here = top
        for name in below.split("/") if below else ():
            here = stack.enter_context(here.enter(name))
        yield here


def _scan_one(here: Directory, path: str, below: str, leave: tuple[str, ...], found: list[Node]) -> list[str]:
    """Note what is in a directory; which directories in it are to be scanned too."""
    directories, files, kept = [], [], []
    for name in here.names():
        item = node(os.path.join(path, name))
        if item:
            (directories if item.kind == "directory" else files).append(item)
    found += directories + files
    for item in directories:
        name = os.path.basename(item.path)
        if name in PASSED_OVER or item.path in leave:
            continue
        with contextlib.suppress(OSError), here.enter(name) as deeper:
            if deeper.find("pyvenv.cfg") is None:
                kept.append(os.path.join(below, name))
    return kept


def account(user: str, group: str = "", more: str = "") -> Account | None:
    """A user with its groups, as systemd would start a process with them; None when there is no such user."""
    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
        main = _gid(group) if group else entry.pw_gid
        groups = {main, *os.getgrouplist(entry.pw_name, main), *(_gid(name) for name in more.split())}
    except KeyError:
        return None
    with contextlib.suppress(KeyError):
        return Account(entry.pw_name, entry.pw_uid, tuple(sorted(groups)), grp.getgrgid(main).gr_name)
    return Account(entry.pw_name, entry.pw_uid, tuple(sorted(groups)), str(main))


def _gid(name: str) -> int:
    return int(name) if name.isdigit() else grp.getgrnam(name).gr_gid
