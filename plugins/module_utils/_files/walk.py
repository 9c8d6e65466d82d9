# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files below directories that other users may write to, reached by directory descriptor only. Private.

Root must not work by path there: the owner of a directory can replace any name in it by a symbolic link at any moment.
Every step here opens one name in a directory that is open already, and follows no link. Where a link may be followed,
its text is read and walked in the same way.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import IO, Callable, Iterable, Iterator, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._accounts import user_name
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import discard, temporary_name

MAX_LINKS = 40
# O_PATH needs no read permission: an unprivileged run passes directories that it may only search.
_ENTER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, a named pipe in place of a file would stop the run.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class UnsafePathError(OSError):
    """Why root does not follow a path, as complete sentences."""


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

    def __init__(self, fd: int, path: str, trusted: frozenset[int] | None) -> None:
        self.fd, self.path, self.trusted = fd, path, trusted

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def duplicate(self) -> Directory:
        return Directory(os.dup(self.fd), self.path, self.trusted)

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
        try:
            fd = os.open(name, _ENTER, dir_fd=self.fd)
        except OSError as error:
            found = self.find(name)
            if found is not None and stat.S_ISLNK(found.st_mode):
                raise UnsafePathError(f"{self.place(name)} is a symbolic link, which is not followed.") from None
            raise OSError(error.errno, error.strerror, self.place(name)) from None
        deeper = Directory(fd, self.place(name), self.trusted)
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
            return Directory(fd, self.place(name), self.trusted)
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


# --- walking ---------------------------------------------------------------------------------------------------------

# Decides on a link: the directory that it is in, its name, its status and its text. It raises to refuse it.
Links = Callable[[Directory, str, os.stat_result, str], None]


def _parts(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]


def _trusted(more: Iterable[int] = ()) -> frozenset[int]:
    return frozenset({0, os.geteuid(), *more})


def _root(trusted: frozenset[int] | None) -> Directory:
    return Directory(os.open("/", _ENTER), "/", trusted)


def _walk(top: Directory, names: list[str], allow: Links) -> Found:
    """Go from a directory through names and the links that are allowed, and never above the directory."""
    way, pending, links = [top.duplicate()], names[::-1], 0
    try:
        while pending:
            name, here = pending.pop(), way[-1]
            if name == "..":
                if len(way) > 1:
                    way.pop().close()
                elif top.path != "/":
                    raise UnsafePathError(f"{os.path.join(top.path, *names)} leads out of {top.path}.")
                continue
            info = here.lstat(name)
            if stat.S_ISLNK(info.st_mode):
                links += 1
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), here.place(name))
                text = here.read_link(name)
                allow(here, name, info, text)
                if text.startswith("/"):
                    _return(way, top, here.place(name), text)
                    text = os.path.relpath(text, top.path)
                pending.extend(_parts(text)[::-1])
            elif pending:
                way.append(here.enter(name))
            else:
                return Found(way.pop(), name, info)
        here = way.pop()
        return Found(here, ".", here.status())
    finally:
        for directory in way:
            directory.close()


def _return(way: list[Directory], top: Directory, link: str, text: str) -> None:
    """Go back to where an absolute link can be walked from."""
    if os.path.normpath(text) != top.path and not text.startswith(top.path.rstrip("/") + "/"):
        raise UnsafePathError(f"{link} is a symbolic link to {text}, which leads out of {top.path}.")
    while len(way) > 1:
        way.pop().close()


def _of_trusted(trusted: frozenset[int]) -> Links:
    def allow(directory: Directory, name: str, info: os.stat_result, text: str) -> None:
        if not {info.st_uid, directory.status().st_uid} <= trusted:
            raise UnsafePathError(
                f"{directory.place(name)} is a symbolic link to {text} that a user other than root can turn elsewhere. "
                "Give the path that it leads to, or let root own the link and its directory."
            )

    return allow


def _none(directory: Directory, name: str, _info: os.stat_result, text: str) -> None:
    raise UnsafePathError(f"{directory.place(name)} is a symbolic link to {text}, which is not followed.")


def _any(_directory: Directory, _name: str, _info: os.stat_result, _text: str) -> None:
    """Every link may be followed: the walk itself keeps it below its top."""


def reach(path: str, trusted: Iterable[int] = (), reading: bool = False, links: bool = True) -> Directory:
    """Open a directory by its absolute path. Of links, at most root's own in root's directories are followed.

    Where something is written below it, a directory of a user who is not trusted must not lead to what others own.
    """
    users = _trusted(trusted)
    with _root(None if reading else users) as top:
        found = _walk(top, _parts(path), _of_trusted(users) if links else _none)
    with found.directory:
        return found.directory.duplicate() if found.name == "." else found.directory.enter(found.name)


def enter_or_make(top: Directory, path: str, uid: int, gid: int, mode: int, prefix: str) -> Directory:
    """Open a directory below another one, and make those that are missing on the way."""
    here = top.duplicate()
    for name in _parts(path):
        with here as above:
            missing = above.find(name) is None
            here = above.make(name, uid, gid, mode, prefix) if missing else above.enter(name)
    return here


def beneath(top: Directory, path: str) -> Found:
    """Find a path below a directory. Links are followed as far as they stay below it."""
    return _walk(top, _parts(path), _any)


def open_file(path: str) -> int:
    """Open an ordinary file for reading by its absolute path.

    Links are followed, but where another user than root laid one, the file must be that user's own: otherwise he would
    have root read what he may not.
    """
    laid: set[int] = set()

    def note(directory: Directory, _name: str, info: os.stat_result, _text: str) -> None:
        laid.update({info.st_uid, directory.status().st_uid} - _trusted())

    with _root(None) as top:
        found = _walk(top, _parts(path), note)
    with found.directory:
        fd = found.directory.open_file(found.name)
    if laid and os.fstat(fd).st_uid not in laid:
        os.close(fd)
        raise UnsafePathError(
            f"{path} leads through a symbolic link to {found.path}, "
            "which does not belong to the user who laid the link."
        )
    return fd


def read_file(path: str, size: int = -1) -> bytes:
    """The bytes of a file, as open_file opens it, or as many of them as are wanted."""
    with os.fdopen(open_file(path), "rb") as stream:
        return stream.read(size)


def tree(directory: Directory, name: str) -> Iterator[Found]:
    """A name and everything below it, directories before what is in them. No link is followed."""
    info = directory.lstat(name)
    yield Found(directory, name, info)
    if stat.S_ISDIR(info.st_mode):
        with directory.enter(name) as deeper:
            for below in deeper.names():
                # It may be gone by now, as temporary files are.
                with contextlib.suppress(FileNotFoundError):
                    yield from tree(deeper, below)
