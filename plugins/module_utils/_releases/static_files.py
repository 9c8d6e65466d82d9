# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collect the static files of a release into shared/static, which Nginx serves.

All users can read collected files, so only files of the release are collected. Links that lead out of the release are
refused. Shared data is not collected, and nothing is written to directories that the application can write to.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import IO, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._core.accounts import get_user_name
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._core.text import quote_for_shell
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import (
    open_directory,
    remove_stale_names,
    replace_error_path,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.directory import (
    Directory,
    DirectoryEntry,
    UnsafePathError,
    set_owner_and_mode,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import (
    open_directory_safely,
    resolve_beneath,
)

PREFIX = ".flaskops-static-"
BLOCK_BYTES = 1 << 20


class CollectContext(NamedTuple):
    """The parameters of a collection: the release, its shared paths, and whether files are replaced."""

    release: Directory
    shared_paths: frozenset[str]
    # The user that owns releases and static files, who is trusted like root.
    owner: int
    replace: bool


def collect_static_files(layout: Layout, directory: str, record: dict, replace: bool) -> None:
    """Copy the static files of a release into shared/static, each by one rename. Other files there are kept."""
    names = record.get("static_paths", [])
    if not names:
        return
    shared_paths = frozenset(name.rstrip("/") for name in record.get("shared_paths", []))
    owner = os.stat(layout.releases).st_uid
    with contextlib.ExitStack() as stack:
        release = stack.enter_context(open_directory_safely(directory, reading=True))
        root = stack.enter_context(open_directory_safely(layout.root, {owner}))
        shared = stack.enter_context(_open_target(root, os.path.basename(layout.shared), owner))
        target = stack.enter_context(_open_target(shared, os.path.basename(layout.static), owner))
        context = CollectContext(release, shared_paths, owner, replace)
        for name in names:
            found = _find_source(context, name)
            if found is not None:
                with found.directory:
                    _collect_directory(context, found, target, ())


def _find_source(context: CollectContext, name: str) -> DirectoryEntry | None:
    """Find the directory of a static path in the release, or None. Raises ReleaseError for an unsafe path."""
    try:
        return resolve_beneath(context.release, name)
    except FileNotFoundError:
        return None
    except UnsafePathError as error:
        raise _make_error(f"release_static_paths has {name}: {error}") from error


def _collect_directory(
    context: CollectContext, source: DirectoryEntry, target: Directory, above: tuple[tuple[int, int], ...]
) -> None:
    """Collect a directory. above holds device and inode of the directories above it, to detect link loops."""
    identity = (source.info.st_dev, source.info.st_ino)
    if not stat.S_ISDIR(source.info.st_mode):
        return
    if identity in above:
        raise _make_error(f"{source.path} is reached through itself by a symbolic link.")
    with open_directory(".", dir_fd=target.fd) as fd:
        remove_stale_names(fd, PREFIX)
    with source.directory.enter(source.name) if source.name != "." else source.directory.duplicate() as directory:
        for name in directory.list_names():
            found = _resolve_name(context, directory, name)
            if found is None:
                continue
            with found.directory:
                if stat.S_ISDIR(found.info.st_mode):
                    with _open_target(target, name, context.owner) as below:
                        _collect_directory(context, found, below, (*above, identity))
                elif context.replace or target.try_lstat(name) is None:
                    _copy_file(found, target, name)


def _resolve_name(context: CollectContext, directory: Directory, name: str) -> DirectoryEntry | None:
    """Resolve a name of the release and its links, or return None for shared data. Raises ReleaseError."""
    path = os.path.relpath(directory.join(name), context.release.path)
    if path in context.shared_paths:
        return None
    try:
        info = directory.lstat(name)
        is_link = stat.S_ISLNK(info.st_mode)
        found = resolve_beneath(context.release, path) if is_link else DirectoryEntry(directory.duplicate(), name, info)
    except FileNotFoundError:
        raise _make_error(f"{directory.join(name)} is a symbolic link that leads nowhere.") from None
    except UnsafePathError as error:
        raise _make_error(str(error)) from error
    if not (stat.S_ISDIR(found.info.st_mode) or stat.S_ISREG(found.info.st_mode)):
        found.directory.close()
        raise _make_error(f"{directory.join(name)} is neither a file nor a directory.")
    return found


def _make_error(cause: str) -> ReleaseError:
    return ReleaseError(
        f"Static files cannot be collected: {cause} Replace it by a file or directory of the release, or remove it "
        "from release_static_paths."
    )


def _open_target(above: Directory, name: str, owner: int) -> Directory:
    """Open a directory for collected files, which is created if missing. Raises ReleaseError if it is not safe."""
    found = above.try_lstat(name)
    if found is None:
        return above.make_directory(name, os.geteuid(), os.getegid(), 0o755, PREFIX)
    path = above.join(name)
    if not stat.S_ISDIR(found.st_mode):
        raise ReleaseError(f"Static files cannot be collected: {path} is not a directory. Move or remove it.")
    if found.st_uid not in {0, os.geteuid(), owner}:
        raise ReleaseError(
            f"Static files cannot be collected into {path}: it belongs to {get_user_name(found.st_uid)}, who could "
            "redirect them. If it was a shared path of an earlier release, move it to another name in shared/. If all "
            "files in it come from releases, give it to root: "
            f"find -P {quote_for_shell(path)} -exec chown -h root:root {{}} +"
        )
    return above.enter(name)


def _copy_file(source: DirectoryEntry, target: Directory, name: str) -> None:
    """Copy a file with its times, unless the target has the same content."""
    existing = target.try_lstat(name)
    if existing is not None and stat.S_ISDIR(existing.st_mode):
        raise ReleaseError(
            f"{source.path} cannot be collected: {target.join(name)} is a directory of an earlier release; remove it."
        )
    with source.directory.open_stream(source.name) as read:
        if existing is not None and stat.S_ISREG(existing.st_mode) and _is_equal(read, target, name):
            return
        read.seek(0)
        found = os.fstat(read.fileno())
        with replace_error_path(target.join(name)), target.open_replacement(name, PREFIX, sync=False) as write:
            for block in iter(lambda: read.read(BLOCK_BYTES), b""):
                write.write(block)
            write.flush()
            os.utime(write.fileno(), ns=(found.st_atime_ns, found.st_mtime_ns))
            set_owner_and_mode(write.fileno(), os.geteuid(), os.getegid(), 0o644)


def _is_equal(stream: IO[bytes], target: Directory, name: str) -> bool:
    with target.open_stream(name) as other:
        if os.fstat(stream.fileno()).st_size != os.fstat(other.fileno()).st_size:
            return False
        for block in iter(lambda: stream.read(BLOCK_BYTES), b""):
            if block != other.read(len(block)):
                return False
    return True
