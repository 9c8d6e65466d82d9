#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: release_activate
short_description: Activate a release by a handover (internal to the roles)
version_added: "1.0.0"
author:
  - The flaskops.production contributors (@flaskops)
description:
  - Makes a release the live one, and replaces the running process. Without O(release), only replaces a process that is
    older than its configuration.
  - First, C(<name>-next.service) starts the release beside the live one, on the same socket. After the candidate has
    imported the application and passed O(health), C(app) is swapped and C(<name>.service) restarted, while the
    candidate serves.
  - With O(flaskops.production.gunicorn_systemd#role:main:gunicorn_systemd_handover=restart), the candidate only checks
    the release, and requests wait during the restart.
  - Last, the health check is requested through Nginx, if the host has the site (O(site)).
  - If the candidate fails, the live release is untouched. If a later step fails, C(app) is swapped back and the service
    restarted. In both cases the task fails.
  - Settings that this run has staged with O(flaskops.production.tree#module:stage) are part of the transaction. The
    candidate starts with them, and they are put in place together with the release. If it fails, they are removed.
    At any time, the service starts with all earlier settings or with all new ones.
  - A release is rejected only for its own fault. It is not rejected for a fault of the host, such as a full disk, a
    missing socket, a unit that systemd cannot start or an Nginx that does not forward requests, or if the live release
    fails its health check as well.
  - The transaction is one call. It continues when the connection is lost, and the next call completes an interrupted
    one.
  - Old releases and unused virtual environments are removed afterwards; a failure there only warns.
attributes:
  check_mode:
    support: full
    description: Predicts whether the live release or the process is replaced.
  diff_mode:
    support: full
    description: Shows where C(app) points before and after.
options:
  name:
    description: The application's name; its units are C(<name>.service), C(<name>-next.service) and C(<name>.socket).
    type: str
    required: true
  root:
    description: The application's directory, such as C(/srv/myapp).
    type: path
    required: true
  release:
    description: The release to activate. It must be complete on the host.
    type: str
  action:
    description:
      - The kind of activation in the record. Later rollbacks skip the releases that a rollback has left.
    type: str
    choices: [deploy, rollback]
    default: deploy
  keep:
    description:
      - The number of good releases to keep, at least 1. The live and the previous release are always kept.
    type: int
    default: 5
  rollout:
    description:
      - The rollout of the release. The host records that it takes part, and keeps the lock until
        M(flaskops.production.release_rollout) ends it. Without a rollout, the lock is released.
    type: dict
  site:
    description:
      - The file of the application's site, or the link that enables it. The last check is a request through Nginx, with
        the name of the site, and over TLS if the site has a certificate.
      - The check is skipped if it is omitted, or if this collection has not written the file for this application.
    type: path
  timeout:
    description:
      - The time limit of the activation, in seconds. After it, a process that does not stop is killed and the previous
        release is activated, with the same time limit.
      - With V(0), it is the sum of the timeouts of the units and of all attempts of O(health).
    type: float
    default: 0
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
  - module: flaskops.production.release_rollout
  - module: flaskops.production.symlink_swap
"""

EXAMPLES = r"""
- name: Activate a staged release
  flaskops.production.release_activate:
    name: myapp
    root: /srv/myapp
    release: 2026-04-21-120000-1a2b3c4
    health:
      path: /health

- name: Replace the process after a change of its environment file
  flaskops.production.release_activate:
    name: myapp
    root: /srv/myapp
"""

RETURN = r"""
release:
  description: The live release; empty if C(app) does not point to a release.
  returned: always
  type: str
  sample: 2026-04-21-120000-1a2b3c4
previous:
  description: The release that was live before.
  returned: always
  type: str
  sample: 2026-04-20-083000-9f8e7d6
reason:
  description: The reason for the activation; empty if there was none.
  returned: success
  type: str
  sample: /srv/myapp/shared/.env changed since myapp.service started
settings:
  description: The activated files of settings.
  returned: after an activation
  type: list
  elements: str
  sample: [/srv/myapp/shared/.env]
settings_before:
  description:
    - The names of settings that have changed since the release was live before. No value is shown.
  returned: after an activation
  type: list
  elements: str
  sample: [MODE in /srv/myapp/shared/.env]
removed:
  description: The names of the removed releases and virtual environments.
  returned: after an activation
  type: list
  elements: str
  sample: [2026-03-01-101500-5d6e7f8]
phase:
  description: The phase that failed, V(socket), V(candidate), V(swap), V(service), V(health) or V(site).
  returned: failure of an activation
  type: str
  sample: candidate
rejected:
  description: Whether the release caused the failure and is marked as rejected.
  returned: failure of an activation
  type: bool
  sample: true
cause:
  description: The phase and the cause of the failure in one line.
  returned: failure of an activation
  type: str
  sample: "candidate: it did not start: ModuleNotFoundError: No module named 'flask'"
"""

import os
import signal
from typing import Any

from ansible_collections.flaskops.production.plugins.module_utils._app.health import HEALTH, check_health
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.live_process import find_process_failure
from ansible_collections.flaskops.production.plugins.module_utils._app.lock import DeployLock, LockedError
from ansible_collections.flaskops.production.plugins.module_utils._app.pruning import prune_releases
from ansible_collections.flaskops.production.plugins.module_utils._app.rollout import enter_rollout
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ModuleError, format_error
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule, run_module
from ansible_collections.flaskops.production.plugins.module_utils._releases.activation import (
    SITE,
    Activation,
    check_complete,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.activation_report import (
    describe_live_release,
    format_failure,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.failure import (
    ActivationError,
    RejectedError,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.former_user import (
    finish_transfer,
    read_transfer,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.options import (
    ActivateOptions,
    parse_activate_options,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.settings import (
    discard_staged_settings,
    is_only_site_staged,
    list_staged_changes,
    recover_settings,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.settings_digests import (
    list_changed_settings,
    record_settings,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.site_check import check_site
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import read_unit_properties


def find_reason(layout: Layout, options: ActivateOptions) -> str:
    """Return why an activation is necessary, or an empty string."""
    if options.release and layout.find_live() != options.release:
        return f"{layout.find_live() or 'nothing'} is live"
    staged = list_staged_changes(layout, options.name) if options.release else []
    if staged:
        return f"new settings are staged: {', '.join(staged)}"
    if not os.path.lexists(layout.app):
        return ""
    return find_process_failure(layout, options.name, options.health)


def is_only_site_changed(layout: Layout, options: ActivateOptions) -> bool:
    """Return whether the live release and its process are correct, and only the site of Nginx changes."""
    if options.release != layout.find_live() or not is_only_site_staged(layout, options.name):
        return False
    return not find_process_failure(layout, options.name, options.health)


def is_live_failing(layout: Layout, options: ActivateOptions, phase: str) -> bool:
    """Return whether the live release fails the same check as a rejected release."""
    if not layout.find_live():
        return False
    if check_health(layout, options.health, options.name, attempts=1).failure:
        return True
    once = {**options.health, "attempts": 1} if options.health else {}
    return phase == SITE and check_site(layout, options.name, once, options.site).by_release


def activate_release(store: ReleaseStore, options: ActivateOptions) -> None:
    """Activate the release and record it. A release that causes the failure itself is marked as rejected."""
    layout, release, recorded = store.layout, options.release, store.find_recorded()
    activation = Activation(layout, options.name, release, options.health, options.timeout, options.site)
    try:
        if is_only_site_changed(layout, options):
            activation.run_site()
        else:
            activation.run(lambda: store.record_activation(release, options.action, options.run))
    except RejectedError as error:
        if is_live_failing(layout, options, error.phase):
            # Both may fail without their database, for example.
            raise ActivationError(error.phase, error.problem, error.unit, error.since, error.cause) from error
        if release and release != recorded:
            store.set_state(release, "bad", reason=f"{error.phase}: {error.problem}")
        raise
    live = layout.find_live()
    if live:
        record_settings(layout, options.name, live)


def run_activation(module: AnsibleModule, store: ReleaseStore, options: ActivateOptions) -> dict[str, Any]:
    """Activate the release under the deploy lock, and remove old releases. Returns the changed results."""
    layout, rollout = store.layout, options.rollout
    if rollout:
        enter_rollout(layout, rollout, options.run, "activating")
    recover_settings(layout, options.name)
    live = layout.find_live()
    changed_settings: list[str] = []
    if options.release and options.release != live:
        changed_settings = list_changed_settings(layout, options.name, options.release)
    activate_release(store, options)
    if rollout and rollout.get("undo"):
        enter_rollout(layout, rollout, options.run, "undone")
    if options.action == "rollback" and changed_settings:
        module.warn(
            f"{options.release} was live with other settings before: {', '.join(changed_settings)}. A rollback keeps "
            "the current settings; to restore the earlier ones, set them again and run the playbook site. The files "
            f"before the last change are in {os.path.join(layout.settings, 'previous')}, for root only."
        )
    end_former_access(module, layout, options.name)
    return {
        "release": layout.find_live() or "",
        "previous": live or "",
        "settings_before": changed_settings,
        "removed": remove_old_releases(module, store, options.keep) if options.release else [],
    }


def run_locked(
    module: AnsibleModule, store: ReleaseStore, options: ActivateOptions, settings: list[str]
) -> dict[str, Any]:
    """Run the activation with the deploy lock. The lock is kept for the rollout, if there is one."""
    layout, lock = store.layout, DeployLock(store.layout, options.run)
    check_complete(store, options.release)
    # A lost connection must not stop an activation.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    store.create_directories()
    lock.acquire(force=options.unlock)
    try:
        return {**run_activation(module, store, options), "settings": settings}
    except LockedError:
        raise
    except ActivationError as error:
        raise ModuleError(
            format_failure(error, layout, options, settings),
            phase=error.phase,
            release=layout.find_live() or "",
            rejected=isinstance(error, RejectedError),
            cause=f"{error.phase}: {error.problem}".splitlines()[0],
        ) from error
    except (ModuleError, OSError) as error:
        live = describe_live_release(layout, options.name, options.health)
        raise ModuleError(f"{format_error(error, layout.root)} {live}") from error
    finally:
        lock.end_step(keep=bool(options.rollout))


def end_former_access(module: AnsibleModule, layout: Layout, name: str) -> None:
    """Remove a former user's access to the data if no process of that user is left. A failure is only a warning."""
    transfer = read_transfer(layout)
    if transfer is None:
        return
    try:
        pid = read_unit_properties(f"{name}.service")["MainPID"]
        if os.path.exists(f"/proc/{pid}") and os.stat(f"/proc/{pid}").st_uid in transfer.former_uids:
            return
        finish_transfer(layout)
    except (ModuleError, OSError) as error:
        module.warn(
            f"A former user of the application still has access to its data: {format_error(error, layout.root)} The "
            "next run of the playbook site tries again."
        )


def remove_old_releases(module: AnsibleModule, store: ReleaseStore, keep: int) -> list[str]:
    """Remove old releases. A failure is only a warning, because the release is live."""
    try:
        return prune_releases(store, keep)
    except (ModuleError, OSError) as error:
        module.warn(f"Old releases could not be removed: {format_error(error, store.layout.root)}")
        return []


def build_diff(layout: Layout, release: str | None) -> dict[str, str]:
    """Return the diff of the link app, or an empty one."""
    live = layout.find_live()
    if not release or release == live:
        return {}
    before, after = (f"releases/{name}\n" if name else "" for name in (live, release))
    return {"before_header": layout.app, "after_header": layout.app, "before": before, "after": after}


def work(module: AnsibleModule) -> dict[str, Any]:
    options = parse_activate_options(module.params)
    layout = Layout(options.root, options.run)
    store, lock = ReleaseStore(layout), DeployLock(layout, options.run)
    reason, settings = find_reason(layout, options), list_staged_changes(layout, options.name)
    live, diff = layout.find_live() or "", build_diff(layout, options.release)
    result: dict[str, Any] = {"changed": bool(reason), "release": live, "previous": live, "reason": reason}
    if diff:
        result["diff"] = diff
    if reason and not module.check_mode:
        result.update(run_locked(module, store, options, settings))
        for warning in store.format_warnings():
            module.warn(warning)
    elif not module.check_mode:
        if options.release:
            discard_staged_settings(layout)
        if not options.rollout:
            lock.release()
    return result


def argument_spec() -> dict:
    return {
        "name": {"type": "str", "required": True},
        "root": {"type": "path", "required": True},
        "release": {"type": "str"},
        "action": {"type": "str", "choices": ["deploy", "rollback"], "default": "deploy"},
        "health": HEALTH,
        "keep": {"type": "int", "default": 5},
        "rollout": {"type": "dict"},
        "run": {"type": "dict"},
        "site": {"type": "path"},
        "timeout": {"type": "float", "default": 0},
        "unlock": {"type": "bool", "default": False},
    }


def main() -> None:
    run_module(work, argument_spec())


if __name__ == "__main__":
    main()
