# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage a release, and send its archive to hosts that lack it. plugins/modules/release_stage.py documents it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import format_archive_name
from ansible_collections.flaskops.production.plugins.module_utils._core.text import escape_text
from ansible_collections.flaskops.production.plugins.plugin_utils._run.identity import execute_module
from ansible_collections.flaskops.production.plugins.plugin_utils._source.location import (
    encode_credentials,
    redact_location,
)
from ansible_collections.flaskops.production.plugins.plugin_utils._source.once import run_once
from ansible_collections.flaskops.production.plugins.plugin_utils._source.publish import publish_archive
from ansible_collections.flaskops.production.plugins.plugin_utils._source.tree import SourceError

# Archives of up to this many bytes are sent with the module. A separate file takes four more executions, which cost
# more than the overhead of base64.
MAX_INLINE_BYTES = 2 * 1024**2


class ActionModule(ActionBase):
    """Query the host first, and send the archive if the host lacks it, unless hosts fetch it themselves."""

    # The directory for the archive is created later, and only if the host needs it.
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        arguments = self._build_arguments()
        is_fetched = arguments.get("pull_url") or "directory" in arguments.get("source", {})
        is_queried = not boolean(arguments.pop("send", False)) or self._task.check_mode or is_fetched
        if is_queried:
            result.update(execute_module(self, arguments, task_vars))
            is_complete = result.get("failed") or result.get("present", True) or self._task.check_mode
            if is_complete or is_fetched or arguments.get("only"):
                return result
        archive = Path(arguments["source"]["archive"])
        if archive.stat().st_size <= MAX_INLINE_BYTES:
            content = base64.b64encode(archive.read_bytes()).decode("ascii")
            return execute_module(self, {**arguments, "archive_content": content}, task_vars)
        try:
            remote = self._connection._shell.join_path(self._make_tmp_path(), "release.tar.gz")
            self._transfer_file(str(archive), remote)
            self._fixup_perms2((self._connection._shell.tmpdir, remote), execute=False)
            return execute_module(self, {**arguments, "archive": remote}, task_vars)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)

    def _build_arguments(self) -> dict[str, Any]:
        """Return the arguments of the module. If the host fetches the archive, publish it first."""
        arguments = dict(self._task.args)
        directory, url = arguments.pop("pull_directory", ""), arguments.get("pull_url")
        if not url:
            return arguments
        if directory and not self._task.check_mode and not arguments.get("only"):
            self._publish(arguments["source"], directory)
        # The URL is logged, but its user and password are not.
        return {**arguments, "pull_url": redact_location(url), "pull_credentials": encode_credentials(url)}

    def _publish(self, source: dict[str, Any], directory: str) -> None:
        """Publish the archive once for all hosts of the run. Raises AnsibleActionFail if that is not possible."""
        name = format_archive_name(source)

        def work(_inside: Path) -> dict[str, Any]:
            publish_archive(source["archive"], directory, name)
            return {}

        try:
            run_once(Path(constants.DEFAULT_LOCAL_TMP, "flaskops-publish"), {"in": directory, "name": name}, work)
        except SourceError as error:
            raise AnsibleActionFail(escape_text(str(error))) from None
