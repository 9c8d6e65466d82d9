# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: with_variables
short_description: Include a task file with variables whose names only the run knows
version_added: "1.0.0"
author:
  - The flaskops.production contributors (@flaskops)
description:
  - Used by the playbook C(flaskops.production.adopt).
  - Returns the path of a task file that includes another one with variables of these names. Their values stay where
    they are and are only referred to, so that each host has its own.
options:
  _terms:
    description: The absolute path of the task file, and an expression that leads to a mapping of the variables.
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
- name: Take over with what was found
  ansible.builtin.include_tasks:
    file: >-
      {{ lookup('flaskops.production.with_variables', playbook_dir ~ '/tasks/take_over.yml', 'found',
                names=found | list) }}
"""

RETURN = r"""
_raw:
  description: The path of the task file.
  type: list
  elements: str
"""

import hashlib
import os
from pathlib import Path

import yaml
from ansible import constants
from ansible.plugins.lookup import LookupBase


def wrapper(task_file: str, expression: str, names: list[str]) -> str:
    """Tasks that include the task file with the variables."""
    task = {
        "name": "Apply what was found",
        "ansible.builtin.include_tasks": task_file,
        "vars": {name: f"{{{{ {expression}['{name}'] }}}}" for name in sorted(names)},
    }
    return yaml.safe_dump([task], sort_keys=False)


class LookupModule(LookupBase):
    """Write the wrapper, once per run and list of names."""

    def run(self, terms, variables=None, **kwargs) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        task_file, expression = terms
        text = wrapper(str(task_file), str(expression), [str(name) for name in self.get_option("names")])
        path = Path(constants.DEFAULT_LOCAL_TMP, f"with_variables-{hashlib.sha256(text.encode()).hexdigest()[:16]}.yml")
        if not path.exists():
            beside = path.with_suffix(f".{os.getpid()}")
            beside.write_text(text, encoding="utf-8")
            os.replace(beside, path)
        return [str(path)]
