# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy the directory of a source for a build, and compute the digest of its content."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess

from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import hash_file
from ansible_collections.flaskops.production.plugins.module_utils._files.ownership import remove_tree

# The names in a directory that are not part of its content.
_IGNORED = (".venv", ".git", "__pycache__")


def copy_source(source: str, destination: str) -> None:
    """Copy the files of a source that all users can read, so that a build can write beside them. Raises OSError."""
    if os.stat(source).st_mode & 0o005 != 0o005:
        raise OSError(f"{source} has projects to build, but the build user cannot read it: set its mode to 0755.")
    command = ["cp", "--archive", "--no-preserve=links", "--reflink=auto", "--", source, destination]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        stderr = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise OSError(f"{source} could not be copied to build the projects in it: {' '.join(stderr)}")
    for parent, directories, files in os.walk(destination, topdown=False):
        for name in [*files, *directories]:
            path = os.path.join(parent, name)
            info = os.lstat(path)
            needed = 0o005 if stat.S_ISDIR(info.st_mode) else 0o004
            if not stat.S_ISLNK(info.st_mode) and info.st_mode & needed != needed:
                remove_tree(path)


def compute_tree_digest(path: str) -> str:
    """Return a digest of the files and links below a directory, without caches and version control."""
    total = hashlib.sha256()
    for parent, directories, files in os.walk(path):
        directories[:] = sorted(name for name in directories if name not in _IGNORED)
        for name in sorted([*files, *directories]):
            full = os.path.join(parent, name)
            if name in _IGNORED:
                continue
            if os.path.islink(full):
                content = os.readlink(full)
            elif name in directories or name.endswith(".pyc") or not os.path.isfile(full):
                continue
            else:
                content = hash_file(full)
            total.update(os.fsencode(f"{os.path.relpath(full, path)}\0{content}\0"))
    return total.hexdigest()
