#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: runtime_user
short_description: Compare the user of an application with its account and its data (internal to the roles)
version_added: "1.0.0"
author:
  - The flaskops.production contributors (@flaskops)
description:
  - Used by the role P(flaskops.production.layout#role).
  - Reports whether the account exists, and refuses an account with another purpose, unless it was set explicitly.
  - Reports whether the data belongs to another user. With O(hand_over), gives it to the user. The former user keeps
    access by access control lists until M(flaskops.production.release_activate) has replaced its process, so no request
    fails in the meantime.
  - Only files of the former user in C(shared/) change their owner. Links are not followed, and files with several hard
    links are left alone.
attributes:
  check_mode:
    support: full
    description: Reports a handover, and changes nothing.
  diff_mode:
    support: none
    description: File names of the application are not shown.
options:
  root:
    description: The application's directory, such as C(/srv/myapp).
    type: path
    required: true
  user:
    description: The user that runs the application.
    type: str
    required: true
  group:
    description: The main group of that user.
    type: str
    required: true
  web_group:
    description: The group of uploads, which lets Nginx read them.
    type: str
    required: true
  named:
    description:
      - Whether the user was set explicitly. Otherwise, an account or a group of this name with another purpose is
        refused.
    type: bool
    default: false
  hand_over:
    description: Whether the owner of data of another user is changed to this one.
    type: bool
    default: false
extends_documentation_fragment:
  - flaskops.production.attributes
seealso:
  - module: flaskops.production.tree
"""

EXAMPLES = r"""
- name: Compare the account and the data with the settings
  flaskops.production.runtime_user:
    root: /srv/myapp
    user: myapp
    group: myapp
    web_group: www-data
  register: found

- name: Hand the data over
  flaskops.production.runtime_user:
    root: /srv/myapp
    user: myapp
    group: myapp
    web_group: www-data
    hand_over: true
  when: found.former != ''
"""

RETURN = r"""
exists:
  description: Whether the account exists.
  returned: success
  type: bool
  sample: true
former:
  description: The other user that owns the data; empty if there is none.
  returned: success
  type: str
  sample: www-data
in_handover:
  description: Whether the former user has access to the data, or will have after the handover.
  returned: success
  type: bool
  sample: false
"""

import grp
import os
import pwd
from typing import Any

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._core.accounts import get_user_name
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ModuleError, format_error
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule, run_module
from ansible_collections.flaskops.production.plugins.module_utils._files.foreign import find_account_conflict
from ansible_collections.flaskops.production.plugins.module_utils._releases.former_user import (
    find_former_owner,
    plan_transfer,
    read_transfer,
    start_transfer,
)

# The number of paths in a warning; further ones are counted.
MAX_PATHS = 3


class AccountError(ModuleError):
    """A user that the application cannot run as. The message is complete sentences."""


def find_account(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def check_account(params: dict) -> pwd.struct_passwd | None:
    """Return the account, or None. Raises AccountError for an account with another purpose."""
    reason = "" if params["named"] else find_account_conflict(params["user"], params["group"], params["root"])
    if reason:
        raise AccountError(f"{reason} Nothing was changed.")
    return find_account(params["user"])


def check_former_owner(layout: Layout, former: os.stat_result | None, params: dict) -> None:
    """Raise AccountError if the owner of the data is unknown: on shared storage, hosts would change it in turns."""
    if former is None or not get_user_name(former.st_uid).isdigit():
        return
    media = os.path.join(layout.shared, "media")
    raise AccountError(
        f"{media} belongs to UID {former.st_uid}, which does not exist on this host. On storage that hosts "
        f"share, {params['user']} must have the same UID on all of them. Elsewhere, create that user, or run "
        f"chown -hR {params['user']} {media} once the account {params['user']} exists. Nothing was changed."
    )


def transfer_data(module: AnsibleModule, layout: Layout, account: pwd.struct_passwd, former: os.stat_result) -> None:
    gid, web_gid = (grp.getgrnam(module.params[name]).gr_gid for name in ("group", "web_group"))
    unchanged = start_transfer(layout, plan_transfer(layout, former, account.pw_uid, gid, web_gid))
    if unchanged:
        more = f" and {len(unchanged) - MAX_PATHS} more" if len(unchanged) > MAX_PATHS else ""
        module.warn(
            f"{', '.join(map(repr, unchanged[:MAX_PATHS]))}{more} still belong to {get_user_name(former.st_uid)}: they "
            "have several hard links, or are nested too deep. Check them, and change their owner with "
            f"chown -h {account.pw_name} PATH."
        )


def work(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    layout, former = Layout(params["root"]), None
    try:
        account = check_account(params)
        former = find_former_owner(layout, account.pw_uid if account else -1)
        check_former_owner(layout, former, params)
        is_transfer = bool(params["hand_over"] and former)
        if is_transfer and account and former and not module.check_mode:
            transfer_data(module, layout, account, former)
    except KeyError as error:
        raise AccountError(
            f"A group of the application does not exist on this host: {error}. Create it first."
        ) from None
    except OSError as error:
        raise AccountError(
            f"The owner of the data in {layout.shared} could not be changed to {params['user']}: "
            f"{format_error(error, layout.shared)} {get_user_name(former.st_uid) if former else 'Its user'} still has "
            "access to all of it. If the file system does not allow root to change owners, set flask_app_user to that "
            "user."
        ) from error
    return {
        "changed": is_transfer,
        "exists": account is not None,
        "former": get_user_name(former.st_uid) if former else "",
        "in_handover": bool(former) or read_transfer(layout) is not None,
    }


def main() -> None:
    run_module(
        work,
        {
            "root": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "group": {"type": "str", "required": True},
            "web_group": {"type": "str", "required": True},
            "named": {"type": "bool", "default": False},
            "hand_over": {"type": "bool", "default": False},
        },
    )


if __name__ == "__main__":
    main()
