#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: validate_settings
short_description: Validate the settings of the roles on the controller
version_added: "1.0.0"
description:
  - Validates the settings of roles of this collection against their argument specifications, the kinds of their values
    and the rules between them. It fails with one sentence for each fault. No host is contacted.
  - Reads the defaults of the roles itself, so a play can validate settings before it loads the roles.
  - Refuses a variable whose name nearly equals that of a setting.
  - Each role and each playbook of this collection runs it first. Use it in a play of your own to validate the settings
    of all roles before any host is changed.
options:
  roles:
    description:
      - The roles whose settings are validated.
      - V(adopt) and V(doctor) stand for the variables of these playbooks.
    type: list
    elements: str
    choices: [adopt, doctor, flask_app, gunicorn_systemd, layout, nginx_site, release, venv]
    required: true
attributes:
  action:
    support: full
    description: Runs on the controller; the host is not contacted.
  platform:
    support: full
    platforms: all
    description: The controller needs nothing but ansible-core.
extends_documentation_fragment:
  - flaskops.production.attributes.read_only
seealso:
  - module: ansible.builtin.validate_argument_spec
author:
  - The flaskops.production contributors (@flaskops)
"""

EXAMPLES = r"""
- name: Validate the settings of the site and of its processes
  flaskops.production.validate_settings:
    roles: [flask_app, gunicorn_systemd, nginx_site]
"""

RETURN = r"""
msg:
  description: One sentence for each fault, with the setting, its value and the accepted values.
  returned: failure
  type: str
  sample: "nginx_site_listen is 70000, but must be a port, 1 to 65535."
"""

from typing import NoReturn

from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ModuleError
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule, run_module

ROLES = ["adopt", "doctor", "flask_app", "gunicorn_systemd", "layout", "nginx_site", "release", "venv"]


def work(_module: AnsibleModule) -> NoReturn:
    raise ModuleError("flaskops.production.validate_settings runs as an action plugin, on the controller only.")


def main() -> None:
    run_module(work, {"roles": {"type": "list", "elements": "str", "required": True, "choices": ROLES}})


if __name__ == "__main__":
    main()
