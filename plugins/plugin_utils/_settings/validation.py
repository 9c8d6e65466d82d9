# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Validate settings: their types, their kinds, the rules between them, and the names of all variables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.template import Templar

from ansible_collections.flaskops.production.plugins.plugin_utils._settings import rules
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.accepted import SETTING_KINDS
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.names import find_misspelt
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.rendering import render_settings
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.specs import get_options


def find_setting_problems(roles: Sequence[str], templar: Templar, task_vars: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each problem of the settings of these roles and of the names of all variables."""
    values, problems = render_settings(roles, templar, task_vars)
    # A setting that cannot be rendered would be reported as missing.
    return problems or validate_values(roles, values) + find_name_problems(map(str, task_vars))


def validate_values(roles: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each problem.

    `values` are the settings of the roles, including defaults, and other values that rules read.
    """
    options = get_options(roles)
    given = {name: values[name] for name in options if name in values}
    strings = [name for name in given if options[name].get("type") == "list" and isinstance(given[name], str)]
    problems = [f"{name}: a string is set, but a list is accepted: put the value in brackets." for name in strings]
    options = {name: option for name, option in options.items() if name not in strings}
    given = {name: value for name, value in given.items() if name not in strings}
    typed, errors = _convert_types(options, given)
    problems += errors.values()
    for name in given:
        if name not in errors and name in SETTING_KINDS and typed.get(name) is not None:
            problems += SETTING_KINDS[name].find_problems(name, typed[name])
    # Rules rely on the types of the settings that they read.
    if not errors and not strings:
        known = {**values, **typed}
        problems += [problem for role in roles for rule in rules.RULES.get(role, ()) for problem in rule(known)]
    return problems


def find_name_problems(names: Iterable[str]) -> list[str]:
    """Return a sentence for each variable whose name nearly equals that of a setting."""
    return [
        f"{name} is set, but no role reads it: {meant} is meant. Rename it, or give a variable of your own another "
        "name."
        for name, meant in find_misspelt(names)
    ]


def _convert_types(options: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values in the types of the specification, and a sentence for each value of another type."""
    result = ArgumentSpecValidator(options).validate(given, validate_role_argument_spec=True)
    if not result.error_messages:
        return result.validated_parameters, {}
    alone = {
        name: ArgumentSpecValidator({name: option}).validate(
            {name: given[name]} if name in given else {}, validate_role_argument_spec=True
        )
        for name, option in options.items()
    }
    errors = {name: f"{' '.join(one.error_messages)}." for name, one in alone.items() if one.error_messages}
    return {name: alone[name].validated_parameters.get(name) for name in options if name not in errors}, errors
