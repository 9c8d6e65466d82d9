# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare paths, and resolve a path name by name.

Only for directories that no other user can write to; walk.py is for all others.
"""

from __future__ import annotations

import os
import stat
from typing import Iterator, NamedTuple, Sequence

# The maximum number of links in a path, as in the kernel.
MAX_LINKS = 40


def is_within(path: str, directory: str) -> bool:
    """Return whether a normalized path is a directory or below it. Links are not resolved."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


class PathStep(NamedTuple):
    """A name of a path, in a directory without links. info is None if the name is missing."""

    path: str
    info: os.stat_result | None

    def is_link(self) -> bool:
        return self.info is not None and stat.S_ISLNK(self.info.st_mode)


class PathWalk:
    """The resolution of a path, as the kernel does it.

    Iterating over it yields a step for each name, including those of followed links, and ends at a missing name.
    directory is the directory that has been reached, links the number of links on the way, and pending the names that
    are left, the next one last. The caller limits the number of links.
    """

    def __init__(self, names: Sequence[str], start: str = "/") -> None:
        self.directory, self.pending, self.links = start, list(names[::-1]), 0

    def __iter__(self) -> Iterator[PathStep]:
        while self.pending:
            name = self.pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                self.directory = os.path.dirname(self.directory)
                continue
            path = os.path.join(self.directory, name)
            try:
                step = PathStep(path, os.lstat(path))
            except FileNotFoundError:
                yield PathStep(path, None)
                return
            self.links += step.is_link()
            yield step
            if not step.is_link():
                self.directory = path
                continue
            text = os.readlink(path)
            if text.startswith("/"):
                self.directory = "/"
            self.pending.extend(text.split("/")[::-1])
