# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The values of settings as the roles see them, without loading the roles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleError
from ansible.template import Templar

from ansible_collections.flaskops.production.plugins.plugin_utils._settings.rules import CONTEXT
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.specs import (
    OPTIONS,
    options_of,
    variables_of,
)


def render_settings(
    roles: Sequence[str], templar: Templar, task_vars: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """The values of the settings, and one sentence for each cause for which some cannot be rendered."""
    variables = {**variables_of(roles), **task_vars}
    templar.available_variables = variables
    asked, values = options_of(roles), {}
    causes: dict[str, str] = {}
    for name in [*(name for options in OPTIONS.values() for name in options), *CONTEXT]:
        if name in variables:
            try:
                values[name] = plain(templar.template(variables[name]))
            except AnsibleError as error:
                # Rules read a setting of another role only where it can be read.
                if name in asked:
                    causes.setdefault(str(error), name)
    return values, [f"{name} cannot be evaluated: {cause}" for cause, name in causes.items()]


def plain(value: Any) -> Any:
    """The value without the types that Ansible has for texts and for what is rendered when it is read."""
    if getattr(value, "__ENCRYPTED__", False):
        # A text that is encrypted in place, which ansible-core before 2.19 has as a sequence of its own.
        return str(value)
    if isinstance(value, Mapping):
        return {key: plain(value[key]) for key in value}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
