# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve the source of a release on the controller. plugins/modules/release_source.py documents it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.flaskops.production.plugins.module_utils._core.text import escape_text
from ansible_collections.flaskops.production.plugins.module_utils._releases.source_options import SOURCE
from ansible_collections.flaskops.production.plugins.plugin_utils._source.location import is_remote, is_url
from ansible_collections.flaskops.production.plugins.plugin_utils._source.paths import list_possible_paths
from ansible_collections.flaskops.production.plugins.plugin_utils._source.request import SourceRequest
from ansible_collections.flaskops.production.plugins.plugin_utils._source.resolve import resolve_source
from ansible_collections.flaskops.production.plugins.plugin_utils._source.signature import MINISIGN_KEY
from ansible_collections.flaskops.production.plugins.plugin_utils._source.tree import SourceError

display = Display()

# Options that name a file or directory on the controller, each with a check for other kinds of values.
PATHS: dict[str, Callable[[str], bool]] = {
    "directory": lambda _: False,
    "archive": is_url,
    "archive_signature": is_url,
    "archive_minisign_key": lambda value: bool(MINISIGN_KEY.fullmatch(value)),
    "archive_gpg_keyring": lambda _: False,
    "git_repo": is_remote,
    "git_gpg_keyring": lambda _: False,
    "git_allowed_signers": lambda _: False,
}
# Arguments that carry variables of the role venv.
VENV_ARGUMENTS = (
    "requirements",
    "packages",
    "require_hashes",
    "only_binary",
    "installer",
    "python",
    "extras",
    "groups",
)


def get_variable(argument: str) -> str:
    """Return the role variable that an argument carries. Messages name the variable, because users set that."""
    if argument == "wsgi":
        return "flask_app_wsgi"
    return f"venv_{argument}" if argument in VENV_ARGUMENTS else f"release_{argument}"


def replace_arguments(message: str) -> str:
    """Replace the names of arguments in a message with the names of variables."""
    return re.sub(
        r"'([a-z_]+)'", lambda match: f"'{get_variable(match[1])}'" if match[1] in SOURCE else match[0], message
    )


def check_strings(arguments: dict[str, Any]) -> None:
    """Raise AnsibleActionFail if a string is a number. Without quotes, YAML reads 1.10 as 1.1."""
    for name in ("name", "git_ref", "archive_checksum"):
        if isinstance(arguments.get(name), (float, bool)):
            raise AnsibleActionFail(
                f"{get_variable(name)}: {arguments[name]!r} is not a string; put the value in quotes, so that YAML "
                "does not change it."
            )


class ActionModule(ActionBase):
    """Resolve the source once per run, for all hosts, batches and plays with the same arguments."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        check_strings(self._task.args)
        try:
            arguments = self.validate_argument_spec(argument_spec=SOURCE)[1]
        except AnsibleActionFail as error:
            raise AnsibleActionFail(replace_arguments(str(error))) from None
        # The main process creates this directory, its workers inherit it, and it is removed at the end of the run.
        base = Path(C.DEFAULT_LOCAL_TMP, "flaskops-release-source")
        try:
            release = resolve_source(self._build_request(arguments, (task_vars or {}).get("playbook_dir")), base)
        except SourceError as error:
            raise AnsibleActionFail(escape_text(str(error))) from None
        for warning in release.pop("warnings"):
            display.warning(escape_text(warning))
        result.update(release, changed=False)
        return result

    def _build_request(self, arguments: dict[str, Any], playbook_directory: str | None) -> SourceRequest:
        playbook_directory = playbook_directory or self._loader.get_basedir()
        tried_paths: list[tuple[str, str]] = []
        values: dict[str, Any] = {}
        for name in SOURCE:
            value = arguments.get(name)
            if isinstance(value, list):
                values[name] = tuple(str(item) for item in value)
            elif isinstance(value, str) or value is None:
                values[name] = str(value or "").strip()
            else:
                values[name] = value
        values["git_ref"] = values["git_ref"] or "HEAD"
        for name, is_other in PATHS.items():
            if values[name] and not is_other(values[name]) and not values[name].startswith("-"):
                tried = list_possible_paths(values[name], playbook_directory)
                values[name] = next((place for place in tried if os.path.lexists(place)), tried[0])
                tried_paths += [(name, place) for place in tried if place != values[name]]
        return SourceRequest(**values, tried_paths=tuple(tried_paths))
