#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: doctor
short_description: Report faults of a deployment (internal to the roles)
version_added: "1.0.0"
author:
  - The flaskops.production contributors (@flaskops)
description:
  - Examines files, systemd units, the running process, the socket and the effective configuration of Nginx. Reports
    faults with their effects and remedies. Changes nothing.
  - Examines deployments of any tool. Missing options are detected in the units and in Nginx, and reported as guesses.
  - docs/doctor.md explains every finding by its id.
  - Needs root. It does not start a stopped service.
options:
  name:
    description:
      - The application's name, which is also the name of its service.
      - One of O(name) and O(root) is required. By default the name of the service that runs from O(root).
    type: str
  root:
    description:
      - The application's directory, such as C(/srv/myapp).
      - By default the C(WorkingDirectory) of the service.
    type: path
  recent:
    description: The minutes of Nginx's logs and of the journal to read.
    type: int
    default: 60
extends_documentation_fragment:
  - flaskops.production.attributes
  - flaskops.production.attributes.read_only
  - flaskops.production.health
seealso:
  - module: flaskops.production.release_status
"""

EXAMPLES = r"""
- name: Examine a deployment of this collection
  flaskops.production.doctor:
    name: myapp
    root: /srv/myapp
  register: doctor

- name: Examine a deployment of another tool
  flaskops.production.doctor:
    root: /home/ada/shop
"""

RETURN = r"""
name:
  description: The application's name, given or detected.
  returned: success
  type: str
  sample: myapp
root:
  description: The application's directory, given or detected.
  returned: success
  type: str
  sample: /srv/myapp
guesses:
  description: The guesses for options that were not given, in sentences.
  returned: success
  type: list
  elements: str
  sample: ["/srv/myapp is its directory: myapp.service runs in /srv/myapp/app."]
worst:
  description: The worst severity of all findings, or V(ok).
  returned: success
  type: str
  sample: warning
findings:
  description:
    - The findings, the worst first. Each has C(id), C(severity) (V(note), V(warning) or V(error)), C(title), C(found),
      C(expected), C(reason), C(remedy) and C(path).
  returned: success
  type: list
  elements: dict
  sample:
    - id: env-world-readable
      severity: error
      title: Every user of the host can read the secrets
      found: /srv/myapp/shared/.env (file, 0644, root:www-data)
      expected: mode 0640, root:www-data
      reason: Every service and login on the host can read the application's keys and passwords.
      remedy: >-
        find -P /srv/myapp/shared/.env -prune -type f -links 1 -exec chown -h root:www-data {} + -exec chmod 0640 {} +
        # then change the secrets
      path: /srv/myapp/shared/.env
release:
  description: The live release; empty if there is none.
  returned: success
  type: str
  sample: 2026-04-21-120000-1a2b3c4
environment:
  description: The live virtual environment, or its directory.
  returned: success
  type: str
  sample: 0f1e2d3c4b5a
packages:
  description: The packages of the live virtual environment with their versions, to compare hosts.
  returned: success
  type: list
  elements: str
  sample: ["flask 3.1.0", "gunicorn 24.1.1"]
system:
  description: The system and its version. The packages of hosts are compared within one system.
  returned: success
  type: str
  sample: debian 13
settings:
  description: A digest of the service's settings, to compare hosts. Computing it is slow, to prevent guessing.
  returned: success
  type: str
  sample: 9a8b7c6d5e4f3a2b1c0d9e8f
service:
  description: The service and its state.
  returned: success
  type: dict
  sample:
    unit: myapp.service
    state: active
    user: www-data
    listen: unix:/srv/myapp/run/gunicorn.sock
"""

import os

from ansible_collections.flaskops.production.plugins.module_utils._app.health import HEALTH
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError, format_error
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule
from ansible_collections.flaskops.production.plugins.module_utils._core.platforms import get_system
from ansible_collections.flaskops.production.plugins.module_utils._doctor.catalog import find_worst_severity
from ansible_collections.flaskops.production.plugins.module_utils._doctor.examination import examine_facts, read_facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts


def build_result(facts: Facts) -> dict:
    """Return the module's result."""
    findings = examine_facts(facts)
    return {
        "name": facts.name,
        "root": facts.root,
        "guesses": facts.guesses,
        "worst": find_worst_severity([item.severity for item in findings]),
        "findings": [item._asdict() for item in findings],
        "release": facts.release,
        "environment": facts.venv,
        "packages": facts.packages,
        "system": get_system(),
        "settings": facts.settings,
        "service": {
            "unit": facts.unit.get("Id", ""),
            "state": facts.unit.get("ActiveState", "missing"),
            "user": facts.unit.get("User", ""),
            "listen": facts.listen,
        },
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str"},
            "root": {"type": "path"},
            "recent": {"type": "int", "default": 60},
            "health": HEALTH,
        },
        required_one_of=[("name", "root")],
        supports_check_mode=True,
    )
    params = module.params
    name, root = params["name"] or "", params["root"] or ""
    if root and not root.startswith("/"):
        module.fail_json(msg=f"root is '{root}', but must be an absolute path, such as /srv/myapp.")
    if params["recent"] < 1:
        module.fail_json(msg=f"recent is {params['recent']}, but must be a number of minutes of at least 1.")
    if os.geteuid() != 0:
        module.fail_json(msg="The doctor must be root to read all files: run it with become: true.")
    try:
        result = build_result(read_facts(name, root, params["health"], params["recent"]))
    except (ReleaseError, OSError) as error:
        module.fail_json(msg=format_error(error, root or name))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
