# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: misspelt
author:
  - The flaskops.production contributors (@flaskops)
version_added: "1.0.0"
short_description: Find variables with misspelt names of settings (internal to the roles)
description:
  - Used by the roles of this collection.
  - Checks the names of all variables of a host. Returns a sentence for each variable that no role reads and whose name
    is close to that of a setting. All other variables are the user's own.
options: {}
"""

EXAMPLES = r"""
- name: Refuse misspelt settings
  ansible.builtin.fail:
    msg: "{{ misspelt | join(' ') }}"
  vars:
    misspelt: "{{ query('flaskops.production.misspelt') }}"
  when: misspelt | length > 0
"""

RETURN = r"""
_raw:
  description: The sentences.
  type: list
  elements: str
"""

from ansible.plugins.lookup import LookupBase

from ansible_collections.flaskops.production.plugins.plugin_utils._names import misspelt


class LookupModule(LookupBase):
    """Compare the names of variables with those of settings. Values are not looked at."""

    def run(self, terms, variables=None, **kwargs) -> list[str]:
        return [
            f"{name} is set, but no role reads it: {meant} is meant. Rename it, or give a variable of your own another "
            "name."
            for name, meant in misspelt(map(str, variables or {}))
        ]
