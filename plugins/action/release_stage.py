# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage a release: send the archive only where it is absent; documented in plugins/modules/release_stage.py."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ansible_collections.flaskops.production.plugins.module_utils._releases import archive_name
from ansible_collections.flaskops.production.plugins.module_utils._text import printable
from ansible_collections.flaskops.production.plugins.plugin_utils._location import credentials, public
from ansible_collections.flaskops.production.plugins.plugin_utils._once import once
from ansible_collections.flaskops.production.plugins.plugin_utils._publish import publish
from ansible_collections.flaskops.production.plugins.plugin_utils._run import execute
from ansible_collections.flaskops.production.plugins.plugin_utils._tree import SourceError

# Bytes of an archive that is sent with the module. A file of its own takes four more executions, which are worth more
# than what base64 adds up to here.
SMALL = 2 * 1024**2


class ActionModule(ActionBase):
    """Looks first, and sends the archive only to a host that lacks it, unless hosts fetch it themselves."""

    # Not before the host has been asked: a directory for the archive is made only where it is needed.
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        arguments = self._arguments()
        is_fetched = arguments.get("pull_url") or "directory" in arguments.get("source", {})
        asked = not boolean(arguments.pop("send", False)) or self._task.check_mode or is_fetched
        if asked:
            result.update(execute(self, arguments, task_vars))
            settled = result.get("failed") or result.get("present", True) or self._task.check_mode
            if settled or is_fetched or arguments.get("only"):
                return result
        archive = Path(arguments["source"]["archive"])
        if archive.stat().st_size <= SMALL:
            content = base64.b64encode(archive.read_bytes()).decode("ascii")
            return execute(self, {**arguments, "archive_content": content}, task_vars)
        try:
            remote = self._connection._shell.join_path(self._make_tmp_path(), "release.tar.gz")
            self._transfer_file(str(archive), remote)
            self._fixup_perms2((self._connection._shell.tmpdir, remote), execute=False)
            return execute(self, {**arguments, "archive": remote}, task_vars)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)

    def _arguments(self) -> dict[str, Any]:
        """The arguments of the module. If the host fetches, the archive is published first."""
        arguments = dict(self._task.args)
        directory, url = arguments.pop("pull_directory", ""), arguments.get("pull_url")
        if not url:
            return arguments
        if directory and not self._task.check_mode and not arguments.get("only"):
            self._publish(arguments["source"], directory)
        # The URL is shown; user and password are not.
        return {**arguments, "pull_url": public(url), "pull_credentials": credentials(url)}

    def _publish(self, source: dict[str, Any], directory: str) -> None:
        """Put the archive into the directory, once for all hosts of the run."""
        name = archive_name(source)

        def work(_inside: Path) -> dict[str, Any]:
            publish(source["archive"], directory, name)
            return {}

        try:
            once(Path(constants.DEFAULT_LOCAL_TMP, "flaskops-publish"), {"in": directory, "name": name}, work)
        except SourceError as error:
            raise AnsibleActionFail(printable(str(error))) from None
