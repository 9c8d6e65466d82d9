# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read owners, modes and links of paths, and permissions of users. Links are followed only if they are safe."""

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
    open_directory_safely,
    read_file,
    resolve,
)

# The maximum number of files to scan. A larger tree contains data.
MAX_SCANNED = 20000
# The maximum bytes of a file that is read as text.
TEXT_BYTES = 1 << 24
# Large directories without code of the application.
EXCLUDED_NAMES = (".git", ".hg", ".svn", "node_modules", "__pycache__")


class Node(NamedTuple):
    """A file system entry. `kind` is directory, file, link, socket or other."""

    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    modified: float = 0
    acl: tuple[tuple[int, int, int], ...] = ()
    target: str = ""


class Account(NamedTuple):
    """A user with the groups of its processes."""

    name: str
    uid: int
    groups: tuple[int, ...]
    group: str = ""


def load_text(path: str) -> str:
    """Return the text of a file, or an empty string if it cannot be read.

    A link is only followed if its owner may read its target.
    """
    try:
        if path.startswith("/proc/"):
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        return read_file(path, TEXT_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def read_node(path: str) -> Node | None:
    """Return the entry at a path without following links, or None if it does not exist."""
    try:
        info = os.lstat(path)
    except OSError:
        return None
    kinds = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFSOCK: "socket"}
    kind = kinds.get(stat.S_IFMT(info.st_mode), "other")
    target = os.readlink(path) if kind == "link" else ""
    return Node(
        path, kind, stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_mtime, _read_acl(path, kind), target
    )


def _read_acl(path: str, kind: str) -> tuple[tuple[int, int, int], ...]:
    """Return the entries (tag, permissions, id) of the access control list of a path."""
    if kind not in ("directory", "file"):
        return ()
    try:
        data = os.getxattr(path, "system.posix_acl_access", follow_symlinks=False)
    except OSError:
        return ()
    return tuple((tag, permissions, number) for tag, permissions, number in struct.iter_unpack("<HHI", data[4:]))


def has_permission(account: Account, item: Node, wanted: int) -> bool:
    """Return whether the kernel grants an account permission: 4 (read), 2 (write), 1 (execute, search), or a sum."""
    if account.uid == 0 or item.kind == "link":
        return True
    user, group, other = item.mode >> 6 & 7, item.mode >> 3 & 7, item.mode & 7
    if account.uid == item.uid:
        return user & wanted == wanted
    mask = next((permissions for tag, permissions, _id in item.acl if tag == 0x10), 7)
    for tag, permissions, number in item.acl:
        if tag == 0x02 and number == account.uid:
            return permissions & mask & wanted == wanted
    # With an access control list, the group bits of the mode are its mask.
    owning = next((permissions for tag, permissions, _id in item.acl if tag == 0x04), group)
    granted = [owning & mask] if item.gid in account.groups else []
    granted += [bits & mask for tag, bits, number in item.acl if tag == 0x08 and number in account.groups]
    if granted:
        return any(bits & wanted == wanted for bits in granted)
    return other & wanted == wanted


def resolve_safely(path: str) -> str:
    """Return the path without links. A path is returned unchanged if a link in it is unsafe.

    A link is unsafe if it belongs to a user and its target does not.
    """
    try:
        return resolve(path)
    except UnsafePathError:
        return path
    except OSError:
        missing = os.path.realpath(path)
        # A target that exists now was created after the first look-up.
        return path if os.path.lexists(missing) else missing


def list_route(path: str) -> list[Node]:
    """Return each directory that the kernel traverses to resolve a path, including links, as `namei -l`."""
    found: list[Node] = []
    try:
        resolve(path)
    except UnsafePathError:
        # The doctor recommends no change behind such a link.
        return list_route(os.path.dirname(path))
    except OSError:
        pass
    pending = [part for part in path.split("/") if part]
    here, links = "/", 0
    while pending and links < 40:
        item = read_node(here)
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


def scan_tree(top: str, exclude: tuple[str, ...] = (), limit: int = MAX_SCANNED) -> tuple[list[Node], bool]:
    """Return the entries below a directory, and whether there are more than `limit`.

    Does not descend into virtual environments, EXCLUDED_NAMES and the paths in `exclude`.
    """
    found: list[Node] = []
    pending: list[str] = []
    with contextlib.suppress(OSError), open_directory_safely(resolve(top), reading=True) as directory:
        pending = [""]
        while pending:
            below = pending.pop(0)
            with contextlib.suppress(OSError), _enter_directory(directory, below) as here:
                pending[:0] = _scan_directory(here, os.path.join(top, below) if below else top, below, exclude, found)
            if len(found) > limit:
                return found[:limit], True
    return found, False


@contextlib.contextmanager
def _enter_directory(top: Directory, below: str) -> Iterator[Directory]:
    with contextlib.ExitStack() as stack:
        here = top
        for name in below.split("/") if below else ():
            here = stack.enter_context(here.enter(name))
        yield here


def _scan_directory(here: Directory, path: str, below: str, exclude: tuple[str, ...], found: list[Node]) -> list[str]:
    """Add the entries of a directory to `found`. Return the subdirectories to scan."""
    directories: list[Node] = []
    files: list[Node] = []
    kept = []
    for name in here.list_names():
        item = read_node(os.path.join(path, name))
        if item:
            (directories if item.kind == "directory" else files).append(item)
    found += directories + files
    for item in directories:
        name = os.path.basename(item.path)
        if name in EXCLUDED_NAMES or item.path in exclude:
            continue
        with contextlib.suppress(OSError), here.enter(name) as deeper:
            if deeper.try_lstat("pyvenv.cfg") is None:
                kept.append(os.path.join(below, name))
    return kept


def find_account(user: str, group: str = "", more: str = "") -> Account | None:
    """Return a user with the groups that systemd gives its processes, or None if the user does not exist."""
    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
        main = _find_gid(group) if group else entry.pw_gid
        groups = {main, *os.getgrouplist(entry.pw_name, main), *(_find_gid(name) for name in more.split())}
    except KeyError:
        return None
    with contextlib.suppress(KeyError):
        return Account(entry.pw_name, entry.pw_uid, tuple(sorted(groups)), grp.getgrgid(main).gr_name)
    return Account(entry.pw_name, entry.pw_uid, tuple(sorted(groups)), str(main))


def _find_gid(name: str) -> int:
    return int(name) if name.isdigit() else grp.getgrnam(name).gr_gid
