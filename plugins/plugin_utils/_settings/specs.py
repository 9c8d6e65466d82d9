# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the argument specifications, defaults and variables of the roles."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

try:  # ansible-core 2.19 and newer render only texts that are marked.
    from ansible.template import trust_as_template
except ImportError:
    trust_as_template = str

ROLES = Path(__file__).parents[3] / "roles"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# The specifications of variables that only playbooks read, by role.
PLAYBOOK_OPTIONS: dict[str, dict[str, Any]] = {
    "adopt": {
        "adopt_from": {"type": "str"},
        "adopt_unit": {"type": "str"},
        "adopt_leave": {"type": "list", "elements": "str"},
    },
    "doctor": {"doctor_fail_on": {"type": "str", "choices": ["error", "warning", "never"]}},
    "release": {"flask_app_serial": {"type": "raw"}, "flask_app_max_fail_percentage": {"type": "raw"}},
}


def _read(path: Path) -> dict[str, Any]:
    return (yaml.load(path.read_text(encoding="utf-8"), LOADER) or {}) if path.exists() else {}


def trust_templates(value: Any) -> Any:
    """Return the value with its texts marked as templates."""
    if isinstance(value, dict):
        return {key: trust_templates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [trust_templates(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) else value


def _read_options(role: str) -> dict[str, Any]:
    spec = _read(ROLES / role / "meta/argument_specs.yml").get("argument_specs", {})
    return {**spec.get("main", {}).get("options", {}), **PLAYBOOK_OPTIONS.get(role, {})}


# Read in the main process, on import. Workers, one for each task and host, share the result.
NAMES = (*sorted(path.name for path in ROLES.iterdir() if path.is_dir()), "adopt", "doctor")
OPTIONS = {role: _read_options(role) for role in NAMES}
VARIABLES = {
    role: trust_templates({**_read(ROLES / role / "defaults/main.yml"), **_read(ROLES / role / "vars/main.yml")})
    for role in NAMES
}


def get_options(roles: Iterable[str]) -> dict[str, Any]:
    """Return the specifications of the settings of these roles."""
    return {name: option for role in roles for name, option in OPTIONS[role].items()}


def get_variables(roles: Iterable[str]) -> dict[str, Any]:
    """Return the defaults and variables of these roles, as templates."""
    return {name: value for role in roles for name, value in VARIABLES[role].items()}
