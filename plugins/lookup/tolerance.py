# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: tolerance
author:
  - The flaskops.production contributors (@flaskops)
version_added: "1.0.0"
short_description: Return the max_fail_percentage of a play (internal to the roles)
description:
  - Used by the playbooks of this collection, for C(max_fail_percentage).
  - Returns V(100) if C(flask_app_max_fail_percentage) allows any failure, and V(0) otherwise. The roles check the
    number of failed hosts, over all hosts of the play and not those of a batch.
  - The variable is read as by P(flaskops.production.batches#lookup), from the second play of a run on also in the
    inventory.
options: {}
seealso:
  - plugin: flaskops.production.batches
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Activate the release
  hosts: "{{ flask_app_hosts | default('flask') }}"
  max_fail_percentage: "{{ lookup('flaskops.production.tolerance') }}"
  tasks: []
"""

RETURN = r"""
_raw:
  description: A value for C(max_fail_percentage).
  type: list
  elements: int
"""

from ansible.plugins.lookup import LookupBase

from ansible_collections.flaskops.production.plugins.plugin_utils._run.play import setting_of_play


class LookupModule(LookupBase):
    """Finds the share of hosts that may fail. Reads the variables of one host at most."""

    def run(self, terms, variables=None, **kwargs) -> list[int]:
        share = setting_of_play(self, "flask_app_max_fail_percentage", variables or {}, 0)
        try:
            return [100 if float(str(share)) > 0 else 0]
        except ValueError:
            # The first play reports the invalid value.
            return [0]
