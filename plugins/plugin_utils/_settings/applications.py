# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the list of applications, and select those of a run and their batches."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping

from ansible.errors import AnsibleError
from ansible.utils.helpers import pct_to_int

from ansible_collections.flaskops.production.plugins.plugin_utils._settings.kinds import BATCHES
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.names import (
    find_nearest,
    list_role_settings,
)

VARIABLE = re.compile(r"(adopt|flask_app|layout|venv|gunicorn_systemd|nginx_site|release)_[a-z0-9_]+\Z")
# Variables of a whole play.
RUN_VARIABLES = ("flask_app_hosts", "flask_app_max_fail_percentage", "flask_app_only")


def check_applications(apps: object) -> list[Mapping]:
    """Return the mappings of flask_apps. Raises AnsibleError for invalid ones and for equal names and directories."""
    if not isinstance(apps, (list, tuple)) or not apps or not all(isinstance(app, Mapping) for app in apps):
        raise AnsibleError(
            "flask_apps must be a list of mappings, one for each application, with flask_app_name and more."
        )
    names = [app.get("flask_app_name") for app in apps]
    if not all(names):
        raise AnsibleError("flask_apps has an application without flask_app_name.")
    for setting, values in (("flask_app_name", names), ("flask_app_root", [app.get("flask_app_root") for app in apps])):
        twice = next((value for value in values if value and values.count(value) > 1), None)
        if twice:
            raise AnsibleError(
                f"flask_apps has {twice} more than once: every application needs a {setting} of its own."
            )
    for name in RUN_VARIABLES:
        if any(name in app for app in apps):
            raise AnsibleError(
                f"flask_apps has {name}, which holds for a whole run: set it with -e, or beside flask_apps."
            )
    check_names({str(key) for app in apps for key in app})
    for app in apps:
        if "flask_app_serial" in app:
            split_batches(app["flask_app_name"], app["flask_app_serial"], [])
    return list(apps)


def check_names(keys: set[str]) -> None:
    """Raise AnsibleError for names that are not settings. The message has similar names."""
    accepted = {name for names in list_role_settings().values() for name in names} | {"flask_app_serial"}
    unknown = sorted(
        key
        for key in keys - accepted
        if not VARIABLE.match(key) or key.startswith(tuple(list_role_settings())) or find_nearest(key, accepted)
    )
    if unknown:
        near = [name for key in unknown for name in difflib.get_close_matches(key, sorted(accepted), n=1, cutoff=0.85)]
        meant = f" The nearest is {', '.join(dict.fromkeys(near))}." if near else ""
        raise AnsibleError(
            f"flask_apps has {', '.join(unknown)}, which is no variable of this collection's roles.{meant}"
        )


def split_batches(name: str, serial: object, hosts: list[str]) -> list[list[str]]:
    """Return the batches of an application, as `serial` of a play. Raises AnsibleError for an invalid value."""
    sizes = list(serial) if isinstance(serial, (list, tuple)) else [serial]
    if not BATCHES.accepts(sizes):
        raise AnsibleError(f"flask_app_serial of {name} is {serial!r}, but must be {BATCHES.accepted}.")
    batches: list[list[str]] = []
    rest = list(hosts)
    while rest:
        size = pct_to_int(str(sizes[min(len(batches), len(sizes) - 1)]), len(hosts))
        batches.append(rest[:size])
        rest = rest[size:]
    return batches


def select_applications(only: object, names: list[str], elsewhere: Iterable[list[str]] = ()) -> list[str]:
    """Return the selected names of this host's applications. Raises AnsibleError for a name that no host has.

    `elsewhere` are the names on the other hosts. They are read only for names that this host does not have.
    """
    wanted = only.split(",") if isinstance(only, str) else only if isinstance(only, (list, tuple)) else [only]
    wanted = [str(name).strip() for name in wanted]
    known, others = list(names), iter(elsewhere)
    while not set(wanted) <= set(known):
        more = next(others, None)
        if more is None:
            break
        known += [name for name in more if name not in known]
    if not wanted or not set(wanted) <= set(known):
        raise AnsibleError(
            f"flask_app_only is '{', '.join(wanted)}', but must name one or more of the applications of these hosts: "
            f"{', '.join(sorted(known))}."
        )
    return [name for name in wanted if name in names]


def list_application_names(hosts: list[str], hostvars: Mapping) -> Iterator[list[str]]:
    """Yield the names of the applications of each host. Invalid settings are skipped; their host reports them."""
    for host in hosts:
        variables = hostvars[host]
        apps = variables.get("flask_apps", [variables])
        if isinstance(apps, (list, tuple)):
            given = [app["flask_app_name"] for app in apps if isinstance(app, Mapping) and "flask_app_name" in app]
            yield [str(name) for name in given]
