# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Access the names in a directory that other users can write to, by its descriptor only.

Root must not use paths there, because the owner of a directory can replace any name in it by a symbolic link at any
time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import IO, Iterator, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._core.accounts import get_user_name
from ansible_collections.flaskops.production.plugins.module_utils._core.text import one_line
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import (
    make_temporary_name,
    remove_if_exists,
)

# O_PATH needs search permission only, so an unprivileged run can pass directories that it cannot read.
ENTER_FLAGS = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a named pipe would block.
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# The maximum depth of directories. Each level takes a descriptor and a call.
DEPTH = 100


class UnsafePathError(OSError):
    """A path that root must not follow. The message is complete sentences on one line."""

    def __init__(self, text: str) -> None:
        super().__init__(one_line(text))


class DirectoryEntry(NamedTuple):
    """A name in an open directory, and the result of lstat for it."""

    directory: Directory
    name: str
    info: os.stat_result

    @property
    def path(self) -> str:
        return os.path.normpath(os.path.join(self.directory.path, self.name))

    def close(self) -> None:
        self.directory.close()


class Directory:
    """An open directory. Its path is used in messages only.

    trusted holds the IDs of users whose directories may contain directories of other users. It is None if nothing is
    written below this directory; only symbolic links and hard links are checked then.
    """

    def __init__(self, fd: int, path: str, trusted: frozenset[int] | None, depth: int = 0) -> None:
        self.fd, self.path, self.trusted, self.depth = fd, path, trusted, depth

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def duplicate(self) -> Directory:
        return Directory(os.dup(self.fd), self.path, self.trusted, self.depth)

    def join(self, name: str) -> str:
        """Return the path of a name in this directory, for messages."""
        return os.path.join(self.path, name)

    # Reading

    def stat(self) -> os.stat_result:
        return os.fstat(self.fd)

    def lstat(self, name: str) -> os.stat_result:
        try:
            return os.lstat(name, dir_fd=self.fd)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.join(name)) from None

    def try_lstat(self, name: str) -> os.stat_result | None:
        """Return the status of a name, or None if it does not exist."""
        try:
            return self.lstat(name)
        except FileNotFoundError:
            return None

    def read_link(self, name: str) -> str:
        return os.readlink(name, dir_fd=self.fd)

    def list_names(self) -> list[str]:
        fd = os.open(".", _LIST_FLAGS, dir_fd=self.fd)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def enter(self, name: str) -> Directory:
        """Open a subdirectory. Raises UnsafePathError for a link, or if the owner of this directory is not trusted."""
        if self.depth >= DEPTH:
            raise UnsafePathError(f"{self.join(name)[:200]}… lies more than {DEPTH} directories deep.")
        try:
            fd = os.open(name, ENTER_FLAGS, dir_fd=self.fd)
        except OSError as error:
            found = self.try_lstat(name)
            if found is not None and stat.S_ISLNK(found.st_mode):
                raise UnsafePathError(f"{self.join(name)} is a symbolic link, which is not followed.") from None
            raise OSError(error.errno, error.strerror, self.join(name)) from None
        subdirectory = Directory(fd, self.join(name), self.trusted, self.depth + 1)
        try:
            self._check_transition(subdirectory)
        except BaseException:
            subdirectory.close()
            raise
        return subdirectory

    def _check_transition(self, subdirectory: Directory) -> None:
        """Refuse a directory in a directory of another unprivileged user, as systemd-tmpfiles does."""
        if self.trusted is None:
            return
        above, below = self.stat().st_uid, subdirectory.stat().st_uid
        if above not in self.trusted and below != above:
            raise UnsafePathError(
                f"{subdirectory.path} belongs to {get_user_name(below)}, but its parent {self.path} belongs to "
                f"{get_user_name(above)}, who can replace it. Give both to the same user, or the parent to root."
            )

    def open_file(self, name: str) -> int:
        """Open a regular file for reading. Raises UnsafePathError for anything else."""
        try:
            fd = os.open(name, _READ_FLAGS, dir_fd=self.fd)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise UnsafePathError(f"{self.join(name)} is a symbolic link, which is not followed.") from None
            raise OSError(error.errno, error.strerror, self.join(name)) from None
        try:
            self._check_file(name, os.fstat(fd))
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _check_file(self, name: str, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise UnsafePathError(f"{self.join(name)} is not a regular file.")
        owner = self.stat().st_uid
        if found.st_nlink > 1 and owner not in {0, os.geteuid(), found.st_uid}:
            raise UnsafePathError(
                f"{self.join(name)} has {found.st_nlink} hard links and belongs to {get_user_name(found.st_uid)}, but "
                f"its directory belongs to {get_user_name(owner)}. Replace the file by a copy (cp, then mv)."
            )

    @contextlib.contextmanager
    def open_stream(self, name: str) -> Iterator[IO[bytes]]:
        with os.fdopen(self.open_file(name), "rb") as stream:
            yield stream

    # Writing

    def make_directory(self, name: str, uid: int, gid: int, mode: int, prefix: str) -> Directory:
        """Create a directory. It gets its name after its owner and mode are set."""
        temporary = make_temporary_name(prefix)
        os.mkdir(temporary, 0o700, dir_fd=self.fd)
        try:
            fd = os.open(temporary, _LIST_FLAGS, dir_fd=self.fd)
            try:
                set_owner_and_mode(fd, uid, gid, mode)
                os.rename(temporary, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
            except BaseException:
                os.close(fd)
                raise
            return Directory(fd, self.join(name), self.trusted, self.depth + 1)
        except BaseException:
            with contextlib.suppress(OSError):
                os.rmdir(temporary, dir_fd=self.fd)
            raise

    @contextlib.contextmanager
    def open_replacement(self, name: str, prefix: str, sync: bool = True) -> Iterator[IO[bytes]]:
        """Open a new file that replaces a name when the context ends without an exception.

        The file belongs to root with mode 0600 unless the caller changes it.
        """
        temporary = make_temporary_name(prefix)
        fd = os.open(temporary, _CREATE_FLAGS, 0o600, dir_fd=self.fd)
        try:
            with os.fdopen(fd, "w+b") as stream:
                yield stream
                stream.flush()
                if sync:
                    os.fsync(stream.fileno())
            os.replace(temporary, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except BaseException:
            remove_if_exists(temporary, self.fd)
            raise

    def replace_link(self, name: str, text: str, prefix: str) -> None:
        """Create or replace a symbolic link by one rename."""
        temporary = make_temporary_name(prefix)
        os.symlink(text, temporary, dir_fd=self.fd)
        try:
            os.replace(temporary, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except BaseException:
            remove_if_exists(temporary, self.fd)
            raise

    def set_owner_and_mode(self, name: str, uid: int, gid: int, mode: int) -> bool:
        """Set owner and mode of a file or directory. Returns whether they changed."""
        fd = os.open(name, _READ_FLAGS, dir_fd=self.fd)
        try:
            found = os.fstat(fd)
            own_file = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
            if not (own_file or stat.S_ISDIR(found.st_mode)):
                raise UnsafePathError(
                    f"{self.join(name)} is neither a directory nor a regular file with one hard link."
                )
            return set_owner_and_mode(fd, uid, gid, mode)
        finally:
            os.close(fd)


def set_owner_and_mode(fd: int, uid: int, gid: int, mode: int, proc_path: str | None = None) -> bool:
    """Set owner, group and mode of an open file or directory. Returns whether they changed.

    fchown and fchmod refuse a descriptor opened with O_PATH, which is the only way to open a socket. In that case,
    proc_path is /proc/self/fd/<fd>, which always refers to the opened file.
    """
    target = fd if proc_path is None else proc_path
    found, changed = os.fstat(fd), False
    if (found.st_uid, found.st_gid) != (uid, gid):
        os.chown(target, uid, gid)
        changed = True
    # chown may have cleared the set-ID bits, so the mode is read again.
    if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
        os.chmod(target, mode)
        changed = True
    return changed
