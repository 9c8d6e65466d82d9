# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the owners and modes of code, data, served files and secrets."""

from __future__ import annotations

import os
from typing import Iterator

from ansible_collections.flaskops.production.plugins.module_utils._doctor.checks.code import find_data
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import Node, has_permission
from ansible_collections.flaskops.production.plugins.module_utils._doctor.finding import (
    Finding,
    create_finding,
    find_common_path,
    format_node,
    format_paths,
)
from ansible_collections.flaskops.production.plugins.module_utils._doctor.names import (
    DATABASE,
    KEY,
    PUBLIC_ENV,
    SECRETS,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.paths import is_within


def examine_owners(facts: Facts) -> Iterator[Finding]:
    """Yield findings on owners and modes."""
    yield from _examine_code_modes(facts)
    yield from _examine_data_modes(facts)
    yield from _examine_served_files(facts)
    yield from _examine_secrets(facts)


def _is_code(facts: Facts, item: Node, data: list[str]) -> bool:
    name = os.path.basename(item.path)
    if item.kind not in ("file", "directory") or any(is_within(item.path, path) for path in data):
        return False
    return not (
        DATABASE.search(name) or SECRETS.match(name) or KEY.match(name) or name.endswith(".log") or name == ".git"
    )


def _examine_code_modes(facts: Facts) -> Iterator[Finding]:
    data = find_data(facts)
    own = facts.nodes.get(facts.code)
    code = ([own] if own else []) + [item for item in facts.tree if _is_code(facts, item, data)]
    open_to_all = [item for item in code if item.mode & 0o002]
    if open_to_all:
        found = format_paths([format_node(item) for item in open_to_all])
        yield create_finding(
            "code-world-writable", found, "files that only their owner can write to", find_common_path(open_to_all)
        )
    if facts.runtime_user and facts.runtime_user.uid:
        writable = [item for item in code if item not in open_to_all and has_permission(facts.runtime_user, item, 2)]
        if writable:
            found = f"{facts.runtime_user.name} can write to {format_paths([format_node(item) for item in writable])}"
            yield create_finding(
                "code-writable-by-runtime",
                found,
                "code that belongs to root or a deploy user",
                find_common_path(writable),
            )
        closed = [
            item for item in code if not has_permission(facts.runtime_user, item, 5 if item.kind == "directory" else 4)
        ]
        if closed:
            found = f"{facts.runtime_user.name} cannot read {format_paths([format_node(item) for item in closed])}"
            yield create_finding(
                "code-unreadable", found, "files and directories that it may read", find_common_path(closed)
            )


def _examine_data_modes(facts: Facts) -> Iterator[Finding]:
    runtime = facts.runtime_user
    if not runtime or not runtime.uid:
        return
    run = os.path.dirname(facts.listen.replace("unix:", "", 1)) if facts.listen.startswith("unix:") else ""
    run = run if is_within(run, facts.root) and run != facts.root else ""
    logs = [
        path
        for path in (os.path.join(facts.root, "shared", "logs"), os.path.join(facts.root, "logs"))
        if path in facts.nodes
    ]
    data = [path for path in dict.fromkeys([run, *facts.media, *logs]) if facts.nodes.get(path)]
    # systemd creates the socket in this directory. The application needs no write access to it.
    needed = [path for path in data if path != run or not facts.socket_unit]
    for path in data:
        item = facts.nodes[path]
        if item.mode & 0o002 and not item.mode & 0o1000:
            yield create_finding(
                "data-world-writable", format_node(item), "a directory that only the application can write to", path
            )
        if path in needed and not has_permission(runtime, item, 3):
            expected = f"a directory that {runtime.name} can write to"
            yield create_finding(
                "data-not-writable", format_node(item), expected, path, user=runtime.name, group=runtime.group
            )
    if facts.code == facts.root or facts.code not in facts.nodes:
        return  # the links of the live code define the shared paths
    allowed = {*data, *facts.link_targets, facts.live, facts.releases, facts.code}
    allowed |= {path.lstrip("-+") for path in facts.unit.get("ReadWritePaths", "").split()}
    for item in facts.top_level:
        private = SECRETS.match(os.path.basename(item.path)) or item.path in allowed
        if item.kind in ("directory", "file") and not private and has_permission(runtime, item, 2):
            found = f"{runtime.name} can write to {format_node(item)}"
            expected = "write permission for run, media, logs and shared paths only"
            yield create_finding("writable-elsewhere", found, expected, item.path)


def _examine_served_files(facts: Facts) -> Iterator[Finding]:
    if not facts.web_user:
        return
    tops = [facts.nodes[path] for path in facts.served() if path in facts.nodes and is_within(path, facts.root)]
    needed = {"directory": 1, "file": 4}
    closed = [
        item for item in tops + facts.public if not has_permission(facts.web_user, item, needed.get(item.kind, 0))
    ]
    # Nginx does not serve hidden files.
    closed = [item for item in closed if "/." not in item.path[len(facts.root) :]]
    if closed:
        found = f"{facts.web_user.name} cannot read {format_paths([format_node(item) for item in closed])}"
        yield create_finding(
            "served-file-unreadable", found, "files and directories that it may read", find_common_path(closed)
        )


def _examine_secrets(facts: Facts) -> Iterator[Finding]:
    group = facts.runtime_user.group if facts.runtime_user else "www-data"
    files = [facts.nodes.get(path.lstrip("-")) for path in facts.env_files]
    names = [item for item in facts.top_level + facts.tree if SECRETS.match(os.path.basename(item.path))]
    env_files = {
        item.path: item
        for item in files + names
        if item and item.kind == "file" and not PUBLIC_ENV.search(os.path.basename(item.path))
    }
    for item in env_files.values():
        if item.mode & 0o004:
            yield create_finding(
                "env-world-readable", format_node(item), f"mode 0640, root:{group}", item.path, group=group
            )
        if facts.runtime_user and facts.runtime_user.uid and has_permission(facts.runtime_user, item, 2):
            found = f"{facts.runtime_user.name} can write to {format_node(item)}"
            yield create_finding("env-writable-by-runtime", found, f"mode 0640, root:{group}", item.path, group=group)
    served = {path for site in facts.sites() for path in site.keys}
    for item in [*facts.nodes.values(), *facts.top_level, *facts.tree]:
        key = item.path in served or KEY.match(os.path.basename(item.path))
        if key and item.kind == "file" and item.mode & 0o004:
            yield create_finding("secret-world-readable", format_node(item), "mode 0600 or 0640", item.path)
