#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: release_command
short_description: Run a command of a release once (internal to the roles)
version_added: "1.0.0"
author:
  - The flaskops.production contributors (@flaskops)
description:
  - Runs a command in the directory of a staged release, with the release's own packages first in C(PATH),
    C(VIRTUAL_ENV), and the variables of C(shared/.env), which systemd reads on the host. No secret leaves the host.
  - Paths below C(<root>/app) or C(<root>/venv) in variables are replaced by those of this release.
  - A command is recorded with the release and does not run again. A migration runs again if the command or the
    variables of C(shared/.env) have changed, because the database may be another one.
  - Takes the deploy lock of the application while the command runs. The module waits for a migration of a killed run,
    and stops a build.
  - A build runs as the user C(flaskops-build), in a copy of the release that replaces the release after a success. It
    may write to that copy and its own C(HOME) and C(TMPDIR), which are removed afterwards. It cannot read C(shared/),
    other releases, other applications and the home of root.
attributes:
  check_mode:
    support: full
    description: Predicts whether the command runs.
  diff_mode:
    support: none
    description: The effects of the command are unknown.
options:
  name:
    description: The application's name. The unit that runs the command is named after it.
    type: str
    required: true
  root:
    description: The application's directory, such as C(/srv/myapp).
    type: path
    required: true
  release:
    description: The release to run the command in.
    type: str
    required: true
  purpose:
    description: The kind of the command. A release with a build command cannot be activated before the build.
    type: str
    choices: [build, migrate]
    required: true
  command:
    description:
      - The command, a script for bash with C(set -eu -o pipefail). It exits after the first line that fails, including
        a list such as C(cd web && make). A pipeline fails if any of its commands fails. An unset variable is an error.
      - Append C(|| true) to a command that may fail.
    type: str
    required: true
  user:
    description: The user to run a migration as, and the owner of the result of a build.
    type: str
    required: true
  group:
    description: The group to run a migration as.
    type: str
    required: true
  record_only:
    description:
      - Record the command as run without running it.
      - Used for the other hosts of a fleet after a migration on one of them, so that later runs do not repeat it.
    type: bool
    default: false
  timeout:
    description: The time limit of a build, in seconds. Migrations have no time limit.
    type: int
    default: 1800
extends_documentation_fragment:
  - flaskops.production.attributes
  - flaskops.production.attributes.of_this_run
seealso:
  - module: flaskops.production.release_stage
"""

EXAMPLES = r"""
- name: Migrate the database, once for the fleet
  flaskops.production.release_command:
    name: myapp
    root: /srv/myapp
    release: 2026-04-21-120000-1a2b3c4
    purpose: migrate
    command: flask db upgrade
    user: www-data
    group: www-data
  run_once: true
"""

RETURN = r"""
done:
  description: Whether the command has been run.
  returned: in check mode
  type: bool
  sample: true
output:
  description: The last 200 lines of the command's output, with both streams.
  returned: when the command was run
  type: list
  elements: str
  sample: ["INFO  [alembic.runtime.migration] Running upgrade"]
"""

import signal
from typing import Any

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule, run_module
from ansible_collections.flaskops.production.plugins.module_utils._releases.command import is_done, run_with_lock
from ansible_collections.flaskops.production.plugins.module_utils._releases.options import parse_command_options


def work(module: AnsibleModule) -> dict[str, Any]:
    options = parse_command_options(module.params)
    store = ReleaseStore(Layout(options.root, options.run))
    if module.check_mode:
        done = is_done(store.layout, store.read_record(options.release) or {}, options)
        return {"changed": not done, "done": done}
    # The result of the command must be recorded even if the connection is lost.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return run_with_lock(store, options)


def main() -> None:
    run_module(
        work,
        {
            "name": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "purpose": {"type": "str", "choices": ["build", "migrate"], "required": True},
            "command": {"type": "str", "required": True},
            "user": {"type": "str", "required": True},
            "group": {"type": "str", "required": True},
            "record_only": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 1800},
            "run": {"type": "dict"},
        },
    )


if __name__ == "__main__":
    main()
