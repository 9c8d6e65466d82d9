# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the descriptions of the roles from the settings of a host."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.template import Templar
from ansible.utils.unsafe_proxy import wrap_var

from ansible_collections.flaskops.production.plugins.plugin_utils._settings.rendering import (
    render_settings,
    to_plain_value,
)
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.specs import ROLES, VARIABLES
from ansible_collections.flaskops.production.plugins.plugin_utils._source.once import run_once

ROLES_WITH_DESCRIPTION = ("flask_app", "layout", "venv", "gunicorn_systemd", "nginx_site", "release")
# Descriptions without secrets: units, Gunicorn's configuration and the site, which every user of a host may read.
SHARED = ("gunicorn_systemd_description", "nginx_site_description")
PER_HOST = ("layout_description", "venv_description", "release_description")
# A variable that compares settings with their unrendered defaults.
UNRENDERED = "__layout_user_named"


def build_description(templar: Templar, task_vars: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Return the options of host_state for the settings of a host.

    Most of the time is spent on units and the site. Hosts with equal settings share them, in a directory below `base`.
    """
    values, problems = render_settings(ROLES_WITH_DESCRIPTION, templar, task_vars)
    if problems:
        raise AnsibleActionFail(" ".join(problems))
    variables = templar.available_variables
    values[UNRENDERED] = to_plain_value(templar.template(variables[UNRENDERED]))
    values["flask_app_roles"] = str(ROLES)
    # Rendered values are marked, so that templates do not render them again.
    variables = {**variables, **wrap_var(values)}
    templar.available_variables = variables
    derived = {
        name: to_plain_value(templar.template(text))
        for name, text in VARIABLES["flask_app"].items()
        if name not in values
    }
    variables = {**variables, **wrap_var(derived)}
    templar.available_variables = variables

    def render(names: tuple[str, ...]) -> dict[str, Any]:
        return {name: to_plain_value(templar.template(variables[name])) for name in names}

    found = {**run_once(base, repr((values, derived)), lambda _inside: render(SHARED)), **render(PER_HOST)}
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
