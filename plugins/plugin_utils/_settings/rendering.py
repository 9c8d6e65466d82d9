# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the settings of roles without loading the roles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleError
from ansible.template import Templar

from ansible_collections.flaskops.production.plugins.plugin_utils._settings.rules import CONTEXT
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.specs import (
    OPTIONS,
    get_options,
    get_variables,
)


def render_settings(
    roles: Sequence[str], templar: Templar, task_vars: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Return the values of the settings, and a sentence for each error that keeps settings from being rendered."""
    variables = {**get_variables(roles), **task_vars}
    templar.available_variables = variables
    wanted = get_options(roles)
    values: dict[str, Any] = {}
    causes: dict[str, str] = {}
    for name in [*(name for options in OPTIONS.values() for name in options), *CONTEXT]:
        if name in variables:
            try:
                values[name] = to_plain_value(templar.template(variables[name]))
            except AnsibleError as error:
                # Rules skip settings of other roles that cannot be rendered.
                if name in wanted:
                    causes.setdefault(str(error), name)
    return values, [f"{name} cannot be evaluated: {cause}" for cause, name in causes.items()]


def to_plain_value(value: Any) -> Any:
    """Return the value in plain types, in place of Ansible's types for vault values and lazy containers."""
    if getattr(value, "__ENCRYPTED__", False):
        # Before ansible-core 2.19, the type of an inline vault value is not a string.
        return str(value)
    if isinstance(value, Mapping):
        return {key: to_plain_value(value[key]) for key in value}
    if isinstance(value, (list, tuple)):
        return [to_plain_value(item) for item in value]
    return value
