# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: per_app
author:
  - The flaskops.production contributors (@flaskops)
version_added: "1.0.0"
short_description: A task file, once for each application of a host
description:
  - Returns the path of a task file to include. It includes O(_terms) once for each mapping in the variable
    C(flask_apps), with the mapping's variables, so that roles for one application serve a host that has several.
  - Without C(flask_apps), returns O(_terms) itself.
  - Where C(flask_app_only) names one or more of the applications, separated by commas, the others are left out.
  - The variables of one application are not seen by the next one.
  - The file that is made holds names of variables, never their values. It lies in the run's temporary directory.
options:
  _terms:
    description: The absolute path of the task file.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Prepare every application of this host
  ansible.builtin.include_tasks: "{{ lookup('flaskops.production.per_app', playbook_dir ~ '/tasks/prepare.yml') }}"
"""

RETURN = r"""
_raw:
  description: The path of the task file to include.
  type: list
  elements: str
"""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

import yaml
from ansible import constants
from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

VARIABLE = re.compile(r"(flask_app|layout|venv|gunicorn_systemd|nginx_site|release)_[a-z0-9_]+\Z")


def check(apps: object) -> list[Mapping]:
    """The mappings of flask_apps; refuses what could not be told apart on a host."""
    if not isinstance(apps, (list, tuple)) or not apps or not all(isinstance(app, Mapping) for app in apps):
        raise AnsibleError(
            "flask_apps must be a list of mappings, one for each application, with flask_app_name and more."
        )
    names = [app.get("flask_app_name") for app in apps]
    for name in names:
        if not name:
            raise AnsibleError("flask_apps has an application without flask_app_name.")
        if names.count(name) > 1:
            raise AnsibleError(
                f"flask_apps has {name} more than once: every application needs a flask_app_name of its own."
            )
    unknown = sorted({str(key) for app in apps for key in app if not VARIABLE.match(str(key))})
    if unknown:
        raise AnsibleError(f"flask_apps has {', '.join(unknown)}, which is no variable of this collection's roles.")
    return list(apps)


def chosen(only: object, names: list[str]) -> list[str]:
    """The names of the applications to take; refuses a name that there is not."""
    wanted = only.split(",") if isinstance(only, str) else only if isinstance(only, (list, tuple)) else [only]
    wanted = [str(name).strip() for name in wanted]
    unknown = [name for name in wanted if name not in names]
    if unknown or not wanted:
        raise AnsibleError(
            f"flask_app_only is '{', '.join(wanted)}', but must name one or more of the applications of this host: "
            f"{', '.join(names)}."
        )
    return wanted


def wrapper(task_file: str, apps: list[Mapping], names: list[str]) -> str:
    """Tasks that include the task file for each application. Values stay where they are and are only referred to."""
    tasks = [
        {
            "name": f"Take {app['flask_app_name']}",
            "ansible.builtin.include_tasks": task_file,
            "vars": {str(key): f"{{{{ flask_apps[{index}].{key} }}}}" for key in app},
        }
        for index, app in enumerate(apps)
        if app["flask_app_name"] in names
    ]
    return yaml.safe_dump(tasks, sort_keys=False)


class LookupModule(LookupBase):
    """Write the wrapper, once per run and list of applications."""

    def run(self, terms, variables=None, **kwargs) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        (task_file,) = terms

        def value(name: str) -> object:
            return self._templar.template(variables[name]) if name in variables else None

        several = "flask_apps" in variables
        apps = check(value("flask_apps")) if several else [{"flask_app_name": value("flask_app_name")}]
        names = [app["flask_app_name"] for app in apps]
        if "flask_app_only" in variables:
            names = chosen(value("flask_app_only"), names)
        if not several:
            return [task_file]
        text = wrapper(task_file, apps, names)
        path = Path(constants.DEFAULT_LOCAL_TMP, f"per_app-{hashlib.sha256(text.encode()).hexdigest()[:16]}.yml")
        if not path.exists():
            beside = path.with_suffix(f".{os.getpid()}")
            beside.write_text(text, encoding="utf-8")
            os.replace(beside, path)
        return [str(path)]
