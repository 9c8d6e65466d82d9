# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: is_set
short_description: Test whether a role variable differs from its default (internal to the roles)
version_added: "1.0.0"
author:
  - The flaskops.production contributors (@flaskops)
description:
  - Used by the roles of this collection that treat an explicit value differently from the same default value.
  - Compares the variable with the default of the role before either is templated. A variable that was set to the text
    of the default counts as not set.
options:
  _terms:
    description: The name of a role of this collection, and of one of its variables.
    required: true
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Show whether the user is set explicitly
  ansible.builtin.debug:
    msg: "{{ lookup('flaskops.production.is_set', 'flask_app', 'flask_app_user') }}"
"""

RETURN = r"""
_raw:
  description: Whether the variable is set.
  type: list
  elements: bool
"""

import functools
from pathlib import Path

import yaml
from ansible.plugins.lookup import LookupBase


@functools.lru_cache(maxsize=None)
def read_defaults(role: str) -> dict:
    """Return the defaults of a role, unrendered."""
    path = Path(__file__).parents[2] / "roles" / role / "defaults" / "main.yml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


class LookupModule(LookupBase):
    """Compares variables with the defaults of a role."""

    def run(self, terms, variables=None, **kwargs) -> list[bool]:
        self.set_options(var_options=variables, direct=kwargs)
        role, name = map(str, terms)
        return [name in variables and variables[name] != read_defaults(role)[name]]
