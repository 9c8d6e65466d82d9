# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: batches
author:
  - The flaskops.production contributors (@flaskops)
version_added: "1.0.0"
short_description: Return the batches of a play (internal to the roles)
description:
  - Used by the playbooks of this collection, for C(serial).
  - Returns the variable C(flask_app_serial) from C(-e) or C(vars) of C(import_playbook). If it is not set there,
    returns the value in the inventory for the first host of C(flask_app_hosts), or else V(100%).
  - The inventory is available from the second play of a run on.
options: {}
"""

EXAMPLES = r"""
- name: Activate the release in batches
  hosts: "{{ flask_app_hosts | default('flask') }}"
  serial: "{{ lookup('flaskops.production.batches') }}"
  tasks: []
"""

RETURN = r"""
_raw:
  description: A value for C(serial), which is a number of hosts, a percentage, or a list of these.
  type: list
  elements: raw
"""

from ansible.plugins.lookup import LookupBase

from ansible_collections.flaskops.production.plugins.plugin_utils._run.play import setting_of_play


class LookupModule(LookupBase):
    """Finds the batches. Reads the variables of one host at most."""

    def run(self, terms, variables=None, **kwargs) -> list:
        return [setting_of_play(self, "flask_app_serial", variables or {}, "100%")]
