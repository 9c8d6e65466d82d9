#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: release_stage
short_description: Stage a release on a host (internal to the roles)
version_added: "1.0.0"
author:
  - The flaskops.production contributors (@flaskops)
description:
  - Reports the releases on the host, the live one, and whether the running process matches its files.
  - If the release is missing, sends its archive, verifies it, unpacks it beside the others, links its shared paths and
    renames it. An incomplete release is never visible under its name.
  - With O(pull_url), the host fetches the archive from a web server instead, with the system's proxy and certificate
    authorities.
  - Acquires the deploy lock of the application before the first change. The lock is released after the activation, or
    with O(only=unlock) if the run ends before.
  - Unfinished files of an interrupted run are removed before the release is unpacked.
  - The live release stays. M(flaskops.production.release_activate) replaces it.
attributes:
  check_mode:
    support: full
    description: Predicts whether the release is sent or fetched. Does neither, and publishes nothing.
  diff_mode:
    support: full
    description: Shows the added release.
  platform:
    support: full
    platforms: linux
    description: The supported hosts.
  action:
    support: full
    description:
      - Sends the archive only if the host lacks the release, and publishes it for O(pull_url).
      - An archive of up to 2 MiB is sent with the module, a larger one as a file.
options:
  root:
    description: The application's directory, such as C(/srv/myapp).
    type: path
    required: true
  app:
    description: The application's name; its service is C(<app>.service).
    type: str
    required: true
  source:
    description:
      - The release that M(flaskops.production.release_source) has returned, or code on the host that
        M(flaskops.production.adoption_plan) has returned, which is copied. Required unless O(only) is set.
    type: dict
  shared_paths:
    description:
      - Names in the release that are links to C(shared/). A slash at the end means a directory, which is created for
        O(user) if it is missing. Any other name is a file that must exist in C(shared/).
      - The link replaces a file or directory of the release.
    type: list
    elements: str
    default: []
  static_paths:
    description: Directories of the release whose files are collected into C(shared/static) when it is activated.
    type: list
    elements: str
    default: []
  build:
    description: The command that must be run in the release before its activation. It is only recorded.
    type: str
    default: ""
  migrate:
    description: The migration of the release. It is only compared with the record, for RV(migrated).
    type: str
    default: ""
  adopt:
    description:
      - If C(app) is a directory, keep it as the first release, by one atomic exchange with a link, and C(venv) as its
        virtual environment.
      - Its shared paths that are missing in C(shared/) are moved there. Nothing is deleted.
    type: bool
    default: false
  owner:
    description: The owner of the release.
    type: str
    default: root
  user:
    description: The user that runs the application. Owns new shared directories.
    type: str
    required: true
  group:
    description: The group of that user.
    type: str
    required: true
  web_group:
    description: The group of Nginx, and of new shared directories below O(static_paths), so that it can read uploads.
    type: str
    default: www-data
  run:
    description: The run, its user and its controller, as C(run), C(by) and C(controller). Set by the action plugin.
    type: dict
  archive:
    description: The path of the archive on the host. Set by the action plugin.
    type: path
  archive_content:
    description: The bytes of a small archive in Base64, instead of O(archive). Set by the action plugin.
    type: str
    default: ""
  pull_url:
    description:
      - The C(http) or C(https) URL of the directory from which the host fetches the archive. The module adds the file
        name, which is the SHA-256 of the archive and V(.tar.gz), and verifies the SHA-256.
      - A user and a password in the URL are used for that server only and are never shown.
      - If it is empty, the archive is sent.
    type: str
    default: ""
  pull_directory:
    description:
      - The directory on the controller that the server serves as O(pull_url). The archive is published there by one
        rename, with mode 0644, unless it exists.
      - If it is empty, the archive must already be on the server.
    type: path
  pull_credentials:
    description: User and password of O(pull_url). Set by the action plugin.
    type: str
    default: ""
  unlock:
    description: Replace another holder of the deploy lock.
    type: bool
    default: false
  only:
    description:
      - Do this only.
      - V(check) fails if C(app) or C(venv) is a directory without O(adopt), if O(user) cannot write to a database of
        O(shared_paths), or if another run holds the lock. It acquires the lock if the application is set up. It changes
        nothing else.
      - V(look) compares the host with O(source), and acquires the lock if they differ. It changes nothing else.
      - V(unlock) releases the lock, if this run holds it.
    type: str
    choices: [check, look, unlock]
  send:
    description: Send the archive at once. Set after O(only=look) has found that the release is not on the host.
    type: bool
    default: false
  rollout:
    description:
      - The rollout of the release, as the filter P(flaskops.production.release_rollout#filter) has returned it. The
        host records that it takes part, and keeps the lock until M(flaskops.production.release_rollout) ends it.
    type: dict
notes:
  - Fails before any change if C(app) or C(venv) is a directory, if a file of O(shared_paths) is missing in C(shared/)
    or is an SQLite database in a directory that O(user) cannot write to, or if another run holds the lock.
extends_documentation_fragment:
  - flaskops.production.health
seealso:
  - module: flaskops.production.release_source
  - module: flaskops.production.release_activate
  - module: flaskops.production.release_rollout
"""

EXAMPLES = r"""
- name: Resolve the release once, on the controller
  flaskops.production.release_source:
    directory: "{{ playbook_dir }}/myapp"
  register: source

- name: Stage it on the host
  flaskops.production.release_stage:
    root: /srv/myapp
    app: myapp
    source: "{{ source }}"
    shared_paths: [instance/]
    user: www-data
    group: www-data

- name: Let the host fetch it from the server that serves /srv/www/releases
  flaskops.production.release_stage:
    root: /srv/myapp
    app: myapp
    source: "{{ source }}"
    pull_url: https://releases.example.org/
    pull_directory: /srv/www/releases
    user: www-data
    group: www-data
"""

RETURN = r"""
app:
  description: The application's name.
  returned: always, unless O(only) is given
  type: str
  sample: myapp
release:
  description: The name of the release on the host.
  returned: always, unless O(only) is given
  type: str
  sample: 2026-04-21-120000-1a2b3c4
live:
  description: The release that C(app) points to; empty if there is none.
  returned: always, unless O(only) is given
  type: str
  sample: 2026-04-20-083000-9f8e7d6
previous:
  description: The release that a rollback activates; empty if there is none.
  returned: always, unless O(only) is given
  type: str
  sample: 2026-04-18-171500-0a1b2c3
present:
  description: Whether the release was on the host before.
  returned: always, unless O(only) is given
  type: bool
  sample: false
built:
  description: Whether O(build) has been run in the release, or is empty.
  returned: always, unless O(only) is given
  type: bool
  sample: true
migrated:
  description: Whether O(migrate) has been run on this host for the release and the variables of C(shared/.env), or is
    empty.
  returned: always, unless O(only) is given
  type: bool
  sample: true
outdated:
  description: The reason why the process does not match the layout or fails its health check; empty if there is none.
  returned: always, unless O(only) is given
  type: str
  sample: /srv/myapp/shared/.env changed since myapp.service started
pending:
  description: Whether the release or a changed setting of it must be staged.
  returned: with O(only=look)
  type: bool
  sample: true
locked:
  description: Whether this run holds the lock.
  returned: with O(only=look) and O(only=check)
  type: bool
  sample: true
rollout:
  description: The record of the last rollout of the host; empty if there is none.
  returned: with O(only=look)
  type: dict
  sample: {"id": "7-81532a6xk2f", "number": 7, "release": "2026-04-20-083000-9f8e7d6", "state": "done"}
drained:
  description: The run whose hooks have not been completed, as M(flaskops.production.release_status) returns it.
  returned: with O(only=look)
  type: dict
  sample: {}
bad:
  description: The reason for an earlier rejection of the release; empty if there is none.
  returned: always, unless O(only) is given
  type: str
  sample: GET / answered 500, expected 200
"""

import os
from typing import Any

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.lock import DeployLock
from ansible_collections.flaskops.production.plugins.module_utils._app.rollout import enter_rollout
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule, run_module
from ansible_collections.flaskops.production.plugins.module_utils._core.platforms import require_supported_platform
from ansible_collections.flaskops.production.plugins.module_utils._releases.databases import check_databases
from ansible_collections.flaskops.production.plugins.module_utils._releases.options import (
    RELEASE_OPTIONS,
    StageOptions,
    parse_stage_options,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.preparation import Preparation
from ansible_collections.flaskops.production.plugins.module_utils._releases.settings import discard_staged_settings
from ansible_collections.flaskops.production.plugins.module_utils._releases.shared_paths import check_links


def argument_spec() -> dict:
    return {
        **RELEASE_OPTIONS,
        "run": {"type": "dict"},
        "archive": {"type": "path"},
        # no_log keeps it out of the host's log and out of the shown arguments.
        "archive_content": {"type": "str", "default": "", "no_log": True},
        "pull_url": {"type": "str", "default": ""},
        "pull_directory": {"type": "path"},
        "pull_credentials": {"type": "str", "default": "", "no_log": True},
        "unlock": {"type": "bool", "default": False},
        "only": {"type": "str", "choices": ["check", "look", "unlock"]},
        "send": {"type": "bool", "default": False},
        "rollout": {"type": "dict"},
    }


def check_host(store: ReleaseStore, lock: DeployLock, options: StageOptions) -> dict[str, Any]:
    """Check that the release may be staged, and acquire the lock if the application is set up."""
    layout = store.layout
    check_links(layout, options.release.adopt or options.release.is_on_host)
    check_databases(layout, options.release)
    lock.check(force=options.unlock)
    if os.path.isdir(layout.state) and not options.check_mode:
        store.create_directories()
        lock.acquire(force=options.unlock)
        lock.release_guard()
    return {"changed": False, "locked": lock.is_held()}


def unlock_host(layout: Layout, lock: DeployLock, options: StageOptions) -> dict[str, Any]:
    """Release the lock and remove staged settings, if this run holds the lock."""
    if not options.check_mode:
        discard_staged_settings(layout)
        lock.release()
    return {"changed": False}


def prepare_release(
    store: ReleaseStore, lock: DeployLock, options: StageOptions, is_compared_only: bool
) -> dict[str, Any]:
    """Compare the host with the release, and stage the release unless it is only compared."""
    try:
        preparation = Preparation(store, lock, options)
        if is_compared_only:
            return preparation.compare()
        result = preparation.stage()
        if options.rollout and not options.check_mode:
            lock.acquire(force=options.unlock)
            rollout = {**options.rollout, "release": result["release"]}
            enter_rollout(store.layout, rollout, options.run, "preparing")
    finally:
        lock.release_guard()
    if not result["present"]:
        header = {"before_header": store.layout.releases, "after_header": store.layout.releases}
        result["diff"] = {**header, "before": "", "after": result["release"] + "\n"}
    return result


def work(module: AnsibleModule) -> dict[str, Any]:
    only = module.params["only"]
    # A lock is released on any host that has one.
    if only != "unlock":
        require_supported_platform(module)
    options = parse_stage_options(module.params, module.check_mode)
    layout = Layout(options.release.root, options.run)
    store, lock = ReleaseStore(layout), DeployLock(layout, options.run)
    if only == "check":
        return check_host(store, lock, options)
    if only == "unlock":
        return unlock_host(layout, lock, options)
    result = prepare_release(store, lock, options, only == "look")
    for warning in [*store.format_warnings(), *result.pop("notes", [])]:
        module.warn(warning)
    if result["bad"]:
        module.warn(f"{result['release']} was rejected on this host before: {result['bad']}")
    return result


def main() -> None:
    run_module(
        work,
        argument_spec(),
        required_one_of=[("source", "only")],
        required_if=[("only", "look", ["source"])],
    )


if __name__ == "__main__":
    main()
