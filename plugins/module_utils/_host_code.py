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
from typing import Iterator, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import file_sha256
from ansible_collections.flaskops.production.plugins.module_utils._releases import ReleaseError


class Item(NamedTuple):
    """A directory, file or link of the code, by its name below it."""

    name: str
    kind: str
    mode: int
    modified: float


def listing(top: str, paths: list[str], patterns: list[str]) -> Iterator[Item]:
    """The code below a directory, without these paths, names and environments. Sockets and devices are no code."""
    left = {os.path.normpath(path) for path in paths}
    for directory, directories, files in os.walk(top):
        kept = []
        for name in sorted([*directories, *files]):
            path = os.path.join(directory, name)
            if path in left or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
                continue
            info = os.lstat(path)
            below = os.path.relpath(path, top)
            if stat.S_ISLNK(info.st_mode):
                yield Item(below, "link", 0, info.st_mtime)
            elif stat.S_ISDIR(info.st_mode):
                if not os.path.exists(os.path.join(path, "pyvenv.cfg")):
                    kept.append(name)
                    yield Item(below, "directory", 0o755, info.st_mtime)
            elif stat.S_ISREG(info.st_mode):
                yield Item(below, "file", 0o755 if info.st_mode & 0o100 else 0o644, info.st_mtime)
        directories[:] = kept


def describe(top: str, paths: list[str], patterns: list[str]) -> dict:
    """The code as a source of a release: its digest over names, modes and bytes, and its name after it."""
    digest, newest, size = hashlib.sha256(), 0.0, 0
    for item in listing(top, paths, patterns):
        if item.kind != "directory":
            newest = max(newest, item.modified)
        digest.update(f"{item.kind} {item.mode:o} {item.name}\0".encode("utf-8", "surrogateescape"))
        path = os.path.join(top, item.name)
        if item.kind == "link":
            digest.update(link_text(top, item.name).encode("utf-8", "surrogateescape") + b"\0")
        elif item.kind == "file":
            size += os.path.getsize(path)
            digest.update(bytes.fromhex(file_sha256(path)))
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


def link_text(top: str, name: str) -> str:
    """The text that a link has in a copy: one that names a place in the tree by its whole path would leave the copy."""
    path = os.path.join(top, name)
    text = os.readlink(path)
    if os.path.isabs(text) and (text == top or text.startswith(top + "/")):
        return os.path.relpath(text, os.path.dirname(path))
    return text


def copy(source: dict, directory: str) -> None:
    """Copy the code that was described to a directory, and make sure that it is what was described."""
    top, what = source["directory"], (source["exclude_paths"], source["exclude"])
    os.mkdir(directory, 0o700)
    for item in listing(top, *what):
        path, copied = os.path.join(top, item.name), os.path.join(directory, item.name)
        if item.kind == "directory":
            os.mkdir(copied)
        elif item.kind == "link":
            os.symlink(link_text(top, item.name), copied)
        else:
            shutil.copyfile(path, copied)
            os.utime(copied, (item.modified, item.modified))
        if item.kind != "link":
            os.chmod(copied, item.mode)
    if describe(directory, [], [])["digest"] != source["digest"]:
        raise ReleaseError(f"The code in {top} changed while it was copied: run again when nobody is at work on it.")
    os.chmod(directory, 0o755)
