# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply planned changes. All steps use open directories and files, so no link can redirect them."""

from __future__ import annotations

import os
import stat

from ansible_collections.flaskops.production.plugins.module_utils._files import acl as acl_module
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import (
    open_directory,
    sync_directory,
    write_file,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.directory import (
    Directory,
    UnsafePathError,
    set_owner_and_mode,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.entries import (
    ABSENT,
    Change,
    TreeError,
    find_user_id,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import (
    open_directory_safely,
)


def apply_change(change: Change) -> None:
    """Apply a change. All steps use open directories and files, so no link can redirect them."""
    entry = change.entry
    parent, name = os.path.split(change.real_path)
    try:
        with open_directory_safely(parent, change.trusted, links=False) as directory:
            if entry.kind == "absent":
                _remove_file(name, directory.fd)
            elif entry.kind == "directory":
                _apply_directory(change, name, directory.fd)
            elif entry.kind == "socket":
                _apply_socket(change, name, directory.fd)
            elif change.before.content != change.after.content:
                _apply_content(change, name, directory.fd)
            else:
                _apply_file(change, name, directory)
    except UnsafePathError as error:
        raise TreeError(f"{entry.path} could not be changed: {error}") from error
    except OSError as error:
        raise TreeError(
            f"{entry.path} could not be changed: {error.strerror}. If another process changes these paths, run again."
        ) from error


def _apply_directory(change: Change, name: str, parent_fd: int) -> None:
    if change.before == ABSENT:
        os.mkdir(name, 0o700, dir_fd=parent_fd)
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
    try:
        _apply_owner_and_mode(fd, change)
        if change.entry.users is not None and change.before.users != change.after.users:
            _set_users(fd, change)
    finally:
        os.close(fd)


def _set_users(fd: int, change: Change) -> None:
    mode = change.entry.mode
    acl = acl_module.from_mode(mode)
    for name in change.entry.users or ():
        uid = find_user_id(name)
        if uid is None:
            raise TreeError(f"The user {name} was removed while the directories were written.")
        acl = acl_module.add_user(acl, uid, mode >> 3 & 7)
    # The file system of a new directory may not support lists.
    if acl_module.read_acl(fd) is not None:
        acl_module.write_acl(fd, acl)


def _remove_file(name: str, parent_fd: int) -> None:
    # unlink removes a link itself, and refuses a directory.
    os.unlink(name, dir_fd=parent_fd)
    with open_directory(".", dir_fd=parent_fd) as directory_fd:
        sync_directory(directory_fd)


def _apply_content(change: Change, name: str, parent_fd: int) -> None:
    with open_directory(".", dir_fd=parent_fd) as directory_fd:
        write_file(directory_fd, name, change.after.content or b"", change.after.mode, change.uid, change.gid)


def _apply_file(change: Change, name: str, directory: Directory) -> None:
    if change.before == ABSENT:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=directory.fd)
    else:
        fd = directory.open_file(name)
    try:
        if os.fstat(fd).st_nlink != 1:
            raise TreeError(f"{change.entry.path} got another hard link while the module ran, so it was not changed.")
        _apply_owner_and_mode(fd, change)
    finally:
        os.close(fd)


def _apply_socket(change: Change, name: str, parent_fd: int) -> None:
    # A socket cannot be opened for reading. O_PATH opens any file without following a link.
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
    try:
        found = os.fstat(fd)
        if not stat.S_ISSOCK(found.st_mode) or found.st_nlink != 1:
            raise TreeError(
                f"{change.entry.path} was replaced while the module ran, so it was not changed. Run it again."
            )
        # fchown and fchmod refuse a descriptor opened with O_PATH. Its link in /proc refers to the opened file.
        _apply_owner_and_mode(fd, change, f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _apply_owner_and_mode(fd: int, change: Change, proc_path: str | None = None) -> None:
    set_owner_and_mode(fd, change.uid, change.gid, change.after.mode, proc_path)
