# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the socket, its listener and Nginx's access to it."""

from __future__ import annotations

import os
from typing import Iterator

from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import Account, Node, has_permission
from ansible_collections.flaskops.production.plugins.module_utils._doctor.finding import (
    Finding,
    create_finding,
    format_node,
)


def examine_sockets(facts: Facts) -> Iterator[Finding]:
    """Yield findings on the socket, its listener and Nginx's access."""
    if facts.socket_unit and facts.unit and facts.socket_unit.get("Triggers"):
        service = facts.unit.get("Id", "")
        is_named = facts.socket_unit["Id"] in facts.unit.get("Sockets", "").split()
        if service not in facts.socket_unit["Triggers"].split() and not is_named:
            found = f"{facts.socket_unit['Id']} starts {facts.socket_unit['Triggers']}, not {service}"
            yield create_finding("unit-socket-mismatch", found, service, name=facts.name)
    if not facts.listen.startswith("unix:"):
        return
    path = facts.listen.replace("unix:", "", 1)
    item = facts.nodes.get(path)
    name = (facts.socket_unit or facts.unit).get("Id", f"{facts.name}.service")
    if item is None or item.kind != "socket":
        found = f"{path} does not exist" if item is None else format_node(item)
        yield create_finding("socket-missing", found, "a socket", path, unit=name)
        return
    if facts.foreign_listener:
        yield create_finding("socket-foreign", facts.foreign_listener, "systemd or the service", path, unit=name)
    elif facts.listening is False:
        yield create_finding("socket-not-listening", format_node(item), "a process that listens", path, unit=name)
    group = facts.web_user.group if facts.web_user else "www-data"
    if facts.web_user and not has_permission(facts.web_user, item, 2):
        expected = f"write permission for {facts.web_user.name}"
        yield create_finding("socket-unreachable", format_node(item), expected, path, group=group)
    elif item.mode & 0o002:
        yield create_finding("socket-open-to-all", format_node(item), f"mode 0660, group {group}", path, group=group)
    run = facts.nodes.get(os.path.dirname(path))
    if facts.socket_unit and run and _can_replace(facts.runtime_user, run):
        yield create_finding("socket-replaceable", format_node(run), f"mode 1775, root:{group}", run.path, group=group)


def _can_replace(account: Account | None, directory: Node) -> bool:
    """Return whether an account can replace entries that root has created in a directory."""
    if account is None or not account.uid:
        return False
    return account.uid == directory.uid or (has_permission(account, directory, 2) and not directory.mode & 0o1000)
