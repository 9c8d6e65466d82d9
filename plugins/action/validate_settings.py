# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Validate the settings of roles; the documentation is in plugins/modules/validate_settings.py."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.flaskops.production.plugins.plugin_utils._settings.specs import NAMES
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.validation import find_setting_problems

ARGUMENTS = {"roles": {"type": "list", "elements": "str", "required": True, "choices": list(NAMES)}}


class ActionModule(ActionBase):
    """Validates all settings on the controller, before a host is contacted."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        roles = self.validate_argument_spec(argument_spec=ARGUMENTS)[1]["roles"]
        problems = find_setting_problems(roles, self._templar, task_vars or {})
        result.update(changed=False)
        if problems:
            result.update(failed=True, msg=" ".join(problems))
        return result
