# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The harness of all modules: Ansible's class with escaped results, and the conversion of errors to failures."""

from __future__ import annotations

import os
from typing import Any, Callable, NoReturn

from ansible.module_utils import basic
from ansible.module_utils.common.parameters import remove_values

from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ModuleError, format_error
from ansible_collections.flaskops.production.plugins.module_utils._core.text import escape_data, escape_text


class AnsibleModule(basic.AnsibleModule):
    """Escape control characters in results, errors, warnings and diffs."""

    def exit_json(self, **kwargs: Any) -> NoReturn:
        super().exit_json(**self._escape(kwargs))
        raise AssertionError("exit_json returned")

    def fail_json(self, msg: str, **kwargs: Any) -> NoReturn:
        super().fail_json(self._escape(str(msg)), **self._escape(kwargs))
        raise AssertionError("fail_json returned")

    def warn(self, warning: str, *args: Any, **kwargs: Any) -> None:
        super().warn(escape_text(warning), *args, **kwargs)

    def _escape(self, data: Any) -> Any:
        # Ansible removes secrets later, but would not recognize escaped ones.
        return escape_data(remove_values(data, self.no_log_values))


def run_module(
    work: Callable[[AnsibleModule], dict[str, Any]], argument_spec: dict[str, Any], path: str = "root", **options: Any
) -> None:
    """Run a module: parse its arguments, do its work, and exit with the result of the work.

    A result has the key `changed`, and may have `diff`, which is returned if a diff was requested. A ModuleError or an
    OSError is the failure of the module. path is the option to name in the message of an OSError without a path.
    """
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True, **options)
    os.umask(0o022)
    try:
        result = work(module)
    except ModuleError as error:
        module.fail_json(msg=str(error), **error.result())
    except OSError as error:
        module.fail_json(msg=format_error(error, str(module.params.get(path) or "")))
    if not module._diff:
        result.pop("diff", None)
    module.exit_json(**result)
