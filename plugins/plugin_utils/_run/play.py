# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of a play, which Ansible reads before it has a host."""

from __future__ import annotations

from collections.abc import Mapping

from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase


def setting_of_play(lookup: LookupBase, name: str, variables: Mapping, default: object) -> object:
    """A variable as a play sees it, or else as the first of its hosts has it in the inventory."""

    def value(name: str, default: object) -> object:
        return lookup._templar.template(variables[name]) if name in variables else default

    if name in variables:
        return value(name, default)
    of_hosts: Mapping = variables.get("hostvars", {})
    hosts = _hosts(lookup, value("flask_app_hosts", "flask"), variables)
    return of_hosts[hosts[0]].get(name, default) if hosts and hosts[0] in of_hosts else default


def _hosts(lookup: LookupBase, pattern: object, variables: Mapping) -> list[str]:
    """The hosts that a play on this pattern has."""
    find = lookup_loader.get("ansible.builtin.inventory_hostnames", loader=lookup._loader, templar=lookup._templar)
    return find.run([":".join(pattern) if isinstance(pattern, list) else str(pattern)], variables=variables)


def setting_of_hosts(lookup: LookupBase, name: str, variables: Mapping, default: object) -> object:
    """A variable as a task sees it; of hosts for which the inventory has different values, that of the first one."""
    value = lookup._templar.template(variables[name]) if name in variables else default
    of_hosts: Mapping = variables.get("hostvars", {})
    hosts = lookup._templar.template(variables.get("ansible_play_hosts_all", []))
    own = str(variables.get("inventory_hostname", ""))
    if not hosts or own not in of_hosts or of_hosts[own].get(name, default) != value:
        # From the play, or from the command line.
        return value
    return of_hosts[hosts[0]].get(name, default)
