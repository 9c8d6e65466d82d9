# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data of an application that changes its user while a process of the former user still serves.

start_transfer() changes the owner of the data and keeps the access of the former user by access control lists. Once no
process of the former user runs, finish_transfer() changes the owner of newer files too, and removes the lists. Only
descriptors are used below directories that either user can write to. Files of other users do not change.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import stat
from typing import Iterator, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._files import acl as acl_module
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import (
    open_directory,
    remove_if_exists,
    replace_file,
)

_OPEN_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
# The maximum depth of directories, each of which needs a descriptor. Deeper files are not changed.
_MAX_DEPTH = 100


class OwnershipTransfer(NamedTuple):
    """A change of the owner of the data. There are several former users if an earlier transfer was not finished."""

    former_uids: tuple[int, ...]
    former_gids: tuple[int, ...]
    uid: int
    gid: int
    # Uploads keep the group that allows Nginx to read them.
    web_gid: int


class _OpenPath(NamedTuple):
    """An open file or directory of the data. Its path may refer to another file by now."""

    path: str
    fd: int
    status: os.stat_result
    depth: int

    @property
    def proc_path(self) -> str:
        """A path in /proc that refers to the opened file, even if it is a link."""
        return f"/proc/self/fd/{self.fd}"

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def has_hard_links(self) -> bool:
        """Whether a file has further hard links, which may be outside the data."""
        return not self.is_directory and self.status.st_nlink > 1


def find_former_owner(layout: Layout, uid: int) -> os.stat_result | None:
    """Return the status of the directory of uploads if it belongs neither to root nor to the user, else None."""
    try:
        status = os.lstat(os.path.join(layout.shared, "media"))
    except FileNotFoundError:
        return None
    return status if stat.S_ISDIR(status.st_mode) and status.st_uid not in (0, uid) else None


def plan_transfer(layout: Layout, former: os.stat_result, uid: int, gid: int, web_gid: int) -> OwnershipTransfer:
    """Plan the transfer to a user, including the former users of an unfinished transfer."""
    before = read_transfer(layout)
    uids, gids = {former.st_uid}, {former.st_gid}
    with contextlib.suppress(KeyError):
        gids.add(pwd.getpwuid(former.st_uid).pw_gid)
    with contextlib.suppress(OSError):
        gids.add(os.lstat(os.path.join(layout.shared, "logs")).st_gid)
    if before:
        uids.update(before.former_uids)
        gids.update(before.former_gids, [before.gid])
    return OwnershipTransfer(tuple(sorted(uids - {uid})), tuple(sorted(gids - {gid, 0})), uid, gid, web_gid)


def read_transfer(layout: Layout) -> OwnershipTransfer | None:
    """Return the unfinished transfer, or None."""
    try:
        with open(layout.former_user, encoding="utf-8") as file:
            record = json.load(file)
        uids, gids = (tuple(map(int, record[key])) for key in ("former_uids", "former_gids"))
        return OwnershipTransfer(uids, gids, *(int(record[key]) for key in ("uid", "gid", "web_gid")))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        # The record is damaged: the former user keeps access, and the next transfer writes a new record.
        return None


def start_transfer(layout: Layout, transfer: OwnershipTransfer) -> list[str]:
    """Change the owner of the data, and keep the access of the former users. Returns the paths that were not changed.

    The owner of the directory of uploads changes last. After an interruption, the next run starts again.
    """
    os.makedirs(layout.state, 0o755, exist_ok=True)
    replace_file(layout.former_user, (json.dumps(transfer._asdict(), sort_keys=True) + "\n").encode(), mode=0o644)
    media, unchanged = os.path.join(layout.shared, "media"), []
    for directory, gid in _list_data_directories(layout, transfer):
        for item in _walk_path(directory):
            if item.status.st_uid in transfer.former_uids:
                if item.has_hard_links:
                    unchanged.append(item.path)
                    continue
                _grant_access(item, transfer)
                if item.path != media:
                    _change_owner(item, transfer, gid)
            if item.is_directory and item.depth == _MAX_DEPTH:
                unchanged.append(os.path.join(item.path, "*"))
    with contextlib.suppress(FileNotFoundError), _open_path(media) as item:
        _change_owner(item, transfer, transfer.web_gid)
    return unchanged


def finish_transfer(layout: Layout) -> None:
    """Change the owner of files written since the start of the transfer, and revoke the access of former users."""
    transfer = read_transfer(layout)
    if transfer is None:
        return
    for directory, gid in _list_data_directories(layout, transfer):
        for item in _walk_path(directory):
            if item.status.st_uid in (*transfer.former_uids, transfer.uid) and not item.has_hard_links:
                if item.status.st_uid != transfer.uid:
                    _change_owner(item, transfer, gid)
                _revoke_access(item, {*transfer.former_uids, transfer.uid})
    with open_directory(layout.state) as state_fd:
        remove_if_exists(os.path.basename(layout.former_user), state_fd)


def _list_data_directories(layout: Layout, transfer: OwnershipTransfer) -> Iterator[tuple[str, int]]:
    """Yield the directories and files in shared/ except static, with their new groups."""
    for name in sorted(os.listdir(layout.shared)):
        if name != "static":
            yield os.path.join(layout.shared, name), transfer.web_gid if name == "media" else transfer.gid


@contextlib.contextmanager
def _open_path(name: str, dir_fd: int | None = None, path: str = "", depth: int = 0) -> Iterator[_OpenPath]:
    fd = os.open(name, _OPEN_FLAGS, dir_fd=dir_fd)
    try:
        yield _OpenPath(path or name, fd, os.fstat(fd), depth)
    finally:
        os.close(fd)


def _walk_path(path: str) -> Iterator[_OpenPath]:
    """Yield a path in a directory of root and everything below it, a directory before its entries."""
    with contextlib.suppress(FileNotFoundError), _open_path(path) as item:
        yield from _walk_tree(item)


def _walk_tree(item: _OpenPath) -> Iterator[_OpenPath]:
    yield item
    if not item.is_directory or item.depth == _MAX_DEPTH:
        return
    with open_directory(".", dir_fd=item.fd) as directory_fd:
        names = os.listdir(directory_fd)
    for name in names:
        # The file may have been removed in the meantime.
        path = os.path.join(item.path, name)
        with contextlib.suppress(FileNotFoundError), _open_path(name, item.fd, path, item.depth + 1) as inner:
            yield from _walk_tree(inner)


def _change_owner(item: _OpenPath, transfer: OwnershipTransfer, gid: int) -> None:
    os.chown(item.proc_path, transfer.uid, gid if item.status.st_gid in transfer.former_gids else -1)


def _grant_access(item: _OpenPath, transfer: OwnershipTransfer) -> None:
    """Give the former users the permissions of the owner. Without support for lists, they keep those of the group."""
    acl = _read_acl(item)
    if acl is None:
        return
    acl = acl or acl_module.from_mode(item.status.st_mode)
    for uid in transfer.former_uids:
        acl = acl_module.add_user(acl, uid, item.status.st_mode >> 6 & 7)
    acl_module.write_acl(item.proc_path, acl)
    if item.is_directory:
        # New files of each user are accessible to the others.
        default = acl_module.read_acl(item.proc_path, acl_module.DEFAULT) or acl_module.from_mode(item.status.st_mode)
        for uid in (*transfer.former_uids, transfer.uid):
            default = acl_module.add_user(default, uid, 7)
        acl_module.write_acl(item.proc_path, default, acl_module.DEFAULT)


def _revoke_access(item: _OpenPath, uids: set[int]) -> None:
    acl = _read_acl(item)
    if acl is None:
        return
    if uids & set(acl_module.get_user_rights(acl)):
        acl_module.write_acl(item.proc_path, acl_module.remove_users(acl, uids))
    default = acl_module.read_acl(item.proc_path, acl_module.DEFAULT) if item.is_directory else None
    if not default or not uids & set(acl_module.get_user_rights(default)):
        return
    rest = acl_module.remove_users(default, uids)
    if acl_module.is_minimal(rest):
        acl_module.remove_default_acl(item.proc_path)
    else:
        acl_module.write_acl(item.proc_path, rest, acl_module.DEFAULT)


def _read_acl(item: _OpenPath) -> acl_module.Acl | None:
    """Return the access control list of a file or directory, or None for anything else."""
    return acl_module.read_acl(item.proc_path) if stat.S_ISREG(item.status.st_mode) or item.is_directory else None
