#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: tree
short_description: Create and correct many directories and files in one call (internal to the roles)
version_added: "1.0.0"
author:
  - The flaskops.production contributors (@flaskops)
description:
  - Creates and corrects a list of paths, each with type, owner, group and mode, and optional content of files.
    One call replaces a looped M(ansible.builtin.file) task with one remote execution for each path.
  - Everything is checked before the first change. A wrong mode, an unknown user, a missing parent directory or a
    symbolic link in the way fails the task with the host as it was.
  - Only the listed paths are changed. Their content is left alone, and nothing is deleted except a file that is listed
    as V(absent).
  - A symbolic link at a listed path, or between a listed path and another one above it, is refused, even when the owner
    of one of the directories puts it there while the module runs. A link higher up, such as C(/srv) pointing to
    C(/data/srv), is followed when the link and its directory belong to root or to the user that runs the module.
attributes:
  check_mode:
    support: full
    description: Predicts the changes of a run exactly, and changes nothing.
  diff_mode:
    support: full
    description:
      - Lists the paths that change with type, owner, group and mode before and after, and shows content as text.
      - Content given in O(secret_contents) is never shown, only that it differs.
  platform:
    support: full
    platforms: linux
    description: The kind of host that the module works on.
options:
  entries:
    description:
      - The paths, in this order. A directory comes before its content. No path may be listed twice.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description:
          - The absolute path, without C(..) in it.
        type: path
        required: true
      type:
        description:
          - The type of O(entries[].path). An existing path of another type is refused, not replaced.
          - With V(absent), a regular file is removed. It needs no other option, and its directory need not exist.
          - With V(socket), an existing Unix socket gets its owner, group and mode. It is never created, because
            only the program that listens on it can do that. Its directory need not exist, but its owner and group
            must.
          - The default is V(file) if content is set, here or in O(secret_contents), and V(directory) otherwise.
        type: str
        choices:
          - directory
          - file
          - socket
          - absent
      owner:
        description:
          - Name or number of the owner.
          - When omitted, an existing path keeps its owner, and a new one belongs to the user that runs the module.
          - In check mode, a user that does not exist yet is reported as a change.
        type: str
      group:
        description:
          - Name or number of the group.
          - When omitted, an existing path keeps its group, and a new one gets that of the user that runs the module.
          - In check mode, a group that does not exist yet is reported as a change.
        type: str
      mode:
        description:
          - The mode as a quoted octal number of three or four digits, such as V("0755") or V("2750").
          - It is set exactly. A set-group-ID bit that is not part of it is removed.
          - A number without quotes is refused, because YAML may have read it as octal or as decimal.
          - Required unless O(entries[].type=absent).
        type: raw
      users:
        description:
          - Users with the permissions of the directory's group that are not members of the group.
          - They become entries of its access control list. Entries of other users are removed.
          - When omitted, an existing access control list is not changed.
          - Ignored on a file system without access control lists.
        type: list
        elements: str
      content:
        description:
          - The exact text of the file, written in UTF-8 and replaced by one rename.
          - Without content here or in O(secret_contents), a missing file is created empty, and the bytes
            of an existing one are left alone.
          - The text appears in the diff, in the task's arguments and in logs. Use O(secret_contents) for secrets.
        type: str
      parents:
        description:
          - Whether missing directories above O(entries[].path) are created, with mode V(0755) and owned by the user
            that runs the module. Existing ones are left as they are.
          - With V(false), a missing directory above is an error, unless it is listed earlier.
        type: bool
        default: false
      application:
        description:
          - The application that O(entries[].path) belongs to. A file of another application, or one that was not
            written by this collection, is neither replaced nor removed. The header line names the application.
          - A directory must be empty, or belong to this application.
          - When omitted, any path of the right type is corrected.
        type: str
      setting:
        description:
          - Whether the file or socket is a setting that O(stage) applies to. If the content of one setting differs, all
            settings of the call are staged.
        type: bool
        default: false
  adopt:
    description:
      - Whether files and directories of unknown origin may become part of O(entries[].application).
    type: bool
    default: false
  secret_contents:
    description:
      - The secret contents of files, by O(entries[].path). They do not appear in output, diffs and logs.
      - Values are converted to text.
    type: dict
    default: {}
extends_documentation_fragment:
  - flaskops.production.attributes.of_this_run
  - flaskops.production.attributes.stage
notes:
  - A file or socket with several hard links is refused if its owner, group or mode must change, because the change
    would affect all of its names.
  - SELinux contexts are not managed. A new path inherits the context of its directory, and setting one by path
    afterwards would follow a link that was put there in between.
  - A file replaced for new content loses access control lists and extended attributes of the old one.
seealso:
  - module: ansible.builtin.file
  - module: ansible.builtin.copy
  - module: flaskops.production.symlink_swap
"""

EXAMPLES = r"""
- name: Create the directories of an application
  flaskops.production.tree:
    entries:
      - path: /srv/myapp
        mode: "0755"
        owner: root
        group: root
        parents: true
      - path: /srv/myapp/run
        mode: "1775"
        owner: root
        group: www-data
        users: [myapp]

- name: Write a configuration file beside its directory
  flaskops.production.tree:
    entries:
      - path: /srv/myapp/shared
        mode: "0755"
      - path: /srv/myapp/shared/robots.txt
        mode: "0644"
        content: |
          User-agent: *
          Disallow:

- name: Write an environment file that the runtime group may read
  flaskops.production.tree:
    entries:
      - path: /srv/myapp/shared/.env
        mode: "0640"
        owner: root
        group: www-data
    secret_contents:
      /srv/myapp/shared/.env: "{{ myapp_environment | flaskops.production.environment_file }}"

- name: Let another group connect to an existing socket
  flaskops.production.tree:
    entries:
      - path: /srv/myapp/run/gunicorn.sock
        type: socket
        owner: root
        group: visitors
        mode: "0660"

- name: Remove a file
  flaskops.production.tree:
    entries:
      - path: /etc/logrotate.d/myapp
        type: absent
"""

RETURN = r"""
changed_paths:
  description:
    - The paths that were changed, or would be in check mode, in the order of the changes.
    - If the task fails, these are the paths that were changed before the failure.
  returned: always
  type: list
  elements: str
  sample:
    - /srv/myapp
    - /srv/myapp/run
"""

from typing import Any

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ModuleError
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule, run_module
from ansible_collections.flaskops.production.plugins.module_utils._core.platforms import require_supported_platform
from ansible_collections.flaskops.production.plugins.module_utils._files.applying import apply_change
from ansible_collections.flaskops.production.plugins.module_utils._files.changes import plan_changes
from ansible_collections.flaskops.production.plugins.module_utils._files.entries import (
    ENTRY_OPTIONS,
    Change,
    PathEntry,
    build_diff,
    parse_entries,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.settings import (
    STAGE_OPTION,
    is_activation_unfinished,
    is_application_live,
    open_staged_settings,
)


def argument_spec() -> dict:
    return {
        "entries": {
            "type": "list",
            "elements": "dict",
            "required": True,
            "options": ENTRY_OPTIONS,
        },
        "stage": STAGE_OPTION,
        "run": {"type": "dict"},
        "adopt": {"type": "bool", "default": False},
        # Not part of the entries: the log of the host shows those as one string, in which secrets are not masked.
        "secret_contents": {"type": "dict", "no_log": True, "default": {}},
    }


def stage_settings(params: dict, entries: list[PathEntry], changes: list[Change]) -> list[PathEntry]:
    """Stage the settings for an activation if the application is live. Returns the staged entries."""
    if params["stage"] is None:
        return []
    layout, name = Layout(params["stage"]["root"], params["run"]), params["stage"]["name"]
    settings = [entry for entry in entries if entry.setting and (entry.content is not None or entry.kind == "socket")]
    # A change of owner or mode alone needs no activation.
    differ = any(change.entry in settings and change.before.content != change.after.content for change in changes)
    if not is_application_live(layout, name) or not (differ or is_activation_unfinished(layout)):
        return []
    with open_staged_settings(layout, name, params["run"], params["stage"]["unlock"]) as staged:
        staged.add_entries(settings)
    return settings


def apply_changes(params: dict, entries: list[PathEntry], changes: list[Change], changed: list[str]) -> None:
    """Apply the changes, or stage them. Adds the path of each applied change to changed."""
    staged = stage_settings(params, entries, changes)
    for change in changes:
        if change.entry not in staged:
            apply_change(change)
        changed.append(change.entry.path)


def work(module: AnsibleModule) -> dict[str, Any]:
    require_supported_platform(module)
    changed: list[str] = []
    try:
        entries = parse_entries(module.params["entries"], module.params["secret_contents"])
        changes = plan_changes(entries, module.check_mode, module.params["adopt"])
        if not module.check_mode:
            apply_changes(module.params, entries, changes, changed)
    except (ModuleError, OSError) as error:
        details = error.result() if isinstance(error, ModuleError) else {}
        raise ModuleError(str(error), **details, changed=bool(changed), changed_paths=changed) from error
    return {
        "changed": bool(changes),
        "changed_paths": [change.entry.path for change in changes],
        "diff": build_diff(changes),
    }


def main() -> None:
    run_module(work, argument_spec(), path="entries")


if __name__ == "__main__":
    main()
