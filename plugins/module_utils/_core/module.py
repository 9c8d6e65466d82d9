# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The class of all modules: Ansible's, with results escaped for a terminal."""

from __future__ import annotations

from typing import Any, NoReturn

from ansible.module_utils import basic
from ansible.module_utils.common.parameters import remove_values

from ansible_collections.flaskops.production.plugins.module_utils._core.text import escape_data, escape_text


class AnsibleModule(basic.AnsibleModule):
    """Escape control characters in results, errors, warnings and diffs."""

    def exit_json(self, **kwargs: Any) -> NoReturn:
        super().exit_json(**self._escape(kwargs))

    def fail_json(self, msg: str, **kwargs: Any) -> NoReturn:
        super().fail_json(self._escape(str(msg)), **self._escape(kwargs))

    def warn(self, warning: str, *args: Any, **kwargs: Any) -> None:
        super().warn(escape_text(warning), *args, **kwargs)

    def _escape(self, data: Any) -> Any:
        # Ansible removes secrets later, but would not recognize escaped ones.
        return escape_data(remove_values(data, self.no_log_values))
