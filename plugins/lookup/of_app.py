# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: of_app
author:
  - The flaskops.production contributors (@flaskops)
version_added: "1.0.0"
short_description: Return a variable of one application (internal to the roles)
description:
  - Used by the playbooks of this collection.
  - Returns the value of a variable in one of the mappings of C(flask_apps). Only this value is templated, so it may
    refer to the other variables of its application.
options:
  _terms:
    description: The position of the mapping in C(flask_apps), and the name of the variable.
    type: list
    elements: raw
    required: true
"""

EXAMPLES = r"""
- name: Prepare the first application
  ansible.builtin.include_tasks: prepare.yml
  vars:
    flask_app_name: shop
    nginx_site_listen: "{{ lookup('flaskops.production.of_app', 0, 'nginx_site_listen') }}"
"""

RETURN = r"""
_raw:
  description: The value.
  type: list
  elements: raw
"""

from collections.abc import Mapping

from ansible.plugins.lookup import LookupBase


class LookupModule(LookupBase):
    """Renders one value of an application, and no other."""

    def run(self, terms, variables=None, **kwargs) -> list:
        index, name = terms
        apps = (variables or {})["flask_apps"]
        app = (apps if isinstance(apps, (list, tuple)) else self._templar.template(apps))[index]
        value = (app if isinstance(app, Mapping) else self._templar.template(app))[name]
        return [self._templar.template(value)]
