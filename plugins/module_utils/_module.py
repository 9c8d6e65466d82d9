# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's class for modules, whose results a terminal shows and does not obey. Private to the collection."""

from __future__ import annotations

from typing import Any, NoReturn

from ansible.module_utils import basic

from ansible_collections.flaskops.production.plugins.module_utils._text import printable, printable_data


class AnsibleModule(basic.AnsibleModule):
    """Escapes control characters in everything that reaches a person: results, errors, warnings and differences."""

    def exit_json(self, **kwargs: Any) -> NoReturn:
        super().exit_json(**printable_data(kwargs))

    def fail_json(self, msg: str, **kwargs: Any) -> NoReturn:
        super().fail_json(printable(str(msg)), **printable_data(kwargs))

    def warn(self, warning: str, *args: Any, **kwargs: Any) -> None:
        super().warn(printable(warning), *args, **kwargs)
