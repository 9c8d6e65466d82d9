# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the files of an old deployment that exist nowhere else after an adoption."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import ENVIRONMENT, Move
from ansible_collections.flaskops.production.plugins.module_utils._adoption.sources import BESIDE, is_database_at
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import is_within

# Caches and the like, which their programs make again.
MADE_AGAIN = re.compile(
    r"^(__pycache__|node_modules|\.pytest_cache|\.mypy_cache|\.ruff_cache|\.tox|\.nox|\.DS_Store)$|\.(pyc|pid|sock)$"
)
# What a virtual environment consists of.
OF_ENVIRONMENT = {"bin", "include", "lib", "lib64", "share", "pyvenv.cfg", ".gitignore", "CACHEDIR.TAG", ".lock"}


class Old(NamedTuple):
    """An old deployment, and where its files are now."""

    code: str
    release: str
    exclude: list[str]
    moves: list[Move]
    shared: str
    # Files whose content is in shared/.env.
    environment: list[str]
    # The new layout, which may be in the same directory.
    root: str
    # When the old service was stopped. What is written later is in no copy.
    stopped: float


def only_there(top: str, old: Old) -> list[str]:
    """The paths below a directory that were not copied, each as high as nothing below it was."""
    _copied, left = _look(top, old)
    return left


def _is_new(path: str, old: Old) -> bool:
    """Whether a path belongs to the new layout."""
    own = [os.path.join(old.root, name) for name in (".deploy", "app", "next", "run", "shared", "venv", "venvs")]
    return path in own or path == old.release or path == os.path.join(old.root, "releases") != os.path.dirname(old.code)


def _look(path: str, old: Old) -> tuple[bool, list[str]]:
    """Whether anything at a path is somewhere else, too, and what is not."""
    if _is_new(path, old):
        return True, []
    if os.path.islink(path) or not os.path.isdir(path):
        copied = _is_copied(path, old)
        return copied, [] if copied else [path]
    names = sorted(os.listdir(path))
    is_environment = "pyvenv.cfg" in names
    any_copied, left = not names, []
    for name in names:
        below = os.path.join(path, name)
        if MADE_AGAIN.search(name) or is_environment and name in OF_ENVIRONMENT:
            any_copied = True
            continue
        copied, more = _look(below, old)
        any_copied = any_copied or copied
        left += more
    return any_copied, left if any_copied else [path]


def _is_copied(path: str, old: Old) -> bool:
    if os.path.islink(path) or not os.path.isfile(path) or path in old.environment:
        return True
    move = next((move for move in old.moves if move.kind != ENVIRONMENT and is_within(path, move.source)), None)
    if move:
        target = os.path.normpath(os.path.join(old.shared, move.target, os.path.relpath(path, move.source)))
        return _is_same(path, target, old.stopped)
    if not is_within(path, old.code) or any(is_within(path, excluded) for excluded in old.exclude):
        return False
    return _is_same(path, os.path.join(old.release, os.path.relpath(path, old.code)), old.stopped)


def _is_same(path: str, copy: str, stopped: float) -> bool:
    """Whether a copy is there, and nothing was written to the original since."""
    database = BESIDE.sub("", path)
    if database != path and is_database_at(database):
        return True
    return os.path.isfile(copy) and os.lstat(path).st_mtime <= stopped


def several_of(paths: list[str], most: int = 10) -> str:
    more = len(paths) - most
    return ", ".join(paths[:most]) + (f" and {more} more" if more > 0 else "")
