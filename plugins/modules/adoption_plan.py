#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: adoption_plan
short_description: Plan the adoption of a deployment made by other tools (internal to the roles)
version_added: "1.0.0"
author:
  - The flaskops.production contributors (@flaskops)
description:
  - Reads a deployment made by other tools, as M(flaskops.production.doctor) does. Lists its code and data with their
    new places, the settings of the roles that match its unit and its site, and the obstacles.
  - Changes nothing. Values of environment variables do not leave the host; of them, the plan shows paths that exist.
  - The playbook C(flaskops.production.adopt) follows the plan.
options:
  name:
    description: The application's name in the layout.
    type: str
    required: true
  root:
    description: The application's directory in the layout, such as C(/srv/myapp).
    type: path
    required: true
  from_directory:
    description:
      - The directory of the old deployment, such as C(/home/ada/shop).
      - By default the directory of the service.
    type: path
  unit:
    description:
      - The old service, such as C(shop) or C(shop.service).
      - By default the service named like the application, or one with O(from_directory) in its unit.
    type: str
  given:
    description: Names of the roles' settings that are set. They are not among RV(variables).
    type: list
    elements: str
    default: []
  shared_paths:
    description: Names of data among the code, as C(release_shared_paths). By default they are detected.
    type: list
    elements: str
  leave:
    description:
      - Paths and services of the old deployment that stay as they are, although they look as if the application shared
        its data with them, as C(adopt_leave).
    type: list
    elements: str
    default: []
  exclude:
    description: Names that are no part of a release, as C(release_exclude), which also has these defaults.
    type: list
    elements: str
    default:
      - .git
      - .hg
      - .svn
      - __pycache__
      - "*.pyc"
      - .venv
      - venv
      - node_modules
      - .pytest_cache
      - .mypy_cache
      - .ruff_cache
      - .tox
      - .nox
      - .DS_Store
      - .env
extends_documentation_fragment:
  - flaskops.production.attributes
  - flaskops.production.attributes.read_only
  - flaskops.production.health
seealso:
  - module: flaskops.production.adoption_copy
  - module: flaskops.production.adoption_activate
  - module: flaskops.production.doctor
"""

EXAMPLES = r"""
- name: Plan the adoption
  flaskops.production.adoption_plan:
    name: shop
    root: /srv/shop
    from_directory: /home/ada/shop
  register: adoption

- name: Show the plan
  ansible.builtin.debug:
    var: adoption.plan
"""

RETURN = r"""
state:
  description:
    - V(planned), V(adopted) after an earlier adoption, or V(interrupted) after a run that was cut off during the
      activation.
  returned: success
  type: str
  sample: planned
plan:
  description: The steps, the files to check by hand, and the obstacles, line by line.
  returned: success
  type: list
  elements: str
  sample:
    - /home/ada/shop/uploads -> /srv/shop/shared/media (12 files, 3.1 MB; Nginx serves it at /media/)
obstacles:
  description: The obstacles, in sentences.
  returned: success
  type: list
  elements: str
  sample: []
variables:
  description: The settings of the roles that match the old deployment, without O(given).
  returned: success
  type: dict
  sample:
    flask_app_wsgi: wsgi:app
    nginx_site_server_name: shop.example.org
source:
  description: The code, as M(flaskops.production.release_stage) takes it.
  returned: when it is planned and there is no obstacle
  type: dict
  sample:
    name: adopted-2026-04-21-120000-1a2b3c4
    directory: /home/ada/shop
adoption:
  description: The input of M(flaskops.production.adoption_copy) and M(flaskops.production.adoption_activate).
  returned: when it is planned and there is no obstacle
  type: dict
  sample:
    unit: shop.service
    listen: unix:/home/ada/shop/shop.sock
"""

import os

from ansible_collections.flaskops.production.plugins.module_utils._adoption.planner import (
    DEFAULT_HEALTH,
    PlanOptions,
    make_plan,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.health import HEALTH
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule
from ansible_collections.flaskops.production.plugins.module_utils._core.platforms import require_supported_platform
from ansible_collections.flaskops.production.plugins.module_utils._releases.source_options import EXCLUDE


def parse_options(params: dict) -> PlanOptions:
    unit = params["unit"] or ""
    return PlanOptions(
        name=params["name"],
        root=params["root"],
        from_directory=params["from_directory"] or "",
        unit=unit[: -len(".service")] if unit.endswith(".service") else unit,
        given=frozenset(params["given"]),
        shared_paths=params["shared_paths"],
        leave=tuple(params["leave"]),
        exclude=tuple(params["exclude"]),
        health=params["health"] or DEFAULT_HEALTH,
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "from_directory": {"type": "path"},
            "unit": {"type": "str"},
            "given": {"type": "list", "elements": "str", "default": []},
            "shared_paths": {"type": "list", "elements": "str"},
            "leave": {"type": "list", "elements": "str", "default": []},
            "exclude": {"type": "list", "elements": "str", "default": list(EXCLUDE)},
            "health": HEALTH,
        },
        supports_check_mode=True,
    )
    require_supported_platform(module)
    if os.geteuid() != 0:
        module.fail_json(msg="Only root can read all files of a deployment: run it with become: true.")
    try:
        result = make_plan(parse_options(module.params))
    except (ReleaseError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
