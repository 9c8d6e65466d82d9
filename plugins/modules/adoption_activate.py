#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: adoption_activate
short_description: Activate an adopted release in place of an old deployment (internal to the roles)
version_added: "1.0.0"
author:
  - The flaskops.production contributors (@flaskops)
description:
  - Starts the adopted release beside the old deployment, on a socket of its own. Only when it has imported the
    application, passed O(health) and can write wherever the old service wrote is the old deployment changed.
  - Then Nginx sends new requests to that socket, where they wait. The old service finishes its requests and stops, the
    last changes of its data are copied, and C(<name>.service) starts from the layout. Then the requests are served.
  - If a step fails, the old files are restored, the old service starts, and Nginx uses it again.
  - The transaction is one call that continues when the connection is lost. O(only=recover) rolls back a killed one, or
    completes it if the new service was already serving.
  - Deletes nothing of the old deployment. Files in C(/etc) or in O(root) that block the layout are moved to
    C(<root>/.deploy/adopted), below their old paths.
attributes:
  check_mode:
    support: none
    description: The playbook skips this module in check mode.
  diff_mode:
    support: none
    description: The plan shows the changes.
options:
  name:
    description: The application's name.
    type: str
    required: true
  root:
    description: The application's directory in the layout, such as C(/srv/myapp).
    type: path
    required: true
  release:
    description: The release to make live. It must be complete on the host.
    type: str
  adoption:
    description: RV(flaskops.production.adoption_plan#module:adoption) of the plan.
    type: dict
  units:
    description: The files of the role P(flaskops.production.gunicorn_systemd#role), as C(path) and C(content).
    type: list
    elements: dict
    default: []
  candidate_units:
    description:
      - The units of the candidate and of the check of its write access, from C(gunicorn_systemd_adoption_description),
        as C(name) and C(content).
    type: list
    elements: dict
    default: []
  site:
    description: The server block, as C(path), C(link), C(content), and links to C(remove).
    type: dict
  only:
    description: Only recover from a run that was cut off during the activation.
    type: str
    choices: [recover]
extends_documentation_fragment:
  - flaskops.production.attributes
  - flaskops.production.attributes.of_this_run
  - flaskops.production.health
seealso:
  - module: flaskops.production.adoption_plan
  - module: flaskops.production.adoption_copy
  - module: flaskops.production.release_activate
"""

EXAMPLES = r"""
- name: Recover from an interrupted run
  flaskops.production.adoption_activate:
    name: shop
    root: /srv/shop
    only: recover
"""

RETURN = r"""
release:
  description: The release that is live now.
  returned: after an adoption
  type: str
  sample: adopted-2026-04-21-120000-1a2b3c4
waited:
  description: The seconds that requests had to wait.
  returned: after an adoption
  type: float
  sample: 2.4
leftover:
  description: Directories to remove by hand. All their files were copied or can be installed again.
  returned: after an adoption
  type: list
  elements: str
  sample: ["/home/ada/shop: the old code and data, all of which was copied, and its virtual environment"]
kept:
  description: Files that were not copied, in sentences.
  returned: after an adoption
  type: list
  elements: str
  sample: ["/home/ada/shop: not copied were /home/ada/shop/.git"]
recovered:
  description: The recovery from an interrupted run; empty when there was none.
  returned: with O(only=recover)
  type: str
  sample: shop.service serves again
"""

import os
import signal

from ansible_collections.flaskops.production.plugins.module_utils._adoption.activation import (
    ERRORS,
    ActivateOptions,
    activate,
    recover,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.deployment import parse_deployment
from ansible_collections.flaskops.production.plugins.module_utils._adoption.record import AdoptionRecord
from ansible_collections.flaskops.production.plugins.module_utils._adoption.routing import SiteFile
from ansible_collections.flaskops.production.plugins.module_utils._app.health import HEALTH
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.lock import DeployLock, LockedError
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import format_error
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule


def parse_options(params: dict) -> ActivateOptions:
    site = params["site"]
    return ActivateOptions(
        release=params["release"],
        deployment=parse_deployment(params["adoption"]),
        units={item["path"]: item["content"] for item in params["units"] if item.get("content") is not None},
        candidate_units={item["name"]: item["content"] for item in params["candidate_units"]},
        site=SiteFile(site["path"], site.get("link") or "", site["content"], site.get("remove") or []),
        run=params["run"],
    )


def run_locked(module: AnsibleModule, layout: Layout) -> dict:
    """Run under the deploy lock. Return the results of the module."""
    params = module.params
    lock = DeployLock(layout, params["run"])
    ReleaseStore(layout).create_directories()
    lock.acquire()
    try:
        if params["only"] == "recover":
            outcome = recover(module, layout, params["name"], params["health"])
            return {"changed": bool(outcome), "recovered": outcome}
        options = parse_options(params)
        return {"changed": True, **activate(module, layout, params["name"], params["health"], options)}
    finally:
        lock.release()


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "release": {"type": "str"},
            "adoption": {"type": "dict"},
            "units": {"type": "list", "elements": "dict", "default": []},
            "candidate_units": {"type": "list", "elements": "dict", "default": []},
            "site": {"type": "dict"},
            "health": HEALTH,
            "run": {"type": "dict"},
            "only": {"type": "str", "choices": ["recover"]},
        },
    )
    params = module.params
    missing = [name for name in ("release", "adoption", "site") if not params[name]]
    if missing and not params["only"]:
        module.fail_json(msg=f"{', '.join(missing)} must be given, unless only is 'recover'.")
    layout = Layout(params["root"])
    # An activation continues when the connection is lost.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o022)
    try:
        if params["only"] == "recover" and not os.path.exists(AdoptionRecord(layout).path):
            module.exit_json(changed=False, recovered="")
        result = run_locked(module, layout)
    except LockedError as error:
        module.fail_json(msg=str(error), **error.result())
    except ERRORS as error:
        module.fail_json(msg=format_error(error, layout.root))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
