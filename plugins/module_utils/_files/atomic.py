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

from ansible_collections.flaskops.production.plugins.module_utils._text import one_line

# A temporary name lives for a few system calls; one that is older than this belongs to a run that was killed.
STALE_SECONDS = 60
# How the temporary names of files begin.
WRITING = ".flaskops-write-"


def temporary_name(prefix: str) -> str:
    """A unique name, from which a later run can detect whether its process is still alive."""
    return f"{prefix}{os.getpid()}-{secrets.token_hex(8)}"


def sentence(error: Exception, directory: str) -> str:
    """The error as an operator should read it. Where a write fails for lack of room, the kernel names no path."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    path = error.filename2 or error.filename or directory
    remedy = " Make room on its file system, and run again." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return f"{one_line(str(path))}: {error.strerror}.{remedy}"


def file_sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes."""
    with open(path, "rb") as stream:
        return stream_sha256(stream)


def stream_sha256(stream: IO[bytes]) -> str:
    """The SHA-256 of the bytes of an open file, from where it is read."""
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()


def open_directory(path: str, dir_fd: int | None = None) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)


@contextlib.contextmanager
def opened_directory(path: str, dir_fd: int | None = None) -> Iterator[int]:
    """A descriptor of the directory, while the context lasts."""
    fd = open_directory(path, dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def sync_directory(fd: int) -> None:
    """Make the names in the directory durable. A file system without fsync for directories has nothing to flush."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def _is_running(pid: int) -> bool:
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
    return time.time() - modified > stale or not _is_running(int(pid))


def sweep(directory_fd: int, prefix: str, stale: float = STALE_SECONDS) -> list[str]:
    """Remove the temporary links and files that killed runs left in the directory, and return their names.

    A sweep is housekeeping: a name that can't be removed now waits for the next run.
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


def discard(name: str, directory_fd: int) -> None:
    """Remove a temporary name, wherever it points; it is fine when it is gone already."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory_fd)


def write_temporary(directory_fd: int, data: bytes, mode: int, uid: int, gid: int, prefix: str) -> str:
    """Write a file under a temporary name, flush it, and return the name.

    The bytes are readable by nobody else before owner and mode are right.
    """
    temporary = temporary_name(prefix)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600, dir_fd=directory_fd)
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(data)
            stream.flush()
            # chown clears the set-id bits, so the mode comes after it.
            if uid != -1 or gid != -1:
                os.fchown(stream.fileno(), uid, gid)
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
    except BaseException:
        discard(temporary, directory_fd)
        raise
    return temporary


@contextlib.contextmanager
def named(path: str) -> Iterator[None]:
    """Let an error name this path, and not the temporary name beside it that nobody has heard of."""
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
    prefix: str = WRITING,
) -> None:
    """Put a file with these bytes, owner and mode in place by one rename, and flush it.

    The name is never a half-written file.
    """
    with named(name):
        temporary = write_temporary(directory_fd, data, mode, uid, gid, prefix)
        try:
            os.replace(temporary, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
        except BaseException:
            discard(temporary, directory_fd)
            raise
    sync_directory(directory_fd)
    sweep(directory_fd, prefix)


def put_file(path: str, data: bytes, mode: int, uid: int = -1, gid: int = -1) -> None:
    """The same for a file whose directory can be trusted to be what its path says."""
    directory, name = os.path.split(path)
    with named(path), opened_directory(directory) as fd:
        write_file(fd, name, data, mode, uid, gid)
