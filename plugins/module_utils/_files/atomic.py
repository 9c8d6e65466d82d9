# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Durable replacement of names in a directory: temporary names, sweeping them, flushing. Private to the collection."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import time
from typing import IO, Iterator

# A temporary name exists for a few system calls only. An older one was left by a killed run.
STALE_SECONDS = 60
# Prefix of the temporary names of files.
WRITE_PREFIX = ".flaskops-write-"


def make_temporary_name(prefix: str) -> str:
    """Return a unique name with the process ID, so that a later run can check whether the process still exists."""
    return f"{prefix}{os.getpid()}-{secrets.token_hex(8)}"


def hash_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with open(path, "rb") as stream:
        return hash_stream(stream)


def hash_stream(stream: IO[bytes]) -> str:
    """Return the SHA-256 of an open file in hexadecimal, from its current position to its end."""
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()


def open_directory_fd(path: str, dir_fd: int | None = None) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)


@contextlib.contextmanager
def open_directory(path: str, dir_fd: int | None = None) -> Iterator[int]:
    """Open a directory and yield its descriptor. The descriptor is closed with the context."""
    fd = open_directory_fd(path, dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def sync_directory(fd: int) -> None:
    """Flush the names in a directory to disk. File systems without fsync for directories are ignored."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def _is_process_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _is_leftover(name: str, prefix: str, modified: float, stale: float) -> bool:
    pid, _separator, token = name[len(prefix) :].partition("-")
    if not (pid.isdigit() and token):
        return False
    return time.time() - modified > stale or not _is_process_running(int(pid))


def remove_stale_names(directory_fd: int, prefix: str, stale: float = STALE_SECONDS) -> list[str]:
    """Remove temporary links and files of killed runs from a directory, and return their names.

    Errors are ignored: the next run tries again.
    """
    removed = []
    for name in os.listdir(directory_fd):
        if not name.startswith(prefix):
            continue
        try:
            found = os.lstat(name, dir_fd=directory_fd)
            ours = stat.S_ISLNK(found.st_mode) or stat.S_ISREG(found.st_mode)
            if ours and _is_leftover(name, prefix, found.st_mtime, stale):
                os.unlink(name, dir_fd=directory_fd)
                removed.append(name)
        except OSError:
            continue
    return removed


def remove_if_exists(name: str, directory_fd: int) -> None:
    """Remove a file or link if it exists. A link is not followed."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory_fd)


def write_temporary_file(directory_fd: int, data: bytes, mode: int, uid: int, gid: int, prefix: str) -> str:
    """Write a file under a temporary name, flush it to disk, and return the name.

    No other user can read the file before its owner and mode are set.
    """
    temporary = make_temporary_name(prefix)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600, dir_fd=directory_fd)
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(data)
            stream.flush()
            # chown clears the set-ID bits, so the mode is set after it.
            if uid != -1 or gid != -1:
                os.fchown(stream.fileno(), uid, gid)
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
    except BaseException:
        remove_if_exists(temporary, directory_fd)
        raise
    return temporary


@contextlib.contextmanager
def replace_error_path(path: str) -> Iterator[None]:
    """Replace the path in an OSError, which otherwise names a temporary file."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise type(error)(error.errno, error.strerror, path) from error


def write_file(
    directory_fd: int,
    name: str,
    data: bytes,
    mode: int,
    uid: int = -1,
    gid: int = -1,
    prefix: str = WRITE_PREFIX,
) -> None:
    """Replace a file in an open directory by one rename, and flush it to disk.

    A reader finds the old or the new content, never a part of it.
    """
    with replace_error_path(name):
        temporary = write_temporary_file(directory_fd, data, mode, uid, gid, prefix)
        try:
            os.replace(temporary, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
        except BaseException:
            remove_if_exists(temporary, directory_fd)
            raise
    sync_directory(directory_fd)
    remove_stale_names(directory_fd, prefix)


def replace_file(path: str, data: bytes, mode: int, uid: int = -1, gid: int = -1) -> None:
    """Replace a file by one rename, and flush it to disk.

    Only root may be able to write to the directories of the path. Use write_file() with a descriptor otherwise.
    """
    directory, name = os.path.split(path)
    with replace_error_path(path), open_directory(directory) as fd:
        write_file(fd, name, data, mode, uid, gid)
