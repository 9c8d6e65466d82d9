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
    description: Names of files of the application are not shown.
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
      - Whether the user was set explicitly. Otherwise an account or a group of this name with another purpose is
        refused.
    type: bool
    default: false
  hand_over:
    description: Whether data of another user is given to this one.
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

from ansible_collections.flaskops.production.plugins.module_utils._accounts import get_user_name
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import format_error
from ansible_collections.flaskops.production.plugins.module_utils._former_user import (
    find_former_owner,
    plan_transfer,
    read_transfer,
    start_transfer,
)
from ansible_collections.flaskops.production.plugins.module_utils._module import AnsibleModule
from ansible_collections.flaskops.production.plugins.module_utils._ownership import find_account_conflict
from ansible_collections.flaskops.production.plugins.module_utils._releases import Home

# Paths that a warning names; the rest is counted.
MAX_PATHS = 3


class AccountError(Exception):
    """Why the application may not run as this user, as complete sentences."""


def find_account(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def check_account(params: dict) -> pwd.struct_passwd | None:
    """The account; refuses one that may belong to something else on the host."""
    reason = "" if params["named"] else find_account_conflict(params["user"], params["group"], params["root"])
    if reason:
        raise AccountError(f"{reason} Nothing was changed.")
    return find_account(params["user"])


def check_former_owner(home: Home, former: os.stat_result | None, params: dict) -> None:
    """Refuse data of a user that this host does not know: on shared storage, hosts would take it from each other."""
    if former is None or not get_user_name(former.st_uid).isdigit():
        return
    media = os.path.join(home.shared, "media")
    raise AccountError(
        f"{media} belongs to the user number {former.st_uid}, which this host does not have. On storage that hosts "
        f"share, {params['user']} must have the same number on all of them. Elsewhere, create that user, or run "
        f"chown -hR {params['user']} {media} once the account {params['user']} exists. Nothing was changed."
    )


def transfer_data(module: AnsibleModule, home: Home, account: pwd.struct_passwd, former: os.stat_result) -> None:
    gid, web_gid = (grp.getgrnam(module.params[name]).gr_gid for name in ("group", "web_group"))
    left = start_transfer(home, plan_transfer(home, former, account.pw_uid, gid, web_gid))
    if left:
        names = ", ".join(map(repr, left[:MAX_PATHS])) + (
            f" and {len(left) - MAX_PATHS} more" if len(left) > MAX_PATHS else ""
        )
        module.warn(
            f"{names} still belong to {get_user_name(former.st_uid)}: they have several hard links, or lie too deep. "
            f"Check them, and give them away with chown -h {account.pw_name} PATH."
        )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "group": {"type": "str", "required": True},
            "web_group": {"type": "str", "required": True},
            "named": {"type": "bool", "default": False},
            "hand_over": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    home = Home(params["root"])
    try:
        account = check_account(params)
        former = find_former_owner(home, account.pw_uid if account else -1)
        check_former_owner(home, former, params)
        work = bool(params["hand_over"] and former)
        if work and account and not module.check_mode:
            transfer_data(module, home, account, former)
    except AccountError as error:
        module.fail_json(msg=str(error))
    except KeyError as error:
        module.fail_json(msg=f"A group of the application does not exist on this host: {error}. Create it first.")
    except OSError as error:
        module.fail_json(
            msg=f"The data in {home.shared} could not be given to {params['user']}: {format_error(error, home.shared)} "
            f"{get_user_name(former.st_uid) if former else 'Its user'} still has access to all of it. Where the file "
            "system does not let root change owners, set flask_app_user to that user."
        )
    module.exit_json(
        changed=work,
        exists=account is not None,
        former=get_user_name(former.st_uid) if former else "",
        in_handover=bool(former) or read_transfer(home) is not None,
    )


if __name__ == "__main__":
    main()
