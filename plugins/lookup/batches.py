# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: batches
author:
  - The flaskops.production contributors (@flaskops)
version_added: "1.0.0"
short_description: In which batches the hosts of a play switch
description:
  - Used by the playbooks of this collection, for C(serial).
  - Returns the variable C(flask_app_serial) as a play sees it, from C(-e) or C(vars) of C(import_playbook). Where it
    sees none, because it is read before there is a host, returns what the inventory has for the first host of
    C(flask_app_hosts), and V(100%) where that has none either.
  - The inventory is seen from the second play of a run on.
options: {}
"""

EXAMPLES = r"""
- name: Switch, in batches
  hosts: "{{ flask_app_hosts | default('flask') }}"
  serial: "{{ lookup('flaskops.production.batches') }}"
  tasks: []
"""

RETURN = r"""
_raw:
  description: What C(serial) takes; a number of hosts, a share of them, or a list of those.
  type: list
  elements: raw
"""

from collections.abc import Mapping

from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase

SERIAL = "flask_app_serial"
ALL_AT_ONCE = "100%"


class LookupModule(LookupBase):
    """Find the batches, without more than one host's variables."""

    def run(self, terms, variables=None, **kwargs) -> list:
        def value(name: str, default: object) -> object:
            return self._templar.template(variables[name]) if name in variables else default

        if SERIAL in variables:
            return [value(SERIAL, None)]
        of_hosts: Mapping = variables.get("hostvars", {})
        hosts = self.hosts(value("flask_app_hosts", "flask"), variables)
        if hosts and hosts[0] in of_hosts:
            return [of_hosts[hosts[0]].get(SERIAL, ALL_AT_ONCE)]
        return [ALL_AT_ONCE]

    def hosts(self, pattern: object, variables: Mapping) -> list[str]:
        """The hosts that a play on this pattern has."""
        find = lookup_loader.get("ansible.builtin.inventory_hostnames", loader=self._loader, templar=self._templar)
        return find.run([":".join(pattern) if isinstance(pattern, list) else str(pattern)], variables=variables)
