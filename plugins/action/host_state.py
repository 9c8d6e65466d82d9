# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare a host with its description; the documentation is in plugins/modules/host_state.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase

from ansible_collections.flaskops.production.plugins.plugin_utils._settings.description import build_description


class ActionModule(ActionBase):
    """Describes the host by its settings, unless the task does."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        # Made by the main process, inherited by its workers, removed at its end: exactly one run long.
        base = Path(constants.DEFAULT_LOCAL_TMP, "flaskops-descriptions")
        arguments = self._task.args or build_description(self._templar, task_vars, base)
        name = self._task.resolved_action or self._task.action
        result.update(self._execute_module(name, module_args=arguments, task_vars=task_vars))
        return result
