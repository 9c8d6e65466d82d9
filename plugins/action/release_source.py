# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve a release's source on the controller; the documentation is in plugins/modules/release_source.py."""

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

from ansible_collections.flaskops.production.plugins.module_utils._source_spec import SOURCE
from ansible_collections.flaskops.production.plugins.module_utils._text import printable
from ansible_collections.flaskops.production.plugins.plugin_utils._location import is_remote, is_url
from ansible_collections.flaskops.production.plugins.plugin_utils._paths import places
from ansible_collections.flaskops.production.plugins.plugin_utils._signature import MINISIGN_KEY
from ansible_collections.flaskops.production.plugins.plugin_utils._source import resolve
from ansible_collections.flaskops.production.plugins.plugin_utils._source_request import Request
from ansible_collections.flaskops.production.plugins.plugin_utils._tree import SourceError

display = Display()

# Which options may name a file or directory of the controller, and when it is something else.
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
# The roles' variables that these arguments carry: what a user has set, so what a message names.
OF_VENV = ("requirements", "packages", "require_hashes", "only_binary")


def variable(argument: str) -> str:
    if argument == "wsgi":
        return "flask_app_wsgi"
    return f"venv_{argument}" if argument in OF_VENV else f"release_{argument}"


def in_variables(message: str) -> str:
    """A message of the argument check with the arguments' names replaced by those of the variables."""
    return re.sub(r"'([a-z_]+)'", lambda match: f"'{variable(match[1])}'" if match[1] in SOURCE else match[0], message)


def check_texts(arguments: dict[str, Any]) -> None:
    """1.10 without quotes has become 1.1 before anyone could see it: refuse numbers where YAML loses digits."""
    for name in ("name", "git_ref", "archive_checksum"):
        if isinstance(arguments.get(name), (float, bool)):
            raise AnsibleActionFail(
                f"{variable(name)}: {arguments[name]!r} is not a text; put the value in quotes, so that YAML keeps it."
            )


class ActionModule(ActionBase):
    """Resolves the source once per run, for every host, batch and play that asks for the same."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        check_texts(self._task.args)
        try:
            arguments = self.validate_argument_spec(argument_spec=SOURCE)[1]
        except AnsibleActionFail as error:
            raise AnsibleActionFail(in_variables(str(error))) from None
        # Made by the main process, inherited by its workers, removed at its end: exactly one run long.
        base = Path(C.DEFAULT_LOCAL_TMP, "flaskops-release-source")
        try:
            release = resolve(self._request(arguments, (task_vars or {}).get("playbook_dir")), base)
        except SourceError as error:
            raise AnsibleActionFail(printable(str(error))) from None
        for warning in release.pop("warnings"):
            display.warning(printable(warning))
        result.update(release, changed=False)
        return result

    def _request(self, arguments: dict[str, Any], playbook_directory: str | None) -> Request:
        playbook_directory = playbook_directory or self._loader.get_basedir()
        sought: list[tuple[str, str]] = []
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
        for name, elsewhere in PATHS.items():
            if values[name] and not elsewhere(values[name]) and not values[name].startswith("-"):
                tried = places(values[name], playbook_directory)
                values[name] = next((place for place in tried if os.path.lexists(place)), tried[0])
                sought += [(name, place) for place in tried if place != values[name]]
        return Request(**values, sought=tuple(sought))
