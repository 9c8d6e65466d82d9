# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a directory of the controller as the files of a release."""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO

from ansible_collections.flaskops.production.plugins.plugin_utils._source.tree import (
    SourceEntry,
    SourceError,
    check_member_path,
    quote,
)


def matches_patterns(path: str, patterns: Sequence[str], is_directory: bool) -> bool:
    """Return whether a pattern matches this path.

    A pattern without a slash matches the last component of the path at any depth. A pattern with a slash matches from
    the source's root. A trailing slash restricts a pattern to directories.
    """
    name = path.rpartition("/")[2]
    for pattern in patterns:
        if pattern.endswith("/") and not is_directory:
            continue
        bare = pattern.rstrip("/")
        if "/" in bare:
            if fnmatchcase(path, bare.lstrip("/")):
                return True
        elif fnmatchcase(name, bare):
            return True
    return False


def is_excluded(path: str, patterns: Sequence[str]) -> bool:
    """Return whether a pattern matches a path or one of its parents. The path of a directory ends with a slash."""
    parts = path.rstrip("/").split("/")
    parents = ("/".join(parts[:n]) for n in range(1, len(parts)))
    return any(matches_patterns(parent, patterns, True) for parent in parents) or matches_patterns(
        "/".join(parts), patterns, path.endswith("/")
    )


def _open_file(path: str) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")


def read_directory(label: str, root: Path, patterns: Sequence[str]) -> Iterator[SourceEntry]:
    """Yield the entries below `root` that no pattern matches. Links are listed, not followed."""
    yield from _walk_directory(label, str(root), "", patterns)


def _walk_directory(label: str, root: str, above: str, patterns: Sequence[str]) -> Iterator[SourceEntry]:
    try:
        with os.scandir(os.path.join(root, above)) as scan:
            children = sorted(scan, key=lambda child: child.name)
    except OSError as error:
        raise SourceError(f"{label}: cannot read the directory {quote(above or '.')}: {error.strerror}.") from error
    kept = 0
    for child in children:
        raw = f"{above}/{child.name}" if above else child.name
        info = child.stat(follow_symlinks=False)
        is_directory = stat.S_ISDIR(info.st_mode)
        if matches_patterns(raw, patterns, is_directory):
            continue
        kept += 1
        path = check_member_path(label, raw)
        if is_directory:
            yield from _walk_directory(label, root, raw, patterns)
        elif stat.S_ISLNK(info.st_mode):
            yield SourceEntry(path, "link", int(info.st_mtime), target=os.readlink(child.path))
        elif stat.S_ISREG(info.st_mode):
            if not os.access(child.path, os.R_OK):
                raise SourceError(
                    f"{label}: cannot read {quote(path)}; make it readable or leave it out (release_exclude)."
                )
            yield SourceEntry(
                path,
                "file",
                max(int(info.st_mtime), 0),
                info.st_size,
                bool(info.st_mode & stat.S_IXUSR),
                open=functools.partial(_open_file, child.path),
            )
        else:
            raise SourceError(
                f"{label} holds {quote(path)}, a socket, pipe or device; only files, directories and links are "
                "accepted (release_exclude leaves it out)."
            )
    # A directory that holds only excluded files, such as caches, is not an empty directory of the source.
    if above and not kept and not children:
        yield SourceEntry(check_member_path(label, above), "directory")
