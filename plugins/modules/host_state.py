#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_state
short_description: Compare a host with its description in one execution (internal to the roles)
version_added: "1.0.0"
author:
  - The flaskops.production contributors (@flaskops)
description:
  - Runs all checks of the roles layout, gunicorn_systemd, nginx_site, venv and release, with the same code and options,
    and changes nothing.
  - A run has nothing else to do on a host that matches its description. If something differs or is unknown, the roles
    run and report faults.
  - Without options, the action plugin describes the host by the settings of the roles. Hosts with the same settings
    share what is rendered.
options:
  name:
    description: The application's name; its units are C(<name>.socket) and C(<name>.service).
    type: str
    required: true
  root:
    description: The application's directory, such as C(/srv/myapp).
    type: path
    required: true
  entries:
    description: Paths, with the options of M(flaskops.production.tree).
    type: list
    elements: dict
    required: true
  secret_contents:
    description: Contents that must not be shown, as of M(flaskops.production.tree).
    type: dict
    default: {}
  site:
    description: The site, with the options of M(flaskops.production.nginx_site).
    type: dict
    required: true
  release:
    description: The release, with the options of M(flaskops.production.release_stage).
    type: dict
    required: true
  venv:
    description:
      - The dependencies, with the options of M(flaskops.production.venv). Its C(source) and C(link) are those of the
        release.
      - None of it is shown, because an index may have a password.
    type: dict
    required: true
  account:
    description:
      - The user that runs the application, if it has its default name. Empty if it was set explicitly.
    type: str
    default: ""
  group:
    description: The main group of O(account).
    type: str
    default: ""
  adopt:
    description:
      - Whether files, directories and an account without a known application may become those of this one.
    type: bool
    default: false
attributes:
  action:
    support: full
    description: Describes the host on the controller.
extends_documentation_fragment:
  - flaskops.production.attributes
  - flaskops.production.attributes.read_only
seealso:
  - module: flaskops.production.tree
  - module: flaskops.production.nginx_site
  - module: flaskops.production.release_stage
  - module: flaskops.production.venv
"""

EXAMPLES = r"""
- name: Compare the host with its description
  flaskops.production.host_state:
    name: myapp
    root: /srv/myapp
    entries:
      - path: /srv/myapp
        mode: "0755"
    site:
      path: /etc/nginx/sites-available/myapp.conf
      content: "{{ lookup('ansible.builtin.template', 'myapp.conf.j2') }}"
    release:
      source: "{{ source }}"
      user: www-data
      group: www-data
    venv:
      directory: /srv/myapp/venvs
      packages: ["gunicorn>=24.1.1"]
  register: state

- name: Show the differences
  ansible.builtin.debug:
    msg: "{{ state.differs }}"
"""

RETURN = r"""
provisioned:
  description: Whether paths, units and site are as described, the socket listens and Nginx runs.
  returned: success
  type: bool
  sample: true
live:
  description: The live release, if it matches its description and dependencies, its process is up to date, and it
    passes its health check. Otherwise empty, also after an interrupted run.
  returned: success
  type: str
  sample: 2026-04-21-120000-1a2b3c4
migrated:
  description: Whether the migration of the live release has been run on this host, or there is none.
  returned: success
  type: bool
  sample: true
rollout:
  description: The record of the last rollout of the live release, as M(flaskops.production.release_status) returns it.
  returned: success
  type: dict
  sample: {"id": "7-81532a6xk2f", "number": 7, "release": "2026-04-21-120000-1a2b3c4", "state": "done"}
differs:
  description: The differences, and the reasons for unknown facts.
  returned: success
  type: list
  elements: str
  sample: ["/srv/myapp/run", "myapp.socket is not enabled"]
refused:
  description:
    - Why the application cannot be on this host, each reason as a sentence. The host runs a system that is not
      supported, a port is taken, or a unit, a site, a directory or an account of this name belongs to something else.
  returned: success
  type: list
  elements: str
  sample: ["/etc/systemd/system/myapp-next.service belongs to the application myapp-next: …"]
"""

import os
from typing import Any, Iterator

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.lock import DeployLock
from ansible_collections.flaskops.production.plugins.module_utils._app.pruning import list_leftovers
from ansible_collections.flaskops.production.plugins.module_utils._app.rollout import read_drain, read_rollout
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ModuleError, ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule, run_module
from ansible_collections.flaskops.production.plugins.module_utils._core.platforms import check_platform
from ansible_collections.flaskops.production.plugins.module_utils._files.changes import plan_changes
from ansible_collections.flaskops.production.plugins.module_utils._files.entries import (
    ENTRY_OPTIONS,
    ForeignError,
    TreeError,
    parse_entries,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.foreign import find_account_conflict
from ansible_collections.flaskops.production.plugins.module_utils._nginx.site import SITE, Site, SiteConflictError
from ansible_collections.flaskops.production.plugins.module_utils._nginx.site_state import SiteError
from ansible_collections.flaskops.production.plugins.module_utils._python.options import (
    VENV_OPTIONS,
    VenvError,
    parse_settings,
)
from ansible_collections.flaskops.production.plugins.module_utils._python.venvs import is_in_place
from ansible_collections.flaskops.production.plugins.module_utils._releases.decision import (
    decide_release,
    format_name_note,
    read_release_state,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.options import (
    RELEASE_OPTIONS,
    parse_release_options,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.settings import is_activation_unfinished
from ansible_collections.flaskops.production.plugins.module_utils._releases.shared_paths import (
    check_layout,
    check_links,
    is_not_link,
)
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import read_unit_properties


class DifferenceError(ModuleError):
    """A difference between the host and its description, or the reason why it is unknown."""


def validate_options(label: str, spec: dict, options: dict) -> dict[str, Any]:
    """Validate options as the module that has them does. Raises DifferenceError for invalid ones."""
    result = ArgumentSpecValidator(spec).validate(options)
    if result.error_messages:
        raise DifferenceError(f"{label}: {' '.join(result.error_messages)}")
    return result.validated_parameters


def find_differing_paths(params: dict, refused: list[str]) -> list[str]:
    """Return the paths that differ from their description. Adds conflicts with other applications to refused."""
    options = validate_options(
        "entries",
        {"entries": {"type": "list", "elements": "dict", "options": ENTRY_OPTIONS}},
        {"entries": params["entries"]},
    )
    try:
        entries = parse_entries(options["entries"], params["secret_contents"])
        return [change.entry.path for change in plan_changes(entries, adopt=params["adopt"])]
    except ForeignError as error:
        refused.append(str(error))
        return [str(error)]
    except TreeError as error:
        return [str(error)]


def find_differing_units(name: str) -> Iterator[str]:
    """Yield the differences of the units. The service may be disabled or masked while the socket is enabled."""
    unit = read_unit_properties(f"{name}.socket", "ActiveState,NeedDaemonReload,UnitFileState")
    if unit.get("UnitFileState") != "enabled":
        yield f"{name}.socket is not enabled"
    if read_unit_properties(f"{name}.service", "UnitFileState").get("UnitFileState") != "enabled":
        yield f"{name}.service is not enabled"
    if unit.get("ActiveState") != "active":
        yield f"{name}.socket does not listen"
    if unit.get("NeedDaemonReload") == "yes":
        yield f"{name}.socket changed on disk"


def find_differing_site(module: AnsibleModule, refused: list[str]) -> Iterator[str]:
    """Yield the differences of the site. Adds a conflict with another application to refused."""
    try:
        found = Site(module, validate_options("site", SITE, module.params["site"])).compare_with_host()
    except SiteError as error:
        if isinstance(error, SiteConflictError):
            refused.append(str(error))
        yield str(error)
        return
    if found["changed"]:
        yield found["path"]
    if not (found["running"] and found["enabled"]):
        yield "nginx.service is not running and enabled"


def read_described_release(layout: Layout, name: str, release: dict, venv: dict) -> dict[str, Any]:
    """Return the live release if nothing is left to do. Raises DifferenceError with the reason otherwise."""
    described = {**release, "root": layout.root, "app": name}
    options = parse_release_options(validate_options("release", RELEASE_OPTIONS, described))
    check_layout(layout, options)
    if is_not_link(layout.app) or is_not_link(layout.venv):
        raise DifferenceError(f"{layout.root} is to be adopted")
    if DeployLock(layout, {}).read_holder():
        raise DifferenceError(f"{layout.lock} is held")
    if read_drain(layout):
        raise DifferenceError("the hooks after an activation have not been completed")
    leftovers = list_leftovers(layout)
    if leftovers:
        raise DifferenceError(f"{leftovers[0]} was left by a run that was interrupted")
    store = ReleaseStore(layout)
    state = read_release_state(store, options)
    live = state["live"]
    decision = decide_release(state, store.read_record(live) or {}, options)
    reason = decision.activate or decision.stage or state["bad"]
    if reason:
        raise DifferenceError(reason)
    link = os.path.join(layout.venv_links, live)
    venv = validate_options("venv", VENV_OPTIONS, {**venv, "source": layout.release(live), "link": link})
    if not is_in_place(parse_settings(venv)):
        raise DifferenceError(f"the dependencies of {live} are not in place")
    return {"live": live, "migrated": state["migrated"], "rollout": read_rollout(layout)}


def list_refusals(layout: Layout, params: dict) -> list[str]:
    """Return the reasons why the application cannot be on this host, apart from its files."""
    found = [
        check_platform(),
        params["account"] and find_account_conflict(params["account"], params["group"], layout.root),
    ]
    try:
        check_links(layout, params["adopt"] or "directory" in (params["release"].get("source") or {}))
    except ReleaseError as error:
        found.append(str(error))
    return [reason for reason in found if reason]


def compare_host(module: AnsibleModule) -> dict[str, Any]:
    """Compare the host with its description."""
    params = module.params
    name, layout = params["name"], Layout(params["root"])
    refused = list_refusals(layout, params)
    try:
        differs = find_differing_paths(params, refused)
        differs += [*find_differing_units(name), *find_differing_site(module, refused)]
    except (ModuleError, OSError) as error:
        differs = [str(error)]
    if is_activation_unfinished(layout):
        differs.append(f"{layout.former_settings} was left by a run that was interrupted")
    provisioned = not differs
    found: dict[str, Any] = {"live": "", "migrated": False, "rollout": {}}
    try:
        found = read_described_release(layout, name, params["release"], params["venv"])
        note = format_name_note(found["live"], params["release"]["source"])
        if note:
            module.warn(note)
    except (ModuleError, VenvError, OSError, KeyError) as error:
        differs.append(str(error))
    return {"provisioned": provisioned, **found, "differs": differs, "refused": refused}


def work(module: AnsibleModule) -> dict[str, Any]:
    result = compare_host(module)
    # The result contains no secrets, and a secret that equals a part of a path must not mask it.
    module.no_log_values = set()
    invocation = {"module_args": {key: module.params[key] for key in ("name", "root")}}
    if result["refused"]:
        raise ModuleError(" ".join(result["refused"]), invocation=invocation, **result)
    return {"changed": False, "invocation": invocation, **result}


def main() -> None:
    run_module(
        work,
        {
            "name": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "entries": {"type": "list", "elements": "dict", "required": True},
            "secret_contents": {"type": "dict", "no_log": True, "default": {}},
            "site": {"type": "dict", "required": True},
            "release": {"type": "dict", "required": True},
            "venv": {"type": "dict", "required": True, "no_log": True},
            "account": {"type": "str", "default": ""},
            "group": {"type": "str", "default": ""},
            "adopt": {"type": "bool", "default": False},
        },
    )


if __name__ == "__main__":
    main()
