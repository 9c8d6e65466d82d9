# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: with_variables
short_description: Include a task file with variables whose names are known at run time (internal to the roles)
version_added: "1.0.0"
author:
  - The flaskops.production contributors (@flaskops)
description:
  - Used by the playbook C(flaskops.production.adopt).
  - Returns the path of a task file that includes another one with variables of these names. The file refers to their
    values, so each host has its own.
options:
  _terms:
    description: The absolute path of the task file, and an expression of a mapping of the variables.
    required: true
    type: list
    elements: str
  names:
    description: The names of the variables.
    required: true
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Adopt with the settings of the plan
  ansible.builtin.include_tasks:
    file: >-
      {{ lookup('flaskops.production.with_variables', playbook_dir ~ '/tasks/adoption.yml', 'found',
                names=found | list) }}
"""

RETURN = r"""
_raw:
  description: The path of the task file.
  type: list
  elements: str
"""

import re
from collections.abc import Iterable

import yaml
from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ansible_collections.flaskops.production.plugins.plugin_utils._run.tasks import task_file

NAME = re.compile(r"[a-z][a-z0-9_]*")


def check_name(name: str) -> str:
    """Return the name of a variable as a plain string. A compromised host could send a template as a name."""
    found = NAME.fullmatch(name)
    if not found:
        raise AnsibleError(f"{name!r} is not the name of a variable.")
    # Older versions of Ansible use their own class for strings from a host, which YAML cannot write.
    return "".join(found.group())


def format_wrapper(path: str, expression: str, names: Iterable[str]) -> str:
    """Return tasks that include the task file with the variables."""
    task = {
        "name": "Apply the settings that were found",
        "ansible.builtin.include_tasks": path,
        "vars": {name: f"{{{{ {expression}['{name}'] }}}}" for name in sorted(map(check_name, names))},
    }
    return yaml.safe_dump([task], sort_keys=False)


class LookupModule(LookupBase):
    """Writes the wrapper, once per run and list of names."""

    def run(self, terms, variables=None, **kwargs) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        path, expression = terms
        return [task_file("with_variables", format_wrapper(str(path), str(expression), self.get_option("names")))]
