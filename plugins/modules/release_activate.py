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
    description: The release to make live. It must be complete on the host.
    type: str
  action:
    description:
      - How the activation is recorded. A rollback takes the releases above its target out of the order of rollbacks.
    type: str
    choices: [deploy, rollback]
    default: deploy
  keep:
    description:
      - How many good releases to keep, at least 1. The live one and the one before it are kept in any case.
    type: int
    default: 5
  rollout:
    description:
      - The rollout of which this is a part. The host records that it takes part, and keeps the lock until
        M(flaskops.production.release_rollout) ends it. Without it, the lock is given back.
    type: dict
  site:
    description:
      - Nginx's site file of the application, or the link that enables it. The last check is a request through
        Nginx, as a visitor sends it, by the name of the site and over TLS where it has a certificate.
      - When omitted, or when this collection has not written that file for this application, Nginx is not asked.
    type: path
  timeout:
    description:
      - Seconds after which the activation is given up. A process that does not stop is killed, and the release that was
        live before serves again, for which there are as many seconds.
      - With V(0), as long as the units allow for starting and stopping them, and O(health) for its attempts.
    type: float
    default: 0
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
  - module: flaskops.production.release_rollout
  - module: flaskops.production.symlink_swap
"""

EXAMPLES = r"""
- name: Make a staged release live
  flaskops.production.release_activate:
    name: myapp
    root: /srv/myapp
    release: 2026-04-21-120000-1a2b3c4
    health:
      path: /health

- name: Replace the process after a change of its environment
  flaskops.production.release_activate:
    name: myapp
    root: /srv/myapp
"""

RETURN = r"""
release:
  description: The release that is live now; empty when C(app) is no release.
  returned: always
  type: str
  sample: 2026-04-21-120000-1a2b3c4
previous:
  description: The release that was live before.
  returned: always
  type: str
  sample: 2026-04-20-083000-9f8e7d6
reason:
  description: Why a new process was needed; empty when none was.
  returned: success
  type: str
  sample: /srv/myapp/shared/.env changed since myapp.service started
settings:
  description: The files of settings that were staged and are in place now.
  returned: when something was activated
  type: list
  elements: str
  sample: [/srv/myapp/shared/.env]
settings_before:
  description:
    - Names of settings that are others than those with which the release was live before. No value is shown.
  returned: when something was activated
  type: list
  elements: str
  sample: [MODE in /srv/myapp/shared/.env]
removed:
  description: Names of the releases and sets of dependencies that were removed.
  returned: when something was activated
  type: list
  elements: str
  sample: [2026-03-01-101500-5d6e7f8]
phase:
  description: What failed, V(socket), V(candidate), V(switch), V(service), V(health) or V(site).
  returned: failure of an activation
  type: str
  sample: candidate
rejected:
  description: Whether the release itself is at fault and is marked as rejected.
  returned: failure of an activation
  type: bool
  sample: true
cause:
  description: Phase and cause of the failure in one line.
  returned: failure of an activation
  type: str
  sample: "candidate: it did not start: ModuleNotFoundError: No module named 'flask'"
"""

import os
import signal

from ansible_collections.flaskops.production.plugins.module_utils._app.health import (
    HEALTH,
    add_script_name,
    check_health,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout, Lock, LockedError
from ansible_collections.flaskops.production.plugins.module_utils._app.live_process import find_process_failure
from ansible_collections.flaskops.production.plugins.module_utils._app.rollout import enter_rollout
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import format_error
from ansible_collections.flaskops.production.plugins.module_utils._files.links import SymlinkError
from ansible_collections.flaskops.production.plugins.module_utils._releases.activation import (
    SITE,
    Activation,
    ActivationError,
    Rejected,
    check,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.former_user import (
    finish_transfer,
    read_transfer,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.settings import (
    differing_settings,
    discard_staged,
    is_site_alone,
    is_unfinished,
    note_settings,
    recover,
    staged_settings,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.site_check import check_site
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import read_unit_properties


def needed(layout: Layout, params: dict) -> str:
    """Why something has to be done; empty when the release is live and its process is right."""
    release = params["release"]
    if release and layout.live() != release:
        return f"{layout.live() or 'nothing'} is live"
    staged = staged_settings(layout, params["name"]) if release else []
    if staged:
        return f"new settings are staged: {', '.join(staged)}"
    if not os.path.lexists(layout.app):
        return ""
    return find_process_failure(layout, params["name"], params["health"])


def only_site(layout: Layout, params: dict) -> bool:
    """Whether the live release and its process are right, and only the site of Nginx is to change."""
    if params["release"] != layout.live() or not is_site_alone(layout, params["name"]):
        return False
    return not find_process_failure(layout, params["name"], params["health"])


def activate(layout: Layout, params: dict, reason: str) -> dict:
    """Do it and record it. Only a release that is at fault itself is marked."""
    recover(layout, params["name"])
    release, live, recorded = params["release"], layout.live(), layout.recorded()
    others = differing_settings(layout, params["name"], release) if release and release != live else []
    activation = Activation(layout, params["name"], release, params["health"], params["timeout"], params["site"] or "")
    try:
        if only_site(layout, params):
            activation.run_site()
        else:
            activation.run(lambda: layout.record_activation(release, params["action"], params["run"]))
    except Rejected as error:
        if fails_too(layout, params, error.phase):
            # What serves fails as well, such as without their database: that tells nothing about the release.
            raise ActivationError(error.phase, error.seen, error.unit, error.since, error.cause) from error
        if release and release != recorded:
            layout.set_state(release, "bad", reason=f"{error.phase}: {error.seen}")
        raise
    if layout.live():
        note_settings(layout, params["name"], layout.live())
    return {"release": layout.live() or "", "previous": live or "", "reason": reason, "settings_before": others}


def fails_too(layout: Layout, params: dict, phase: str) -> bool:
    """Whether the live release fails the same check as a rejected one."""
    if not layout.live():
        return False
    if check_health(layout, params["health"], params["name"], attempts=1).failure:
        return True
    return (
        phase == SITE
        and check_site(layout, params["name"], {**params["health"], "attempts": 1}, params["site"]).by_release
    )


def served(layout: Layout, name: str, health: dict | None) -> str:
    """What serves now, as a request has shown, in a sentence."""
    live = layout.live()
    if not live:
        return "Nothing is live on this host."
    if health is None:
        return f"{live} is live."
    try:
        seen = check_health(layout, health, name, attempts=1).failure
    except (ReleaseError, OSError) as error:
        seen = str(error)
    if seen:
        return f"{live} is live, but does not serve: {seen}."
    return f"{live} is live and answers GET {add_script_name(health['path'], layout.env_file)}."


def message(error: ActivationError, layout: Layout, params: dict, settings: list[str]) -> str:
    """What failed and why, what serves now, and the next command. The cause comes first."""
    what, fix = params["release"] or "The new process", "Fix the release and deploy again"
    rejected = isinstance(error, Rejected)
    # Where Nginx answers wrongly by a new site, that is what failed. The option may name the link to it.
    site = os.path.basename(params["site"] or "")
    blamed = rejected or (error.phase == SITE and site in map(os.path.basename, settings))
    verdict = "was rejected" if blamed else "was not activated"
    if settings:
        same = params["release"] == layout.live()
        what = f"The change of {', '.join(settings)}" if same else f"{what} with new settings ({', '.join(settings)})"
        fix = "Fix the settings and run again" if same else "Fix the release or the settings, and run again"
    first, *rest = f"{what} {verdict} ({error.phase}): {error.seen}".rstrip(".").split("\n")
    lines = [f"{first}.", *rest]
    if error.cause.text():
        lines.append(error.cause.text())
    if settings and is_unfinished(layout):
        lines.append("The settings of before could not all be put back: the next run does the rest.")
    elif settings:
        lines.append("The settings are as they were before.")
    if not blamed:
        lines.append("The release is not marked as rejected: the host is at fault, or the live release fails as well.")
    elif not rejected and params["release"] != layout.live():
        lines.append("The release is not marked as rejected: Gunicorn answered as it should.")
    lines.append(served(layout, params["name"], params["health"]))
    log = f"journalctl --unit={error.unit} --since=@{error.since:.0f}"
    last = fix if blamed else "Fix the host (playbook doctor) and run again"
    lines.append(f"{last}. The whole log: {log}")
    return "\n".join(lines)


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
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params = module.params
    layout = Layout(params["root"], params["run"])
    settings: list[str] = []
    lock = Lock(layout, params["run"])
    rollout = {**params["rollout"], "release": params["release"]} if params["rollout"] else {}
    begun = False
    if params["timeout"] < 0:
        module.fail_json(
            msg=f"timeout is {params['timeout']}, but must be seconds, 0 for as long as the units allow "
            "(release_activation_timeout)."
        )
    if params["keep"] < 1:
        module.fail_json(msg=f"keep is {params['keep']}, but must be a whole number of at least 1 (release_keep).")
    try:
        reason = needed(layout, params)
        settings = staged_settings(layout, params["name"])
        result = {
            "changed": bool(reason),
            "release": layout.live() or "",
            "previous": layout.live() or "",
            "reason": reason,
        }
        if module._diff and params["release"] and params["release"] != layout.live():
            before, after = (f"releases/{name}\n" if name else "" for name in (layout.live(), params["release"]))
            result["diff"] = {
                "before_header": layout.app,
                "after_header": layout.app,
                "before": before,
                "after": after,
            }
        if not reason or module.check_mode:
            if not module.check_mode:
                if params["release"]:
                    discard_staged(layout)
                if not rollout:
                    lock.release()
            module.exit_json(**result)
        check(layout, params["release"])
        # A connection that is cut must not stop a switch half way.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.umask(0o022)
        layout.prepare()
        lock.acquire(force=params["unlock"])
        begun = True
        try:
            if rollout:
                enter_rollout(layout, rollout, params["run"], "activating")
            result.update(activate(layout, params, reason), settings=settings)
            if rollout.get("undo"):
                enter_rollout(layout, rollout, params["run"], "undone")
            if params["action"] == "rollback" and result["settings_before"]:
                module.warn(
                    f"{params['release']} was live with other settings before: "
                    f"{', '.join(result['settings_before'])}. A rollback keeps the settings of today; to return them, "
                    "set them as they were and run the playbook site. The files before the last change are in "
                    f"{os.path.join(layout.settings, 'previous')}, for root only."
                )
            settle(module, layout)
            result["removed"] = prune(module, layout, params["keep"]) if params["release"] else []
        finally:
            if rollout:
                lock.leave()
            else:
                lock.release()
    except ActivationError as error:
        module.fail_json(
            msg=message(error, layout, params, settings),
            phase=error.phase,
            release=layout.live() or "",
            rejected=isinstance(error, Rejected),
            cause=f"{error.phase}: {error.seen}".splitlines()[0],
        )
    except LockedError as error:
        module.fail_json(msg=str(error), **error.result())
    except (ReleaseError, SymlinkError, OSError) as error:
        # What keeps an activation from its end says nothing about what visitors get meanwhile.
        said = format_error(error, layout.root)
        module.fail_json(msg=f"{said} {served(layout, params['name'], params['health'])}" if begun else said)
    for warning in layout.warnings():
        module.warn(warning)
    module.exit_json(**result)


def settle(module: AnsibleModule, layout: Layout) -> None:
    """Take a former user's access to the data away, once no process of his is left. The release is live by now."""
    handover = read_transfer(layout)
    if handover is None:
        return
    try:
        pid = read_unit_properties(f"{module.params['name']}.service")["MainPID"]
        if os.path.exists(f"/proc/{pid}") and os.stat(f"/proc/{pid}").st_uid in handover.former_uids:
            return
        finish_transfer(layout)
    except (ReleaseError, OSError) as error:
        module.warn(
            f"A former user of the application still has access to its data: {format_error(error, layout.root)} The "
            "next run of the playbook site tries again."
        )


def prune(module: AnsibleModule, layout: Layout, keep: int) -> list[str]:
    """Remove what is no longer kept. The release is live by now, so that a failure is only a warning."""
    try:
        return layout.prune(keep)
    except (ReleaseError, OSError) as error:
        module.warn(f"Old releases could not be removed: {format_error(error, layout.root)}")
        return []


if __name__ == "__main__":
    main()
