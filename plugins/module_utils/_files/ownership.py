# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change the owner of a tree to the user of a build and back, by file descriptor. No link is followed."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
from typing import Callable, Iterator

from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ModuleError

# Deeper than any package, and low enough to hold one descriptor for each level.
MAX_DEPTH = 100


class OwnershipError(ModuleError):
    """A file that cannot be part of an immutable tree. The message is a complete sentence."""


def _open_directory_fd(name: str, dir_fd: int | None = None) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)


@contextlib.contextmanager
def _open_directory(name: str, dir_fd: int | None = None) -> Iterator[int]:
    fd = _open_directory_fd(name, dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def chown_tree(path: str, uid: int, gid: int) -> None:
    """Change the owner of a tree that root has just created. Modes are kept."""
    with _open_directory(path) as fd:
        _chown_tree(fd, uid, gid)


def _chown_tree(fd: int, uid: int, gid: int) -> None:
    for name in os.listdir(fd):
        info = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if stat.S_ISDIR(info.st_mode):
            with _open_directory(name, fd) as below:
                _chown_tree(below, uid, gid)
        else:
            os.chown(name, uid, gid, dir_fd=fd, follow_symlinks=False)
    os.fchown(fd, uid, gid)


def secure_tree(path: str, uid: int, gid: int, link_allowed: Callable[[str, str], bool]) -> None:
    """Make a tree readable for all users and writable for its new owner only. No process may still write to it.

    Set-ID bits, other write permissions and access control lists are removed. Raises OwnershipError for files with
    several hard links, for special files, and for links that link_allowed(path below the tree, text) refuses.
    """
    with _open_directory(path) as fd:
        _secure_tree(fd, "", os.fstat(fd).st_dev, (uid, gid), link_allowed)


def _secure_tree(
    fd: int, below: str, device: int, owner: tuple[int, int], link_allowed: Callable[[str, str], bool]
) -> None:
    if below.count("/") > MAX_DEPTH:
        raise OwnershipError(f"'{below[:80]}…' is more than {MAX_DEPTH} directories deep.")
    # Top down: once a directory is secured, no other user can change the names in it.
    _set_owner_and_mode(fd, owner, 0o755)
    for name in os.listdir(fd):
        path = f"{below}/{name}" if below else name
        info = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if info.st_dev != device:
            raise OwnershipError(f"'{path}' is on another file system.")
        if stat.S_ISDIR(info.st_mode):
            with _open_directory(name, fd) as directory:
                _secure_tree(directory, path, device, owner, link_allowed)
        elif stat.S_ISLNK(info.st_mode):
            text = os.readlink(name, dir_fd=fd)
            if not link_allowed(path, text):
                raise OwnershipError(f"'{path}' is a link to '{text}', which leads out of the directory.")
            os.chown(name, *owner, dir_fd=fd, follow_symlinks=False)
        elif stat.S_ISREG(info.st_mode):
            _secure_file(fd, name, path, owner)
        else:
            raise OwnershipError(f"'{path}' is neither a file, a directory nor a link.")


def _secure_file(parent: int, name: str, path: str, owner: tuple[int, int]) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_nlink != 1:
            raise OwnershipError(f"'{path}' has several hard links, so it could be changed under another name.")
        _set_owner_and_mode(fd, owner, 0o644 | (0o111 if info.st_mode & 0o100 else 0))
    finally:
        os.close(fd)


def _set_owner_and_mode(fd: int, owner: tuple[int, int], mode: int) -> None:
    for attribute in os.listxattr(fd):
        if attribute.startswith("system.posix_acl"):
            os.removexattr(fd, attribute)
    info = os.fstat(fd)
    if (info.st_uid, info.st_gid) != owner:
        os.fchown(fd, *owner)
    # chown may have cleared the set-ID bits.
    if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
        os.fchmod(fd, mode)


def is_link_within(path: str, text: str) -> bool:
    """Return whether the text of a link, at a path below a tree, names a path in the same tree."""
    if os.path.isabs(text):
        return False
    return not os.path.normpath(os.path.join(os.path.dirname(path), text)).startswith("..")


def remove_tree(path: str) -> None:
    """Remove a file, link or tree of any depth. Links are not followed. Raises OSError on failure."""
    if not os.path.lexists(path):
        return
    done = subprocess.run(
        ["rm", "-rf", "--one-file-system", "--", path], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode:
        raise OSError(f"{path} could not be removed: {done.stderr.decode(errors='replace').strip()[:500]}")
