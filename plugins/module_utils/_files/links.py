# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The swap: point a symbolic link at another directory by one rename, durably."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import shlex
import struct

from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ModuleError
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import (
    make_temporary_name,
    open_directory,
    open_directory_fd,
    remove_if_exists,
    remove_stale_names,
    sync_directory,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.paths import MAX_LINKS, PathWalk

try:
    import ctypes
except ImportError:  # a Python that was built without libffi
    ctypes = None  # type: ignore[assignment]

TEMPORARY_PREFIX = ".symlink_swap-"

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
# Numbers of renameat2 by machine and pointer size, for C libraries without a wrapper for it.
_RENAMEAT2_NUMBERS = {
    ("x86_64", 8): 316,
    ("aarch64", 8): 276,
    ("riscv64", 8): 276,
    ("loongarch64", 8): 276,
    ("ppc64le", 8): 357,
    ("s390x", 8): 347,
    ("i686", 4): 353,
    ("armv7l", 4): 382,
}
_ATTEMPTS = 5


class SymlinkError(ModuleError):
    """A link that cannot be read or replaced. The message is complete sentences."""


def read_link(path: str) -> str | None:
    """Return the text of a link, or None if the path does not exist. Raises SymlinkError for a file or directory."""
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise SymlinkError(_format_obstacle(path)) from None
        raise SymlinkError(f"The link {path} cannot be read: {_format_reason(error)}.") from error


def swap_link(path: str, target: str, sync: bool = True) -> str | None:
    """Point a link at a directory by one rename, and return its previous text, or None if there was no link.

    A relative target is relative to the directory of the link. A reader finds the old or the new directory at any
    time. With sync, the file system of the target is flushed before the rename, and the directory of the link after
    it; otherwise a power failure can keep the new link and lose the content of the release. Raises SymlinkError.
    """
    parent, name = _split_path(path)
    try:
        parent_fd = open_directory_fd(parent)
    except OSError as error:
        raise SymlinkError(
            f"The directory {parent} of the link {name} cannot be opened: {_format_reason(error)}."
        ) from error
    try:
        directory = os.path.join(parent, target)
        if not os.path.isdir(directory):
            raise SymlinkError(f"{directory} is not a directory, so {path} was not pointed at it.")
        if is_reached_through(directory, path):
            raise SymlinkError(f"{directory} is reached through {path} itself; the link would be a loop.")
        previous = read_link(path)
        if sync:
            sync_filesystem(directory)
        try:
            _replace_link(parent_fd, name, target)
        except OSError as error:
            raise SymlinkError(f"The link {path} could not be pointed at {target}: {_format_reason(error)}.") from error
        if sync:
            try:
                sync_directory(parent_fd)
            except OSError as error:
                raise SymlinkError(
                    f"{path} points at {target} now, but {parent} could not be flushed to disk: "
                    f"{_format_reason(error)}."
                ) from error
        remove_stale_names(parent_fd, TEMPORARY_PREFIX)
        return previous
    finally:
        os.close(parent_fd)


def swap_file_link(path: str, target: str) -> None:
    """Point a link at a file or directory, which need not exist, by one rename."""
    parent, name = _split_path(path)
    with open_directory(parent) as fd:
        _replace_link(fd, name, target)
        sync_directory(fd)
        remove_stale_names(fd, TEMPORARY_PREFIX)


def exchange_names(first: str, second: str, sync: bool = True) -> None:
    """Exchange two existing names on one file system in one step. Raises SymlinkError."""
    code = _renameat2(first, second, _RENAME_EXCHANGE)
    if code:
        raise SymlinkError(_format_exchange_error(code, first, second))
    if sync:
        for parent in sorted({os.path.dirname(os.path.abspath(name)) for name in (first, second)}):
            try:
                with open_directory(parent) as fd:
                    sync_directory(fd)
            except OSError as error:
                raise SymlinkError(
                    f"{first} and {second} were exchanged, but {parent} could not be flushed to disk: "
                    f"{_format_reason(error)}."
                ) from error


def exchange_names_at(first_fd: int, first: str, second_fd: int, second: str) -> None:
    """Exchange two names in open directories in one step, and flush both directories. Raises SymlinkError."""
    code = _renameat2(first, second, _RENAME_EXCHANGE, first_fd, second_fd)
    if code:
        raise SymlinkError(_format_exchange_error(code, first, second))
    for parent in (first_fd, second_fd):
        with open_directory(".", dir_fd=parent) as fd:
            sync_directory(fd)


def sync_filesystem(path: str) -> None:
    """Flush the file system of a path, or all file systems if the C library has no syncfs. Raises SymlinkError."""
    syncfs = _find_libc_function("syncfs")
    if syncfs is None:
        os.sync()
        return
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SymlinkError(f"{path} cannot be opened to flush its file system: {_format_reason(error)}.") from error
    try:
        ctypes.set_errno(0)
        if syncfs(ctypes.c_int(fd)) == 0:
            return
        code = ctypes.get_errno()
    finally:
        os.close(fd)
    if code != errno.ENOSYS:
        raise SymlinkError(f"The file system of {path} could not be flushed to disk: {os.strerror(code)}.")
    os.sync()


def is_reached_through(start: str, link: str) -> bool:
    """Return whether resolving the path start passes the link, so that pointing the link at it would be a loop."""
    link = _resolve_parent(link)
    walk = PathWalk(start.split("/"))
    # A path that cannot be resolved is not reached at all.
    with contextlib.suppress(OSError):
        for step in walk:
            if step.path == link:
                return True
            if walk.links > MAX_LINKS:
                return False
    return False


def _split_path(path: str) -> tuple[str, str]:
    if not os.path.isabs(path):
        raise SymlinkError(f"The path of the link is {path!r}, but must be absolute, such as /srv/myapp/app.")
    parent, name = os.path.split(path.rstrip("/"))
    if name in ("", ".", ".."):
        raise SymlinkError(f"The path of the link is {path!r}, which is a directory; name a link in it.")
    return parent, name


def _replace_link(parent_fd: int, name: str, target: str) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        temporary = make_temporary_name(TEMPORARY_PREFIX)
        try:
            os.symlink(target, temporary, dir_fd=parent_fd)
            os.replace(temporary, name, src_dir_fd=parent_fd, dst_dir_fd=parent_fd)
            return
        except FileNotFoundError:
            # A run in another PID namespace cannot see this process and may have removed its temporary name.
            if attempt == _ATTEMPTS:
                raise
        except BaseException:
            remove_if_exists(temporary, parent_fd)
            raise


def _format_obstacle(path: str) -> str:
    kind = "a real directory" if os.path.isdir(path) else "a file"
    command = f"mv {shlex.quote(path)} {shlex.quote(path + '.before')}"
    return f"{path} is {kind}, not a symbolic link. It was not changed: move it away ({command}) and run again."


def _format_reason(error: OSError) -> str:
    return error.strerror or str(error)


def _find_libc_function(name: str):
    if ctypes is None:
        return None
    try:
        return getattr(ctypes.CDLL(None, use_errno=True), name)
    except (AttributeError, OSError):
        return None


def _renameat2(first: str, second: str, flags: int, first_fd: int = _AT_FDCWD, second_fd: int = _AT_FDCWD) -> int:
    """Call renameat2 and return its errno, 0 on success."""
    names = [ctypes.c_char_p(os.fsencode(name)) for name in (first, second)] if ctypes is not None else []
    function = _find_libc_function("renameat2")
    if function is not None:
        arguments = [ctypes.c_int(first_fd), names[0], ctypes.c_int(second_fd), names[1], ctypes.c_uint(flags)]
    else:
        function = _find_libc_function("syscall")
        number = _RENAMEAT2_NUMBERS.get((platform.machine(), struct.calcsize("P")))
        if function is None or number is None:
            return errno.ENOSYS
        arguments = [
            ctypes.c_long(number),
            ctypes.c_long(first_fd),
            names[0],
            ctypes.c_long(second_fd),
            names[1],
            ctypes.c_ulong(flags),
        ]
    ctypes.set_errno(0)
    return ctypes.get_errno() if function(*arguments) == -1 else 0


def _format_exchange_error(code: int, first: str, second: str) -> str:
    if code == errno.ENOSYS:
        return f"{first} and {second} cannot be exchanged in one step: this kernel or Python has no renameat2."
    if code == errno.EINVAL and _is_nested(first, second):
        return f"{first} and {second} cannot be exchanged: one of them is inside the other."
    if code in (errno.EINVAL, errno.ENOTSUP):
        return (
            f"{first} and {second} cannot be exchanged in one step: their file system does not support RENAME_EXCHANGE."
        )
    if code == errno.EXDEV:
        return f"{first} and {second} cannot be exchanged: they are on different file systems."
    if code == errno.ENOENT:
        missing = [name for name in (first, second) if not os.path.lexists(name)]
        return f"{first} and {second} cannot be exchanged: {' and '.join(missing) or 'one of them'} does not exist."
    return f"{first} and {second} cannot be exchanged: {os.strerror(code)}."


def _is_nested(first: str, second: str) -> bool:
    first, second = _resolve_parent(first), _resolve_parent(second)
    return os.path.commonpath([first, second]) in (first, second)


def _resolve_parent(path: str) -> str:
    """Return the path with its directory resolved, but not its last name."""
    parent, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(parent), name)
