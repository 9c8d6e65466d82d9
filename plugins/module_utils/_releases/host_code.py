# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find releases in code that is on the host already, and copy them."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
import stat
import time
from typing import IO, Any, ContextManager, Iterator, Mapping, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import hash_stream
from ansible_collections.flaskops.production.plugins.module_utils._files.directory import (
    Directory,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import (
    open_directory_safely,
)


class CodeEntry(NamedTuple):
    """A directory, file or link of the code, by its relative path, and the open directory that contains it."""

    name: str
    kind: str
    mode: int
    info: os.stat_result
    directory: Directory

    def open_stream(self) -> ContextManager[IO[bytes]]:
        return self.directory.open_stream(os.path.basename(self.name))


def list_code(top: str, paths: list[str], patterns: list[str]) -> Iterator[CodeEntry]:
    """Yield the code below a directory, without some paths and patterns, virtual environments and special files."""
    with open_directory_safely(top, reading=True) as directory:
        yield from _list_directory(directory, "", {os.path.relpath(path, top) for path in paths}, patterns)


def _list_directory(directory: Directory, above: str, excluded: set[str], patterns: list[str]) -> Iterator[CodeEntry]:
    kept = []
    for name in directory.list_names():
        below = os.path.join(above, name)
        if below in excluded or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            continue
        info = directory.lstat(name)
        if stat.S_ISLNK(info.st_mode):
            yield CodeEntry(below, "link", 0, info, directory)
        elif stat.S_ISDIR(info.st_mode):
            with directory.enter(name) as subdirectory:
                if subdirectory.try_lstat("pyvenv.cfg") is None:
                    kept.append(name)
                    yield CodeEntry(below, "directory", 0o755, info, directory)
        elif stat.S_ISREG(info.st_mode):
            yield CodeEntry(below, "file", 0o755 if info.st_mode & 0o100 else 0o644, info, directory)
    for name in kept:
        with directory.enter(name) as subdirectory:
            yield from _list_directory(subdirectory, os.path.join(above, name), excluded, patterns)


def describe_code(top: str, paths: list[str], patterns: list[str]) -> dict:
    """Describe code as the source of a release. Its name contains a digest of names, modes and contents."""
    digest, newest, size = hashlib.sha256(), 0.0, 0
    for item in list_code(top, paths, patterns):
        if item.kind != "directory":
            newest = max(newest, item.info.st_mtime)
        digest.update(f"{item.kind} {item.mode:o} {item.name}\0".encode("utf-8", "surrogateescape"))
        if item.kind == "link":
            digest.update(read_link_text(top, item).encode("utf-8", "surrogateescape") + b"\0")
        elif item.kind == "file":
            size += item.info.st_size
            with item.open_stream() as stream:
                digest.update(bytes.fromhex(hash_stream(stream)))
    when = time.gmtime(newest)
    return {
        "name": f"adopted-{time.strftime('%Y-%m-%d-%H%M%S', when)}-{digest.hexdigest()[:7]}",
        "digest": digest.hexdigest(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", when),
        "size": size,
        "directory": top,
        "exclude_paths": paths,
        "exclude": patterns,
        "source": {"kind": "adopted", "location": top, "revision": None, "ref": None},
    }


def read_link_text(top: str, item: CodeEntry) -> str:
    """Return the text of a link in a copy: an absolute path in the tree becomes relative."""
    text = item.directory.read_link(os.path.basename(item.name))
    if os.path.isabs(text) and (text == top or text.startswith(top + "/")):
        return os.path.relpath(text, os.path.join(top, os.path.dirname(item.name)))
    return text


def copy_code(source: Mapping[str, Any], directory: str) -> None:
    """Copy code to a directory and verify its digest. Raises ReleaseError if it differs from the description.

    The directory must not exist. Only root may be able to write to its parent directory.
    """
    top = source["directory"]
    os.mkdir(directory, 0o700)
    for item in list_code(top, source["exclude_paths"], source["exclude"]):
        copied = os.path.join(directory, item.name)
        if item.kind == "directory":
            os.mkdir(copied)
        elif item.kind == "link":
            os.symlink(read_link_text(top, item), copied)
        else:
            with item.open_stream() as read, open(copied, "xb") as write:
                shutil.copyfileobj(read, write, 1 << 20)
            os.utime(copied, ns=(item.info.st_mtime_ns, item.info.st_mtime_ns))
        if item.kind != "link":
            os.chmod(copied, item.mode)
    if describe_code(directory, [], [])["digest"] != source["digest"]:
        raise ReleaseError(f"The code in {top} changed while it was copied: run again once it does not change.")
    os.chmod(directory, 0o755)
