# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles want on a host: their descriptions, rendered from the settings of the host."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.template import Templar
from ansible.utils.unsafe_proxy import wrap_var

from ansible_collections.flaskops.production.plugins.plugin_utils._settings.rendering import plain, render_settings
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.specs import ROLES, VARIABLES
from ansible_collections.flaskops.production.plugins.plugin_utils._source.once import run_once

DESCRIBED = ("flask_app", "layout", "venv", "gunicorn_systemd", "nginx_site", "release")
# Units, Gunicorn's configuration and the site: every user of a host may read them, so they hold no secret.
SHARED = ("gunicorn_systemd_description", "nginx_site_description")
OWN = ("layout_description", "venv_description", "release_description")
# It compares settings with their defaults as they are written.
AS_WRITTEN = "__layout_user_named"


def describe(templar: Templar, task_vars: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """The options of host_state for the settings of a host.

    Most of the work is to render units and the site. They follow from the settings, so hosts with the same settings
    share them, in a directory of their own below `base`.
    """
    values, faults = render_settings(DESCRIBED, templar, task_vars)
    if faults:
        raise AnsibleActionFail(" ".join(faults))
    variables = templar.available_variables
    values[AS_WRITTEN] = plain(templar.template(variables[AS_WRITTEN]))
    values["flask_app_roles"] = str(ROLES)
    # A value that is rendered is not rendered again wherever a template reads it.
    variables = {**variables, **wrap_var(values)}
    templar.available_variables = variables
    derived = {
        name: plain(templar.template(text)) for name, text in VARIABLES["flask_app"].items() if name not in values
    }
    variables = {**variables, **wrap_var(derived)}
    templar.available_variables = variables

    def render(names: tuple[str, ...]) -> dict[str, Any]:
        return {name: plain(templar.template(variables[name])) for name in names}

    found = {**run_once(base, repr((values, derived)), lambda _inside: render(SHARED)), **render(OWN)}
    layout = found["layout_description"]
    return {
        "name": values["flask_app_name"],
        "root": values["flask_app_root"],
        "entries": layout["entries"] + found["gunicorn_systemd_description"]["entries"],
        "secret_contents": layout["secret_contents"],
        "account": layout["account"],
        "group": values["flask_app_group"],
        "site": found["nginx_site_description"],
        "release": found["release_description"],
        "venv": found["venv_description"],
        "adopt": values["release_adopt"],
    }
