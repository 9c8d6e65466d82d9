# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the application's location and its parent directories."""

from __future__ import annotations

import os
import re
from typing import Iterator

from ansible_collections.flaskops.production.plugins.module_utils._doctor.discovery import find_working_directory
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import Node, has_permission
from ansible_collections.flaskops.production.plugins.module_utils._doctor.finding import (
    Finding,
    create_finding,
    format_node,
)


def examine_place(facts: Facts) -> Iterator[Finding]:
    """Yield findings on the application's location and its parent directories."""
    root, name = facts.root, facts.name
    if root not in facts.nodes:
        yield create_finding("root-missing", f"{root} does not exist", "the application's directory", root)
        return
    expected = "a path outside /root, /home and /tmp, such as /srv/" + name
    if re.match(r"/(root|home)(/|$)", root):
        yield create_finding("root-in-home", root, expected, root, name=name)
    if re.match(r"/(tmp|var/tmp)(/|$)", root):
        yield create_finding("root-in-tmp", root, expected, root, name=name)
    yield from _examine_parents(facts)
    yield from _examine_writable_parents(facts)


def _examine_parents(facts: Facts) -> Iterator[Finding]:
    web = [facts.listen.replace("unix:", "", 1)] + facts.served()
    runtime = [facts.root, facts.code, find_working_directory(facts.unit), facts.program, *facts.media]
    for account, paths, kind in (
        (facts.web_user, web, "parent-not-traversable-web"),
        (facts.runtime_user, runtime, "parent-not-traversable-runtime"),
    ):
        if account is None:
            continue
        closed: dict[str, Node] = {}
        for path in paths:
            for item in facts.routes.get(path, []):
                if item.path != path and item.kind == "directory" and not has_permission(account, item, 1):
                    closed.setdefault(item.path, item)
        for item in closed.values():
            yield create_finding(kind, format_node(item), f"search permission (x) for {account.name}", item.path)


def _examine_writable_parents(facts: Facts) -> Iterator[Finding]:
    """Yield findings on parent directories that users other than root can write to."""
    above = [*facts.routes.get(facts.root, []), *facts.routes.get(facts.code, []), facts.nodes[facts.root]]
    # A directory has several paths if a parent is a link.
    for item in {os.path.realpath(item.path): item for item in above}.values():
        if item.kind != "directory" or item.path == facts.code or item.mode & 0o1000:
            continue
        by_runtime = facts.runtime_user and facts.runtime_user.uid and has_permission(facts.runtime_user, item, 2)
        if item.mode & 0o002 or by_runtime:
            yield create_finding(
                "parent-writable", format_node(item), "a directory that only root can write to", item.path
            )
