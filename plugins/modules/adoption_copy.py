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
  - Takes the deploy lock of the application. M(flaskops.production.adoption_switch) copies changed files again, and
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
  - module: flaskops.production.adoption_switch
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

from ansible_collections.flaskops.production.plugins.module_utils._adoption.data import (
    Data,
    Origin,
    Owner,
    Record,
    occupied,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.environment import (
    environment_text,
    rewritten,
    write_environment,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import Move
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.lock import DeployLock, LockedError
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError, format_error
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule
from ansible_collections.flaskops.production.plugins.module_utils._core.text import one_line
from ansible_collections.flaskops.production.plugins.module_utils._files.links import SymlinkError


def copy(layout: Layout, params: dict) -> dict:
    """Copy everything; what is returned."""
    adoption = params["adoption"]
    moves = [Move(**move) for move in adoption["moves"]]
    account = pwd.getpwnam(params["user"])
    gid = grp.getgrnam(params["group"]).gr_gid
    owner = Owner(account.pw_uid, gid, grp.getgrnam(params["web_group"]).gr_gid)
    record = Record(layout)
    origin = Origin(adoption["tops"], adoption["user"])
    there = [] if record.read() else occupied(layout, moves, owner, origin.tops)
    if there:
        raise ReleaseError(
            f"{one_line(there[0])} exists with other content than the copy: move it away. Nothing was copied."
        )
    known = record.write(state="copying", **{key: adoption[key] for key in ("from", "code", "unit")}).get("known", {})
    data = Data(layout, moves, owner, origin, known)
    changed = False
    if adoption["dotenv"] + adoption["environment"] + adoption.get("unit_variables", []):
        text = environment_text(adoption["unit"], adoption["dotenv"], adoption["environment"], origin.tops)
        text = rewritten(text, adoption["rewrites"], adoption["code"])
        changed = write_environment(layout, text, pwd.getpwnam(params["owner"]).pw_uid, gid)
    data.copy()
    record.write(known=data.known, owner=list(owner))
    return {"files": data.files, "bytes": data.bytes, "changed": changed or bool(data.changed)}


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
    params = module.params
    layout = Layout(params["root"])
    lock = DeployLock(layout, params["run"])
    os.umask(0o022)
    try:
        ReleaseStore(layout).create_directories()
        lock.acquire(force=params["unlock"])
        try:
            result = copy(layout, params)
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
