# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's class for modules, whose results a terminal shows and does not obey. Private to the collection."""

from __future__ import annotations

from typing import Any, NoReturn

from ansible.module_utils import basic
from ansible.module_utils.common.parameters import remove_values

from ansible_collections.flaskops.production.plugins.module_utils._text import printable, printable_data


class AnsibleModule(basic.AnsibleModule):
    """Escapes control characters in everything that reaches a person: results, errors, warnings and differences."""

    def exit_json(self, **kwargs: Any) -> NoReturn:
        super().exit_json(**self._shown(kwargs))

    def fail_json(self, msg: str, **kwargs: Any) -> NoReturn:
        super().fail_json(self._shown(str(msg)), **self._shown(kwargs))

    def warn(self, warning: str, *args: Any, **kwargs: Any) -> None:
        super().warn(printable(warning), *args, **kwargs)

    def _shown(self, data: Any) -> Any:
        # Ansible hides secrets later, and would not know one that has been escaped.
        return printable_data(remove_values(data, self.no_log_values))
