# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collect the static files of a release into shared/static, which Nginx serves. Private to the collection.

Everybody may read what is collected, so only files of the release itself are: a link is followed as far as it stays
in the release. What is shared with the application is not collected, and nothing is written where it may write.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import IO, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._accounts import user_name
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import named, opened_directory, sweep
from ansible_collections.flaskops.production.plugins.module_utils._files.directory import (
    Directory,
    Found,
    UnsafePathError,
    settle,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import (
    beneath,
    reach,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases import Home, ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._text import quote_for_shell

PREFIX = ".flaskops-static-"
BLOCK = 1 << 20


class Collection(NamedTuple):
    """What is collected: the release, the names in it that lead to shared/, and whether files are replaced."""

    release: Directory
    shared_paths: frozenset[str]
    # The user that owns releases and static files, whom the host trusts like root.
    owner: int
    replace: bool


def collect(home: Home, directory: str, record: dict, replace: bool) -> None:
    """Copy the release's static files into shared/static, each by one rename; files of other releases stay."""
    names = record.get("static_paths", [])
    if not names:
        return
    shared_paths = frozenset(name.rstrip("/") for name in record.get("shared_paths", []))
    owner = os.stat(home.releases).st_uid
    with contextlib.ExitStack() as stack:
        release = stack.enter_context(reach(directory, reading=True))
        root = stack.enter_context(reach(home.root, {owner}))
        shared = stack.enter_context(_target(root, os.path.basename(home.shared), owner))
        target = stack.enter_context(_target(shared, os.path.basename(home.static), owner))
        work = Collection(release, shared_paths, owner, replace)
        for name in names:
            found = _source(work, name)
            if found is not None:
                with found.directory:
                    _collect_directory(work, found, target, ())


def _source(work: Collection, name: str) -> Found | None:
    """The directory of a static path; None where the release has none."""
    try:
        return beneath(work.release, name)
    except FileNotFoundError:
        return None
    except UnsafePathError as error:
        raise _refusal(f"release_static_paths has {name}: {error}") from error


def _collect_directory(work: Collection, source: Found, target: Directory, above: tuple[tuple[int, int], ...]) -> None:
    """above: the directories that this one is reached through, so that a link in a circle is noticed."""
    identity = (source.info.st_dev, source.info.st_ino)
    if not stat.S_ISDIR(source.info.st_mode):
        return
    if identity in above:
        raise _refusal(f"{source.path} is reached through itself by a symbolic link.")
    with opened_directory(".", dir_fd=target.fd) as fd:
        sweep(fd, PREFIX)
    with source.directory.enter(source.name) if source.name != "." else source.directory.duplicate() as directory:
        for name in directory.names():
            found = _resolve(work, directory, name)
            if found is None:
                continue
            with found.directory:
                if stat.S_ISDIR(found.info.st_mode):
                    with _target(target, name, work.owner) as below:
                        _collect_directory(work, found, below, (*above, identity))
                elif work.replace or target.find(name) is None:
                    _copy(found, target, name)


def _resolve(work: Collection, directory: Directory, name: str) -> Found | None:
    """A name of the release, its links followed; None for one that leads to shared data."""
    path = os.path.relpath(directory.place(name), work.release.path)
    if path in work.shared_paths:
        return None
    try:
        info = directory.lstat(name)
        is_link = stat.S_ISLNK(info.st_mode)
        found = beneath(work.release, path) if is_link else Found(directory.duplicate(), name, info)
    except FileNotFoundError:
        raise _refusal(f"{directory.place(name)} is a symbolic link that leads nowhere.") from None
    except UnsafePathError as error:
        raise _refusal(str(error)) from error
    if not (stat.S_ISDIR(found.info.st_mode) or stat.S_ISREG(found.info.st_mode)):
        found.directory.close()
        raise _refusal(f"{directory.place(name)} is neither a file nor a directory.")
    return found


def _refusal(cause: str) -> ReleaseError:
    return ReleaseError(
        f"Static files can't be collected: {cause} Replace it by a file or directory of the release, or take it out of "
        "release_static_paths."
    )


def _target(above: Directory, name: str, owner: int) -> Directory:
    """A directory for collected files; made where it is missing."""
    found = above.find(name)
    if found is None:
        return above.make(name, os.geteuid(), os.getegid(), 0o755, PREFIX)
    path = above.place(name)
    if not stat.S_ISDIR(found.st_mode):
        raise ReleaseError(f"Static files can't be collected: {path} is not a directory. Move or remove it.")
    if found.st_uid not in {0, os.geteuid(), owner}:
        raise ReleaseError(
            f"Static files can't be collected into {path}: it belongs to {user_name(found.st_uid)}, who could redirect "
            "them. If it was a shared path of an earlier release, move it to another name in shared/. If only releases "
            f"bring files there, give it to root: find -P {quote_for_shell(path)} -exec chown -h root:root {{}} +"
        )
    return above.enter(name)


def _copy(source: Found, target: Directory, name: str) -> None:
    """Copy a file with its time, unless the same bytes are there."""
    there = target.find(name)
    if there is not None and stat.S_ISDIR(there.st_mode):
        raise ReleaseError(
            f"{source.path} can't be collected: {target.place(name)} is a directory of an earlier release, remove it."
        )
    with source.directory.opened_file(source.name) as read:
        if there is not None and stat.S_ISREG(there.st_mode) and _is_equal(read, target, name):
            return
        read.seek(0)
        found = os.fstat(read.fileno())
        with named(target.place(name)), target.replacing(name, PREFIX, sync=False) as write:
            for block in iter(lambda: read.read(BLOCK), b""):
                write.write(block)
            write.flush()
            os.utime(write.fileno(), ns=(found.st_atime_ns, found.st_mtime_ns))
            settle(write.fileno(), os.geteuid(), os.getegid(), 0o644)


def _is_equal(stream: IO[bytes], target: Directory, name: str) -> bool:
    with target.opened_file(name) as other:
        if os.fstat(stream.fileno()).st_size != os.fstat(other.fileno()).st_size:
            return False
        for block in iter(lambda: stream.read(BLOCK), b""):
            if block != other.read(len(block)):
                return False
    return True
