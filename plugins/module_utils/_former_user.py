# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data of an application that changes its user, while a process of the former user still serves. Private.

First the data is shared: it belongs to the new user, and access control lists let the former one go on. When no process
of the former user is left, the data is settled: what it wrote in the meantime is given too, and the lists are removed.
Nothing below a directory that either of them may write to is reached by its path, and nothing changes that belongs to
anybody else.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import stat
from typing import Iterator, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils import _acl
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import (
    open_directory,
    remove_if_exists,
    replace_file,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases import Home

_OPEN_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
# Directories in directories, each of which takes a descriptor. What lies deeper is left as it is.
_MAX_DEPTH = 100


class OwnershipTransfer(NamedTuple):
    """Whose data becomes whose. Several users were there before when an earlier handover was not settled."""

    former_uids: tuple[int, ...]
    former_gids: tuple[int, ...]
    uid: int
    gid: int
    # Uploads keep the group that lets Nginx read them.
    web_gid: int


class _OpenPath(NamedTuple):
    """A path below the data, held open; what is at the path may be something else by now."""

    path: str
    fd: int
    status: os.stat_result
    depth: int

    @property
    def place(self) -> str:
        """A path that leads to what was opened, also where that is a link."""
        return f"/proc/self/fd/{self.fd}"

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_linked(self) -> bool:
        """Whether a file has another name, which may be anybody's."""
        return not self.is_directory and self.status.st_nlink > 1


def find_former_owner(home: Home, uid: int) -> os.stat_result | None:
    """The directory of the uploads, while it belongs to another user than root and this one."""
    try:
        found = os.lstat(os.path.join(home.shared, "media"))
    except FileNotFoundError:
        return None
    return found if stat.S_ISDIR(found.st_mode) and found.st_uid not in (0, uid) else None


def plan_transfer(home: Home, former: os.stat_result, uid: int, gid: int, web_gid: int) -> OwnershipTransfer:
    """The handover to a user, with those before it that were never settled."""
    before = read_transfer(home)
    uids, gids = {former.st_uid}, {former.st_gid}
    with contextlib.suppress(KeyError):
        gids.add(pwd.getpwuid(former.st_uid).pw_gid)
    with contextlib.suppress(OSError):
        gids.add(os.lstat(os.path.join(home.shared, "logs")).st_gid)
    if before:
        uids.update(before.former_uids)
        gids.update(before.former_gids, [before.gid])
    return OwnershipTransfer(tuple(sorted(uids - {uid})), tuple(sorted(gids - {gid, 0})), uid, gid, web_gid)


def read_transfer(home: Home) -> OwnershipTransfer | None:
    """The handover that was begun and is not settled yet."""
    try:
        with open(home.former_user, encoding="utf-8") as file:
            found = json.load(file)
        uids, gids = (tuple(map(int, found[key])) for key in ("former_uids", "former_gids"))
        return OwnershipTransfer(uids, gids, *(int(found[key]) for key in ("uid", "gid", "web_gid")))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        # Damaged: the former user keeps access, and the next handover writes another one.
        return None


def start_transfer(home: Home, handover: OwnershipTransfer) -> list[str]:
    """Give the data to the new user and let the former one go on; returns the paths that were left as they are.

    The directory of the uploads gets its owner last: until then, the next run begins again.
    """
    os.makedirs(home.state, 0o755, exist_ok=True)
    replace_file(home.former_user, (json.dumps(handover._asdict(), sort_keys=True) + "\n").encode(), mode=0o644)
    media, left = os.path.join(home.shared, "media"), []
    for directory, gid in _list_data_directories(home, handover):
        for item in _walk_path(directory):
            if item.status.st_uid in handover.former_uids:
                if item.is_linked:
                    left.append(item.path)
                    continue
                _grant_access(item, handover)
                if item.path != media:
                    _change_owner(item, handover, gid)
            if item.is_directory and item.depth == _MAX_DEPTH:
                left.append(os.path.join(item.path, "*"))
    with contextlib.suppress(FileNotFoundError), _open_path(media) as item:
        _change_owner(item, handover, handover.web_gid)
    return left


def finish_transfer(home: Home) -> None:
    """Give what was written in the meantime, and take the former user's access away."""
    handover = read_transfer(home)
    if handover is None:
        return
    for directory, gid in _list_data_directories(home, handover):
        for item in _walk_path(directory):
            if item.status.st_uid in (*handover.former_uids, handover.uid) and not item.is_linked:
                if item.status.st_uid != handover.uid:
                    _change_owner(item, handover, gid)
                _revoke_access(item, {*handover.former_uids, handover.uid})
    with open_directory(home.state) as state_fd:
        remove_if_exists(os.path.basename(home.former_user), state_fd)


def _list_data_directories(home: Home, handover: OwnershipTransfer) -> Iterator[tuple[str, int]]:
    """What is in shared/ but the static files, with the group that each gets."""
    for name in sorted(os.listdir(home.shared)):
        if name != "static":
            yield os.path.join(home.shared, name), handover.web_gid if name == "media" else handover.gid


@contextlib.contextmanager
def _open_path(name: str, dir_fd: int | None = None, path: str = "", depth: int = 0) -> Iterator[_OpenPath]:
    fd = os.open(name, _OPEN_FLAGS, dir_fd=dir_fd)
    try:
        yield _OpenPath(path or name, fd, os.fstat(fd), depth)
    finally:
        os.close(fd)


def _walk_path(path: str) -> Iterator[_OpenPath]:
    """A path in a directory of root's, and all that is below it; a directory before what is in it."""
    with contextlib.suppress(FileNotFoundError), _open_path(path) as item:
        yield from _walk_tree(item)


def _walk_tree(item: _OpenPath) -> Iterator[_OpenPath]:
    yield item
    if not item.is_directory or item.depth == _MAX_DEPTH:
        return
    with open_directory(".", dir_fd=item.fd) as directory_fd:
        names = os.listdir(directory_fd)
    for name in names:
        # What was removed in the meantime needs nothing.
        path = os.path.join(item.path, name)
        with contextlib.suppress(FileNotFoundError), _open_path(name, item.fd, path, item.depth + 1) as inner:
            yield from _walk_tree(inner)


def _change_owner(item: _OpenPath, handover: OwnershipTransfer, gid: int) -> None:
    os.chown(item.place, handover.uid, gid if item.status.st_gid in handover.former_gids else -1)


def _grant_access(item: _OpenPath, handover: OwnershipTransfer) -> None:
    """Let the former users do what the owner may. Without lists, they keep what their group may."""
    acl = _read_acl(item)
    if acl is None:
        return
    acl = acl or _acl.from_mode(item.status.st_mode)
    for uid in handover.former_uids:
        acl = _acl.add_user(acl, uid, item.status.st_mode >> 6 & 7)
    _acl.write_acl(item.place, acl)
    if item.is_directory:
        # What either of them makes in it from now on is open to the other one.
        default = _acl.read_acl(item.place, _acl.DEFAULT) or _acl.from_mode(item.status.st_mode)
        for uid in (*handover.former_uids, handover.uid):
            default = _acl.add_user(default, uid, 7)
        _acl.write_acl(item.place, default, _acl.DEFAULT)


def _revoke_access(item: _OpenPath, uids: set[int]) -> None:
    acl = _read_acl(item)
    if acl is None:
        return
    if uids & set(_acl.get_user_rights(acl)):
        _acl.write_acl(item.place, _acl.remove_users(acl, uids))
    default = _acl.read_acl(item.place, _acl.DEFAULT) if item.is_directory else None
    if not default or not uids & set(_acl.get_user_rights(default)):
        return
    rest = _acl.remove_users(default, uids)
    if _acl.is_minimal(rest):
        _acl.remove_default_acl(item.place)
    else:
        _acl.write_acl(item.place, rest, _acl.DEFAULT)


def _read_acl(item: _OpenPath) -> _acl.Acl | None:
    """The list of a file or directory; None of anything else."""
    return _acl.read_acl(item.place) if stat.S_ISREG(item.status.st_mode) or item.is_directory else None
