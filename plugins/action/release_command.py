# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command of a release: tell the host who does it."""

from __future__ import annotations

from ansible.plugins.action import ActionBase

from ansible_collections.flaskops.production.plugins.plugin_utils._run import execute


class ActionModule(ActionBase):
    """The controller's half of release_command."""

    def run(self, tmp=None, task_vars=None) -> dict:
        result = super().run(tmp, task_vars)
        del tmp
        result.update(execute(self, self._task.args, task_vars))
        return result
