# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory that other users may write to, and the names in it, by its descriptor only. Private.

Root must not work by path there: the owner of a directory can replace any name in it by a symbolic link at any moment.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import IO, Iterator, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._accounts import user_name
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import discard, temporary_name
from ansible_collections.flaskops.production.plugins.module_utils._text import one_line

# O_PATH needs no read permission: an unprivileged run passes directories that it may only search.
ENTER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, a named pipe in place of a file would stop the run.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Directories in directories, each of which takes a descriptor and a call.
DEPTH = 100


class UnsafePathError(OSError):
    """Why root does not follow a path, as complete sentences on one line."""

    def __init__(self, text: str) -> None:
        super().__init__(one_line(text))


class Found(NamedTuple):
    """A name in an open directory, and its status. The status is never that of a link that was followed."""

    directory: Directory
    name: str
    info: os.stat_result

    @property
    def path(self) -> str:
        return os.path.normpath(os.path.join(self.directory.path, self.name))

    def close(self) -> None:
        self.directory.close()


class Directory:
    """An open directory. Its path only names it in messages.

    trusted: users whose directories may lead to what other users own. None where nothing is written below: then only
    links and hard links matter.
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

    def place(self, name: str) -> str:
        """The path of a name in this directory, for messages."""
        return os.path.join(self.path, name)

    # Reading

    def status(self) -> os.stat_result:
        return os.fstat(self.fd)

    def lstat(self, name: str) -> os.stat_result:
        try:
            return os.lstat(name, dir_fd=self.fd)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.place(name)) from None

    def find(self, name: str) -> os.stat_result | None:
        """The status of a name; None when nothing has it."""
        try:
            return self.lstat(name)
        except FileNotFoundError:
            return None

    def read_link(self, name: str) -> str:
        return os.readlink(name, dir_fd=self.fd)

    def names(self) -> list[str]:
        fd = os.open(".", _LIST, dir_fd=self.fd)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def enter(self, name: str) -> Directory:
        """Open a directory in this one."""
        if self.depth >= DEPTH:
            raise UnsafePathError(f"{self.place(name)[:200]}… lies more than {DEPTH} directories deep.")
        try:
            fd = os.open(name, ENTER, dir_fd=self.fd)
        except OSError as error:
            found = self.find(name)
            if found is not None and stat.S_ISLNK(found.st_mode):
                raise UnsafePathError(f"{self.place(name)} is a symbolic link, which is not followed.") from None
            raise OSError(error.errno, error.strerror, self.place(name)) from None
        deeper = Directory(fd, self.place(name), self.trusted, self.depth + 1)
        try:
            self._check_transition(deeper)
        except BaseException:
            deeper.close()
            raise
        return deeper

    def _check_transition(self, deeper: Directory) -> None:
        """Refuse what systemd-tmpfiles refuses: a user's directory that leads to what somebody else owns."""
        if self.trusted is None:
            return
        above, below = self.status().st_uid, deeper.status().st_uid
        if above not in self.trusted and below != above:
            raise UnsafePathError(
                f"{deeper.path} belongs to {user_name(below)}, but {self.path}, which leads to it, to "
                f"{user_name(above)}, who can replace it. Let both belong to the same user, or the upper one to root."
            )

    def open_file(self, name: str) -> int:
        """Open an ordinary file for reading, and nothing else."""
        try:
            fd = os.open(name, _READ, dir_fd=self.fd)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise UnsafePathError(f"{self.place(name)} is a symbolic link, which is not followed.") from None
            raise OSError(error.errno, error.strerror, self.place(name)) from None
        try:
            self._check_file(name, os.fstat(fd))
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _check_file(self, name: str, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise UnsafePathError(f"{self.place(name)} is not an ordinary file.")
        owner = self.status().st_uid
        if found.st_nlink > 1 and owner not in {0, os.geteuid(), found.st_uid}:
            raise UnsafePathError(
                f"{self.place(name)} has {found.st_nlink} hard links and belongs to {user_name(found.st_uid)}, but its "
                f"directory to {user_name(owner)}. Replace it by a copy of its own (cp, then mv)."
            )

    @contextlib.contextmanager
    def opened_file(self, name: str) -> Iterator[IO[bytes]]:
        with os.fdopen(self.open_file(name), "rb") as stream:
            yield stream

    # Writing

    def make(self, name: str, uid: int, gid: int, mode: int, prefix: str) -> Directory:
        """Make a directory that has its owner and mode from the moment it has its name."""
        temporary = temporary_name(prefix)
        os.mkdir(temporary, 0o700, dir_fd=self.fd)
        try:
            fd = os.open(temporary, _LIST, dir_fd=self.fd)
            try:
                settle(fd, uid, gid, mode)
                os.rename(temporary, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
            except BaseException:
                os.close(fd)
                raise
            return Directory(fd, self.place(name), self.trusted, self.depth + 1)
        except BaseException:
            with contextlib.suppress(OSError):
                os.rmdir(temporary, dir_fd=self.fd)
            raise

    @contextlib.contextmanager
    def replacing(self, name: str, prefix: str, sync: bool = True) -> Iterator[IO[bytes]]:
        """A new file that takes the name when the context ends well. It is root's own until the caller settles it."""
        temporary = temporary_name(prefix)
        fd = os.open(temporary, _CREATE, 0o600, dir_fd=self.fd)
        try:
            with os.fdopen(fd, "w+b") as stream:
                yield stream
                stream.flush()
                if sync:
                    os.fsync(stream.fileno())
            os.replace(temporary, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except BaseException:
            discard(temporary, self.fd)
            raise

    def put_link(self, name: str, text: str, prefix: str) -> None:
        """Put a symbolic link in place by one rename."""
        temporary = temporary_name(prefix)
        os.symlink(text, temporary, dir_fd=self.fd)
        try:
            os.replace(temporary, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except BaseException:
            discard(temporary, self.fd)
            raise

    def settle(self, name: str, uid: int, gid: int, mode: int) -> bool:
        """Give a file or directory its owner and mode; whether it had others."""
        fd = os.open(name, _READ, dir_fd=self.fd)
        try:
            found = os.fstat(fd)
            own_file = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
            if not (own_file or stat.S_ISDIR(found.st_mode)):
                raise UnsafePathError(f"{self.place(name)} is not an ordinary file with one name.")
            return settle(fd, uid, gid, mode)
        finally:
            os.close(fd)


def settle(fd: int, uid: int, gid: int, mode: int, reached: str | None = None) -> bool:
    """Give what is open its owner, group and mode; whether it had others.

    reached is its path where the descriptor alone does not do: fchown and fchmod refuse one that was opened with
    O_PATH, as a socket has to be. The link in /proc leads to what was opened, not to its name.
    """
    target = fd if reached is None else reached
    found, changed = os.fstat(fd), False
    if (found.st_uid, found.st_gid) != (uid, gid):
        os.chown(target, uid, gid)
        changed = True
    # chown may have cleared the set-id bits, so the mode is read again.
    if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
        os.chmod(target, mode)
        changed = True
    return changed
