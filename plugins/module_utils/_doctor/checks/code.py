# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check for data, virtual environments and secrets among the code."""

from __future__ import annotations

import os
from typing import Iterator

from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import MAX_SCANNED, Node, has_permission
from ansible_collections.flaskops.production.plugins.module_utils._doctor.finding import (
    Finding,
    create_finding,
    format_paths,
)
from ansible_collections.flaskops.production.plugins.module_utils._doctor.names import (
    DATABASE,
    LOGS,
    PUBLIC_ENV,
    SECRETS,
    UPLOADS,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.paths import is_within


def examine_code_and_data(facts: Facts) -> Iterator[Finding]:
    """Yield findings on data, virtual environments and secrets in the code."""
    expected = "releases that contain only code"
    by_kind: dict[str, list[str]] = {}
    data = find_data(facts)
    for item in facts.tree:
        kind = _classify_misplaced(facts, item, data)
        if kind:
            by_kind.setdefault(kind, []).append(item.path)
    for kind, paths in by_kind.items():
        yield create_finding(kind, format_paths(paths), expected, paths[0])
    if facts.truncated:
        yield create_finding(
            "scan-truncated", f"more than {MAX_SCANNED} files below {facts.code}", "a tree of code", facts.code
        )


def find_data(facts: Facts) -> list[str]:
    """Return directories in the code that contain data."""
    return [item.path for item in facts.tree if _holds_data(facts, item)]


def _holds_data(facts: Facts, item: Node) -> bool:
    if item.kind != "directory" or os.path.basename(item.path) not in UPLOADS | LOGS:
        return False
    writable = (
        facts.runtime_user is not None and facts.runtime_user.uid != 0 and has_permission(facts.runtime_user, item, 2)
    )
    return writable or item.path in facts.served()


def _classify_misplaced(facts: Facts, item: Node, data: list[str]) -> str | None:
    name = os.path.basename(item.path)
    if item.path in data:
        return "upload-in-release" if name in UPLOADS else "log-in-release"
    if any(is_within(item.path, path) for path in data):
        return None
    if item.kind == "socket":
        return "socket-in-release"
    if item.kind == "directory":
        if name in (".git", ".hg", ".svn"):
            return "vcs-in-release"
        return "venv-in-release" if os.path.exists(os.path.join(item.path, "pyvenv.cfg")) else None
    if item.kind != "file":
        return None
    if SECRETS.match(name) and not PUBLIC_ENV.search(name):
        return "env-in-release"
    if DATABASE.search(name):
        return "database-in-release"
    return "log-in-release" if name.endswith(".log") else None
