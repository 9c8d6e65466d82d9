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
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.accepted import OF_SETTINGS
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.names import misspelt
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.rendering import render_settings
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.specs import options_of


def find_faults(roles: Sequence[str], templar: Templar, task_vars: Mapping[str, Any]) -> list[str]:
    """One sentence for each fault of the settings of these roles, and of the names of all variables."""
    values, faults = render_settings(roles, templar, task_vars)
    # What cannot be rendered is not missing.
    return faults or validate(roles, values) + name_faults(map(str, task_vars))


def validate(roles: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    """One sentence for each fault.

    values: the settings of the roles, defaults included, and what rules read beside them.
    """
    options = options_of(roles)
    given = {name: values[name] for name in options if name in values}
    strings = [name for name in given if options[name].get("type") == "list" and isinstance(given[name], str)]
    faults = [f"{name}: a string is set, but a list is accepted: put the value in brackets." for name in strings]
    options = {name: option for name, option in options.items() if name not in strings}
    given = {name: value for name, value in given.items() if name not in strings}
    typed, wrong = _typed(options, given)
    faults += wrong.values()
    for name in given:
        if name not in wrong and name in OF_SETTINGS and typed.get(name) is not None:
            faults += OF_SETTINGS[name].faults(name, typed[name])
    # A rule relies on the types of all settings that it reads.
    if not wrong and not strings:
        known = {**values, **typed}
        faults += [fault for role in roles for rule in rules.OF_ROLES.get(role, ()) for fault in rule(known)]
    return faults


def name_faults(names: Iterable[str]) -> list[str]:
    """One sentence for each variable whose name nearly equals that of a setting."""
    return [
        f"{name} is set, but no role reads it: {meant} is meant. Rename it, or give a variable of your own another "
        "name."
        for name, meant in misspelt(names)
    ]


def _typed(options: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of the types in the specification, and a sentence for each that has another one."""
    result = ArgumentSpecValidator(options).validate(given, validate_role_argument_spec=True)
    if not result.error_messages:
        return result.validated_parameters, {}
    alone = {
        name: ArgumentSpecValidator({name: option}).validate(
            {name: given[name]} if name in given else {}, validate_role_argument_spec=True
        )
        for name, option in options.items()
    }
    wrong = {name: f"{' '.join(one.error_messages)}." for name, one in alone.items() if one.error_messages}
    return {name: alone[name].validated_parameters.get(name) for name in options if name not in wrong}, wrong
