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
  - Acquires the deploy lock of an application before a rollout, and releases it after recording the end of the rollout.
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
      - V(claim) acquires the deploy lock if the application is set up.
      - V(drain) records that the hooks before an activation start.
      - V(finish) records the end of the rollout, and releases the lock if this run holds it.
    type: str
    choices: [claim, drain, finish]
    required: true
  rollout:
    description: The rollout, as the filter P(flaskops.production.release_rollout#filter) has returned it.
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
    description: Replace another holder of the deploy lock.
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
- name: Acquire the deploy lock
  flaskops.production.release_rollout:
    name: myapp
    root: /srv/myapp
    step: claim

- name: Release the deploy lock
  flaskops.production.release_rollout:
    name: myapp
    root: /srv/myapp
    step: finish
"""

RETURN = r"""
live:
  description: The release that C(app) points to; empty if there is none.
  returned: success
  type: str
  sample: 2026-04-21-120000-1a2b3c4
locked:
  description: Whether this run holds the lock.
  returned: success
  type: bool
  sample: true
more:
  description: The other return values of M(flaskops.production.release_status).
  returned: success
  type: dict
  sample: {"previous": "2026-04-20-083000-9f8e7d6", "outdated": "", "rollout": {}, "drained": {}}
"""

import os
from typing import Any, Mapping, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._app.health import HEALTH
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.lock import DeployLock
from ansible_collections.flaskops.production.plugins.module_utils._app.rollout import (
    clear_drain,
    enter_rollout,
    read_drain,
    record_drain,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._core.clock import format_now
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ModuleError, format_error
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule, run_module
from ansible_collections.flaskops.production.plugins.module_utils._releases.settings import discard_staged_settings
from ansible_collections.flaskops.production.plugins.module_utils._releases.status import read_status


class RolloutOptions(NamedTuple):
    """The options of a step of a rollout."""

    name: str
    root: str
    step: str
    rollout: Mapping[str, Any] | None
    state: str
    joined: bool
    unlock: bool
    health: dict[str, Any] | None
    run: Mapping[str, str]


def claim_host(store: ReleaseStore, lock: DeployLock, options: RolloutOptions, check_mode: bool) -> None:
    """Acquire the lock. A host without the application has nothing to lock."""
    lock.check(force=options.unlock)
    if os.path.isdir(store.layout.state) and not check_mode:
        store.create_directories()
        lock.acquire(force=options.unlock)


def finish_rollout(layout: Layout, lock: DeployLock, options: RolloutOptions) -> None:
    """Record the end of the rollout and release the lock, if this run still holds it.

    Raises OSError if the end cannot be recorded. The lock is released nevertheless, so that a full disk does not block
    later runs.
    """
    is_held = lock.is_held()
    if options.joined and (is_held or read_drain(layout).get("run") == options.run["run"]):
        clear_drain(layout)
    if not is_held:
        return
    lock.acquire()
    try:
        # The settings of a run that ended before their activation.
        discard_staged_settings(layout)
        if options.rollout:
            enter_rollout(layout, options.rollout, options.run, options.state)
    finally:
        lock.release()


def work(module: AnsibleModule) -> dict[str, Any]:
    options = RolloutOptions(**{name: module.params[name] for name in RolloutOptions._fields})
    layout = Layout(options.root, options.run)
    store, lock = ReleaseStore(layout), DeployLock(layout, options.run)
    problem = ""
    try:
        if options.step != "finish":
            claim_host(store, lock, options, module.check_mode)
        if options.step == "drain" and not module.check_mode:
            record_drain(layout, options.run, format_now())
        if options.step == "finish" and not module.check_mode:
            try:
                finish_rollout(layout, lock, options)
            except OSError as error:
                problem = f"The end of the rollout is not recorded: {format_error(error, layout.root)}"
        status = read_status(store, options.name, options.health)
        is_held = lock.is_held()
    finally:
        lock.release_guard()
    for warning in store.format_warnings():
        module.warn(warning)
    result = {"changed": False, "locked": is_held, "live": status.pop("live"), "more": status}
    if problem:
        raise ModuleError(problem, **result)
    return result


def main() -> None:
    run_module(
        work,
        {
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
    )


if __name__ == "__main__":
    main()
