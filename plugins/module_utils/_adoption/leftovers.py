# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the files of an old deployment that were not copied by an adoption."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._adoption.deployment import OldDeployment
from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import ENVIRONMENT
from ansible_collections.flaskops.production.plugins.module_utils._adoption.record import AdoptionRecord
from ansible_collections.flaskops.production.plugins.module_utils._adoption.sources import BESIDE, is_database_at
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._files.paths import is_within
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import read_unit_properties

# Caches and other files that their programs create again.
RECREATED = re.compile(
    r"^(__pycache__|node_modules|\.pytest_cache|\.mypy_cache|\.ruff_cache|\.tox|\.nox|\.DS_Store)$|\.(pyc|pid|sock)$"
)
# The names in a virtual environment.
VENV_NAMES = {"bin", "include", "lib", "lib64", "share", "pyvenv.cfg", ".gitignore", "CACHEDIR.TAG", ".lock"}


class Comparison(NamedTuple):
    """An old deployment, and the layout that it was copied to, which may be in the same directory."""

    deployment: OldDeployment
    layout: Layout
    release: str
    # The time when the old service was stopped. Files modified later are not in the copies.
    stopped: float


def find_leftovers(
    deployment: OldDeployment, layout: Layout, name: str, release: str, stopped: float
) -> tuple[list[str], list[str]]:
    """Return descriptions of old directories that may be removed, and of files that exist nowhere else."""
    comparison = Comparison(deployment, layout, release, stopped)
    removable, kept = [], []
    tops = list(dict.fromkeys([deployment.directory, deployment.code]))
    tops = [deployment.code] if deployment.directory == layout.root else tops
    for top in tops:
        if top == layout.app or top != tops[0] and is_within(top, tops[0]):
            continue
        uncopied = find_uncopied(top, comparison)
        if uncopied:
            kept.append(f"{top}: not copied were {_format_first(uncopied)}")
        else:
            removable.append(f"{top}: the old code and data, all of which was copied, and its virtual environment")
    kept.append(f"{AdoptionRecord(layout).kept}: files that blocked the layout, below their old paths")
    if deployment.unit != f"{name}.service":
        unit = read_unit_properties(deployment.unit, "FragmentPath")["FragmentPath"]
        kept.append(f"{unit}: the old unit, which is disabled")
    return removable, kept


def find_uncopied(top: str, comparison: Comparison) -> list[str]:
    """Return the paths below a directory that were not copied. A directory stands for its contents."""
    _any_copied, uncopied = _compare(top, comparison)
    return uncopied


def _is_in_layout(path: str, comparison: Comparison) -> bool:
    layout = comparison.layout
    own = [layout.state, layout.app, layout.next, os.path.dirname(layout.socket), layout.shared, layout.venv]
    if path in (*own, layout.venvs, layout.release(comparison.release)):
        return True
    return path == layout.releases != os.path.dirname(comparison.deployment.code)


def _compare(path: str, comparison: Comparison) -> tuple[bool, list[str]]:
    """Return whether anything at a path was copied, and the paths that were not."""
    if _is_in_layout(path, comparison):
        return True, []
    if os.path.islink(path) or not os.path.isdir(path):
        copied = _is_copied(path, comparison)
        return copied, [] if copied else [path]
    names = sorted(os.listdir(path))
    is_venv = "pyvenv.cfg" in names
    any_copied, uncopied = not names, []
    for name in names:
        below = os.path.join(path, name)
        if RECREATED.search(name) or is_venv and name in VENV_NAMES:
            any_copied = True
            continue
        copied, more = _compare(below, comparison)
        any_copied = any_copied or copied
        uncopied += more
    return any_copied, uncopied if any_copied else [path]


def _is_copied(path: str, comparison: Comparison) -> bool:
    old, layout = comparison.deployment, comparison.layout
    if os.path.islink(path) or not os.path.isfile(path) or path in old.dotenv + old.environment:
        return True
    move = next((move for move in old.moves if move.kind != ENVIRONMENT and is_within(path, move.source)), None)
    if move:
        copy = os.path.join(layout.shared, move.target, os.path.relpath(path, move.source))
    elif not is_within(path, old.code) or any(is_within(path, excluded) for excluded in old.exclude):
        return False
    else:
        copy = os.path.join(layout.release(comparison.release), os.path.relpath(path, old.code))
    return _is_current(path, os.path.normpath(copy), comparison.stopped)


def _is_current(path: str, copy: str, stopped: float) -> bool:
    """Return whether a copy exists, and the original was not modified after the old service was stopped."""
    database = BESIDE.sub("", path)
    if database != path and is_database_at(database):
        return True
    return os.path.isfile(copy) and os.lstat(path).st_mtime <= stopped


def _format_first(paths: list[str], limit: int = 10) -> str:
    more = len(paths) - limit
    return ", ".join(paths[:limit]) + (f" and {more} more" if more > 0 else "")
