# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings of the doctor, with remedies for the paths and names of the host."""

from __future__ import annotations

import os
from typing import Iterable, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._core.accounts import get_group_name, get_user_name
from ansible_collections.flaskops.production.plugins.module_utils._core.text import one_line, quote_for_shell
from ansible_collections.flaskops.production.plugins.module_utils._doctor.catalog import KINDS
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import Node

# The maximum number of paths in a finding. Further paths are counted.
MAX_PATHS = 3


class Finding(NamedTuple):
    """A fault with its remedy, as text for an operator."""

    id: str
    severity: str
    title: str
    found: str
    expected: str
    reason: str
    remedy: str
    path: str = ""


def create_finding(kind_id: str, found: str, expected: str, path: str = "", **values: object) -> Finding:
    """Return a finding with its remedy completed from the path and the values."""
    kind = KINDS[kind_id]
    # Visitors can choose file names, and operators paste remedies into a root shell.
    quoted = {name: quote_for_shell(str(value)) for name, value in {"path": path, **values}.items()}
    remedy = kind.remedy.format(**quoted)
    found, expected, path = one_line(found), one_line(expected), one_line(path)
    return Finding(kind_id, kind.severity, kind.title, found, expected, kind.reason, remedy, path)


def format_node(item: Node) -> str:
    """Return a node's path, kind, mode, user and group."""
    return f"{item.path} ({item.kind}, {item.mode:04o}, {get_user_name(item.uid)}:{get_group_name(item.gid)})"


def format_paths(paths: list[str]) -> str:
    """Return the first paths and the number of further ones."""
    more = len(paths) - MAX_PATHS
    return ", ".join(paths[:MAX_PATHS]) + (f" and {more} more" if more > 0 else "")


def find_common_path(items: Iterable[Node]) -> str:
    """Return the only path, or the common directory of several."""
    paths = [item.path for item in items]
    return paths[0] if len(paths) == 1 else os.path.commonpath([os.path.dirname(path) for path in paths])
