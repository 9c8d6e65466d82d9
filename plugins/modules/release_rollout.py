#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: release_rollout
short_description: Record the start and the end of a rollout on a host (internal to the roles)
version_added: "1.0.0"
author:
  - The flaskops.production contributors (@flaskops)
description:
  - Takes the deploy lock of an application before a rollout, and releases it after recording the end of the rollout.
    Returns the live release in both cases.
  - Records that hooks have drained the host, so that any later run completes them.
attributes:
  check_mode:
    support: full
    description: Refuses the same input as a run, and changes nothing.
  diff_mode:
    support: none
    description: There is nothing to show.
options:
  name:
    description: The application's name; its service is C(<name>.service).
    type: str
    required: true
  root:
    description: The application's directory, such as C(/srv/myapp).
    type: path
    required: true
  step:
    description:
      - V(claim) takes the deploy lock if the application is set up.
      - V(drain) records that the hooks before an activation start.
      - V(finish) records the end of the rollout, and releases the lock if this run holds it.
    type: str
    choices: [claim, drain, finish]
    required: true
  rollout:
    description: The rollout, as the filter P(flaskops.production.release_rollout#filter) returned it.
    type: dict
  state:
    description: The end of the rollout on this host, with O(step=finish).
    type: str
    choices: [done, stopped, undone]
    default: stopped
  joined:
    description: Whether the hooks after the activation have been completed, with O(step=finish).
    type: bool
    default: false
  unlock:
    description: Take the lock away from whoever holds it.
    type: bool
    default: false
extends_documentation_fragment:
  - flaskops.production.attributes
  - flaskops.production.attributes.of_this_run
  - flaskops.production.health
seealso:
  - module: flaskops.production.release_stage
  - module: flaskops.production.release_activate
  - module: flaskops.production.release_status
"""

EXAMPLES = r"""
- name: Take the deploy lock
  flaskops.production.release_rollout:
    name: myapp
    root: /srv/myapp
    step: claim

- name: Give it back
  flaskops.production.release_rollout:
    name: myapp
    root: /srv/myapp
    step: finish
"""

RETURN = r"""
live:
  description: The release that C(app) points at; empty when there is none.
  returned: success
  type: str
  sample: 2026-04-21-120000-1a2b3c4
locked:
  description: Whether this run holds the lock.
  returned: success
  type: bool
  sample: true
more:
  description: What M(flaskops.production.release_status) returns.
  returned: success
  type: dict
  sample: {"previous": "2026-04-20-083000-9f8e7d6", "outdated": "", "rollout": {}, "drained": {}}
"""

import os

from ansible_collections.flaskops.production.plugins.module_utils._app.health import HEALTH
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout, Lock, LockedError, now
from ansible_collections.flaskops.production.plugins.module_utils._app.rollout import (
    clear_drain,
    enter_rollout,
    note_drain,
    read_drain,
)
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import format_error
from ansible_collections.flaskops.production.plugins.module_utils._releases.settings import discard_staged
from ansible_collections.flaskops.production.plugins.module_utils._releases.status import read_status


def take(layout: Layout, lock: Lock, params: dict) -> None:
    """Take the lock. Where there is no application yet, there is nothing to lock."""
    lock.check(force=params["unlock"])
    if os.path.isdir(layout.state) and not params["check_mode"]:
        layout.prepare()
        lock.acquire(force=params["unlock"])


def finish(layout: Layout, lock: Lock, params: dict) -> None:
    """Record the end, if the rollout is still this run's, and release the lock.

    Raises OSError if the end cannot be recorded. The lock is released nevertheless, so that a full disk blocks no
    later run.
    """
    ours = lock.is_ours()
    if params["joined"] and (ours or read_drain(layout).get("run") == params["run"]["run"]):
        clear_drain(layout)
    if not ours:
        return
    lock.acquire()
    try:
        # Of a run that ends before it activates them.
        discard_staged(layout)
        if params["rollout"]:
            enter_rollout(layout, params["rollout"], params["run"], params["state"])
    finally:
        lock.release()


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "step": {"type": "str", "choices": ["claim", "drain", "finish"], "required": True},
            "rollout": {"type": "dict"},
            "state": {"type": "str", "choices": ["done", "stopped", "undone"], "default": "stopped"},
            "joined": {"type": "bool", "default": False},
            "unlock": {"type": "bool", "default": False},
            "health": HEALTH,
            "run": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    params, layout = (
        {**module.params, "check_mode": module.check_mode},
        Layout(module.params["root"], module.params["run"]),
    )
    lock = Lock(layout, params["run"])
    os.umask(0o022)
    problem = ""
    try:
        if params["step"] == "finish":
            if not module.check_mode:
                try:
                    finish(layout, lock, params)
                except OSError as error:
                    problem = f"The end of the rollout is not recorded: {format_error(error, layout.root)}"
        else:
            take(layout, lock, params)
            if params["step"] == "drain" and not module.check_mode:
                note_drain(layout, params["run"], now())
        found = read_status(layout, params["name"], params["health"])
        locked = lock.is_ours()
    except LockedError as error:
        module.fail_json(msg=str(error), **error.result())
    except (ReleaseError, OSError) as error:
        module.fail_json(msg=format_error(error, layout.root))
    finally:
        lock.leave()
    for warning in layout.warnings():
        module.warn(warning)
    result = {"changed": False, "locked": locked, "live": found.pop("live"), "more": found}
    if problem:
        module.fail_json(msg=problem, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
