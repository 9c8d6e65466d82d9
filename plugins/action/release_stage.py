# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage a release: look first, and send the archive only to a host that lacks it."""

from __future__ import annotations

from ansible.plugins.action import ActionBase

from ansible_collections.flaskops.production.plugins.plugin_utils._run import execute


class ActionModule(ActionBase):
    """The controller's half of release_stage."""

    # Not before the host has been asked: a directory for the archive is made only where it is needed.
    TRANSFERS_FILES = False

    def run(self, tmp=None, task_vars=None) -> dict:
        result = super().run(tmp, task_vars)
        del tmp
        result.update(execute(self, self._task.args, task_vars))
        if result.get("failed") or result.get("present", True) or self._task.check_mode:
            return result
        try:
            remote = self._connection._shell.join_path(self._make_tmp_path(), "release.tar.gz")
            self._transfer_file(self._task.args["source"]["archive"], remote)
            self._fixup_perms2((self._connection._shell.tmpdir, remote), execute=False)
            return execute(self, {**self._task.args, "archive": remote}, task_vars)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
