#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: adoption_copy
short_description: Copy the data of an old deployment into the layout (internal to the roles)
version_added: "1.0.0"
author:
  - The flaskops.production contributors (@flaskops)
description:
  - Copies the data of the plan of M(flaskops.production.adoption_plan) to C(shared/). Verifies each file by its
    SHA-256, and SQLite databases by their own check. The old application may continue to write. The originals are
    only read.
  - Writes C(shared/.env) from the files and the C(Environment=) lines of the old unit. Its values never leave the
    host.
  - Takes the deploy lock of the application. M(flaskops.production.adoption_activate) copies changed files again, and
    releases the lock.
attributes:
  check_mode:
    support: none
    description: The playbook skips this module in check mode.
  diff_mode:
    support: none
    description: Shows nothing of the data.
options:
  root:
    description: The application's directory in the layout, such as C(/srv/myapp).
    type: path
    required: true
  adoption:
    description: RV(flaskops.production.adoption_plan#module:adoption) of the plan.
    type: dict
    required: true
  owner:
    description: The owner of C(shared/.env), which its group may read.
    type: str
    default: root
  user:
    description: The user that will run the application.
    type: str
    required: true
  group:
    description: The group of that user.
    type: str
    required: true
  web_group:
    description: The group that Nginx runs as.
    type: str
    required: true
  unlock:
    description: Remove the deploy lock of another run.
    type: bool
    default: false
extends_documentation_fragment:
  - flaskops.production.attributes
  - flaskops.production.attributes.of_this_run
notes:
  - A file in C(shared/) that a copy would replace, and that no earlier run of the adoption has put there, is refused
    before anything is copied.
seealso:
  - module: flaskops.production.adoption_plan
  - module: flaskops.production.adoption_activate
"""

EXAMPLES = r"""
- name: Copy the data
  flaskops.production.adoption_copy:
    root: /srv/shop
    adoption: "{{ adoption.adoption }}"
    user: ada
    group: ada
    web_group: www-data
"""

RETURN = r"""
files:
  description: The number of copied files and databases.
  returned: success
  type: int
  sample: 1203
bytes:
  description: Their size in bytes.
  returned: success
  type: int
  sample: 48120394
"""

import grp
import os
import pwd
from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._adoption.data import (
    DataCopier,
    DataOrigin,
    DataOwner,
    find_conflicts,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.deployment import (
    OldDeployment,
    parse_deployment,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.environment import (
    build_environment,
    replace_env_paths,
    write_environment,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.record import COPYING, AdoptionRecord
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.lock import DeployLock, LockedError
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError, format_error
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule
from ansible_collections.flaskops.production.plugins.module_utils._core.text import one_line
from ansible_collections.flaskops.production.plugins.module_utils._files.links import SymlinkError


class CopyOptions(NamedTuple):
    deployment: OldDeployment
    # The UID of the owner of shared/.env.
    env_uid: int
    owner: DataOwner


def parse_options(params: dict) -> CopyOptions:
    """Parse the options. Raises KeyError if an account does not exist."""
    return CopyOptions(
        deployment=parse_deployment(params["adoption"]),
        env_uid=pwd.getpwnam(params["owner"]).pw_uid,
        owner=DataOwner(
            pwd.getpwnam(params["user"]).pw_uid,
            grp.getgrnam(params["group"]).gr_gid,
            grp.getgrnam(params["web_group"]).gr_gid,
        ),
    )


def copy_deployment(layout: Layout, options: CopyOptions) -> dict:
    """Copy the environment and the data. Return the results of the module."""
    old, owner = options.deployment, options.owner
    record = AdoptionRecord(layout)
    conflicts = [] if record.read() else find_conflicts(layout, old.moves, owner, old.tops)
    if conflicts:
        raise ReleaseError(
            f"{one_line(conflicts[0])} exists with other content than the copy: move it away. Nothing was copied."
        )
    content = record.write(state=COPYING, directory=old.directory, code=old.code, unit=old.unit)
    copier = DataCopier(layout, old.moves, owner, DataOrigin(old.tops, old.user), content.get("known", {}))
    changed = False
    if old.dotenv + old.environment + old.unit_variables:
        text = build_environment(old.unit, old.dotenv, old.environment, old.tops)
        text = replace_env_paths(text, old.rewrites, old.code)
        changed = write_environment(layout, text, options.env_uid, owner.gid)
    copier.copy()
    record.write(known=copier.known, owner=list(owner))
    return {"files": copier.files, "bytes": copier.bytes, "changed": changed or bool(copier.changed)}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "adoption": {"type": "dict", "required": True},
            "owner": {"type": "str", "default": "root"},
            "user": {"type": "str", "required": True},
            "group": {"type": "str", "required": True},
            "web_group": {"type": "str", "required": True},
            "run": {"type": "dict"},
            "unlock": {"type": "bool", "default": False},
        },
    )
    layout = Layout(module.params["root"])
    lock = DeployLock(layout, module.params["run"])
    os.umask(0o022)
    try:
        ReleaseStore(layout).create_directories()
        lock.acquire(force=module.params["unlock"])
        try:
            result = copy_deployment(layout, parse_options(module.params))
        except BaseException:
            lock.release()
            raise
        lock.release_guard()
    except LockedError as error:
        module.fail_json(msg=str(error), **error.result())
    except (ReleaseError, SymlinkError, OSError, KeyError) as error:
        module.fail_json(msg=format_error(error, layout.root))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
