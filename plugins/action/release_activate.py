# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Activate a release: tell the host which run does it; documented in plugins/modules/release_activate.py."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.flaskops.production.plugins.plugin_utils._run import execute


class ActionModule(ActionBase):
    """Executes the module as this run, so that a lock names its holder and a dead holder is replaced."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        result.update(execute(self, self._task.args, task_vars or {}))
        return result
