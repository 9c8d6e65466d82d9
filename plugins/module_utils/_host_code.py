# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Code that lies on the host already: which of it is a release, what it is called, and a copy of it. Private."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
import stat
import time
from typing import IO, ContextManager, Iterator, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import hash_stream
from ansible_collections.flaskops.production.plugins.module_utils._files.directory import (
    Directory,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import (
    open_directory_safely,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases import ReleaseError


class CodeEntry(NamedTuple):
    """A directory, file or link of the code, by its name below it, and the open directory that it is in."""

    name: str
    kind: str
    mode: int
    info: os.stat_result
    directory: Directory

    def open_stream(self) -> ContextManager[IO[bytes]]:
        return self.directory.open_stream(os.path.basename(self.name))


def list_code(top: str, paths: list[str], patterns: list[str]) -> Iterator[CodeEntry]:
    """The code below a directory, without these paths, names and environments. Sockets and devices are no code."""
    with open_directory_safely(top, reading=True) as directory:
        yield from _list_directory(directory, "", {os.path.relpath(path, top) for path in paths}, patterns)


def _list_directory(directory: Directory, above: str, left: set[str], patterns: list[str]) -> Iterator[CodeEntry]:
    kept = []
    for name in directory.list_names():
        below = os.path.join(above, name)
        if below in left or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            continue
        info = directory.lstat(name)
        if stat.S_ISLNK(info.st_mode):
            yield CodeEntry(below, "link", 0, info, directory)
        elif stat.S_ISDIR(info.st_mode):
            with directory.enter(name) as deeper:
                if deeper.try_lstat("pyvenv.cfg") is None:
                    kept.append(name)
                    yield CodeEntry(below, "directory", 0o755, info, directory)
        elif stat.S_ISREG(info.st_mode):
            yield CodeEntry(below, "file", 0o755 if info.st_mode & 0o100 else 0o644, info, directory)
    for name in kept:
        with directory.enter(name) as deeper:
            yield from _list_directory(deeper, os.path.join(above, name), left, patterns)


def describe_code(top: str, paths: list[str], patterns: list[str]) -> dict:
    """The code as a source of a release: its digest over names, modes and bytes, and its name after it."""
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
    """The text that a link has in a copy: one that names a place in the tree by its whole path would leave the copy."""
    text = item.directory.read_link(os.path.basename(item.name))
    if os.path.isabs(text) and (text == top or text.startswith(top + "/")):
        return os.path.relpath(text, os.path.join(top, os.path.dirname(item.name)))
    return text


def copy_code(source: dict, directory: str) -> None:
    """Copy the code that was described to a directory, and make sure that it is what was described.

    directory: in one that only root can write to.
    """
    top, what = source["directory"], (source["exclude_paths"], source["exclude"])
    os.mkdir(directory, 0o700)
    for item in list_code(top, *what):
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
        raise ReleaseError(f"The code in {top} changed while it was copied: run again when nobody is at work on it.")
    os.chmod(directory, 0o755)
