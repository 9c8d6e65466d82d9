#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: release_status
short_description: Report the live release of an application on a host (internal to the roles)
version_added: "1.0.0"
author:
  - The flaskops.production contributors (@flaskops)
description:
  - Reads the releases of one application and runs the health check of the live one. Changes nothing.
options:
  name:
    description: The application's name; its service is C(<name>.service).
    type: str
    required: true
  root:
    description: The application's directory, such as C(/srv/myapp).
    type: path
    required: true
extends_documentation_fragment:
  - flaskops.production.attributes
  - flaskops.production.attributes.read_only
  - flaskops.production.health
seealso:
  - module: flaskops.production.release_activate
"""

EXAMPLES = r"""
- name: Read the live release
  flaskops.production.release_status:
    name: myapp
    root: /srv/myapp
  register: status
"""

RETURN = r"""
live:
  description: The release that C(app) points to; empty if no release is live.
  returned: success
  type: str
  sample: 2026-04-21-120000-1a2b3c4
previous:
  description: The release that a rollback activates; empty if there is none.
  returned: success
  type: str
  sample: 2026-04-20-083000-9f8e7d6
outdated:
  description: The reason why the process does not match the layout or fails its health check; empty if there is none.
  returned: success
  type: str
  sample: GET / answered 500, expected 200
since:
  description: The time of the live release's activation, ISO 8601 in UTC; empty if it is not recorded.
  returned: success
  type: str
  sample: "2026-04-21T12:03:11Z"
by:
  description: The user that activated the live release; empty if it is not recorded.
  returned: success
  type: str
  sample: deploy
rollout:
  description:
    - The record of the last rollout on this host. C(before) is the release that undoing the rollout activates, and
      C(state) is one of V(preparing), V(activating), V(done), V(stopped), V(undone).
    - Empty if there was none.
  returned: success
  type: dict
  sample: {"id": "7-81532a6xk2f", "number": 7, "release": "2026-04-21-120000-1a2b3c4", "state": "done"}
drained:
  description:
    - The run that has started hooks before an activation without completing those after it, with C(run),
      C(by) and C(time). Empty if there is none.
  returned: success
  type: dict
  sample: {}
releases:
  description: The records of the complete releases on the host, by name.
  returned: success
  type: dict
  sample: {"2026-04-21-120000-1a2b3c4": {"state": "active", "digest": "1a2b3c4d"}}
replaced:
  description: Programs and libraries of the running process that were replaced or removed after it loaded them.
  returned: success
  type: list
  elements: str
  sample: [/usr/lib/x86_64-linux-gnu/libssl.so.3]
system:
  description: The distribution and release of the host.
  returned: success
  type: str
  sample: debian 13
lock:
  description: The run that holds the deploy lock, with C(run), C(by), C(controller) and C(time); empty if no run does.
  returned: success
  type: dict
  sample: {}
"""

from typing import Any

from ansible_collections.flaskops.production.plugins.module_utils._app.health import HEALTH
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule, run_module
from ansible_collections.flaskops.production.plugins.module_utils._releases.status import read_status


def work(module: AnsibleModule) -> dict[str, Any]:
    store = ReleaseStore(Layout(module.params["root"]))
    status = read_status(store, module.params["name"], module.params["health"])
    for warning in store.format_warnings():
        module.warn(warning)
    return {"changed": False, **status}


def main() -> None:
    run_module(
        work,
        {
            "name": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "health": HEALTH,
        },
    )


if __name__ == "__main__":
    main()
