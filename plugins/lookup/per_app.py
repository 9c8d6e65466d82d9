# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: per_app
author:
  - The flaskops.production contributors (@flaskops)
version_added: "1.0.0"
short_description: Return a task file that runs once for each application of a host (internal to the roles)
description:
  - Returns the path of a task file to include. The file includes O(_terms) once for each mapping in the
    variable C(flask_apps), with the mapping's variables. So roles for one application serve a host with several.
  - Without C(flask_apps), returns O(_terms) itself.
  - If C(flask_app_only) names one or more of the applications, separated by commas, the others are left out. A host
    without any of them is left alone, and C(__per_app_none) is set there, so that a report can distinguish it from an
    unreachable host. An application that no host of the play has is refused.
  - The variables of one application are not visible to the next one.
  - With O(batches=true), O(_terms) is included on one batch of the play's hosts after the other, according to
    C(flask_app_serial). An application with C(flask_app_serial) in its mapping has batches of its own within each of
    those.
  - The generated file has names of variables, never their values. It is in the run's temporary directory.
options:
  _terms:
    description: The absolute path of the task file.
    type: str
    required: true
  batches:
    description:
      - Whether to apply C(flask_app_serial), of all hosts and of an application. It works as C(serial) of a play. A
        number of hosts, a percentage, or a list of such batches, the last of which repeats.
      - Unlike with C(serial), the other hosts stay in the play, so that one of them can clean up if a whole batch
        fails. If hosts have different values in the inventory, the first one applies.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Prepare every application of this host
  ansible.builtin.include_tasks: "{{ lookup('flaskops.production.per_app', playbook_dir ~ '/tasks/prepare.yml') }}"

- name: Activate every application in its batches
  ansible.builtin.include_tasks:
    file: "{{ lookup('flaskops.production.per_app', playbook_dir ~ '/tasks/activate.yml', batches=true) }}"
"""

RETURN = r"""
_raw:
  description: The path of the task file to include.
  type: list
  elements: str
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.lookup import LookupBase

from ansible_collections.flaskops.production.plugins.plugin_utils._run.play import setting_of_hosts
from ansible_collections.flaskops.production.plugins.plugin_utils._run.tasks import task_file
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.applications import (
    check_applications,
    list_application_names,
    select_applications,
    split_batches,
)
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.names import list_known_names


def format_wrapper(
    path: str, apps: Sequence[Mapping], names: Sequence[str], batches: list[list[str]] | None = None
) -> str:
    """Return tasks that include the task file for each application. They refer to variables instead of their values.

    Batches of hosts are included one after the other. Batches of an application are within them.
    """
    tasks = []
    for batch in batches or [[]]:
        for index, app in enumerate(apps):
            name = app["flask_app_name"]
            if name not in names:
                continue
            task = {
                "name": f"Include the tasks of {name}",
                "ansible.builtin.include_tasks": path,
                # Other values can refer to the name.
                "vars": {**{str(key): format_reference(index, key) for key in app}, "flask_app_name": str(name)},
            }
            if batches and "flask_app_serial" in app:
                tasks += split_task(task, split_batches(name, app["flask_app_serial"], batch))
            elif batches and len(batches) > 1:
                tasks += split_task(task, batches[: batches.index(batch) + 1])[-1:]
            else:
                tasks.append(task)
    if not names:
        tasks = [{"name": "Skip all applications", "ansible.builtin.set_fact": {"__per_app_none": True}}]
    return yaml.safe_dump(tasks, sort_keys=False)


def split_task(task: Mapping, batches: list[list[str]]) -> list[dict]:
    """Return the task once for each batch, with the hosts of the batch and of the batches before as variables."""
    return [
        {
            **task,
            "name": f"{task['name']} on batch {number}",
            "when": f"inventory_hostname in {json.dumps(batch)}",
            "vars": {
                **task.get("vars", {}),
                "__release_batch": batch,
                "__release_batches_before": batches[: number - 1],
            },
        }
        for number, batch in enumerate(batches, 1)
    ]


def format_reference(index: int, key: object) -> str:
    return f"{{{{ lookup('flaskops.production.of_app', {index}, '{key}') }}}}"


def format_failure(message: str) -> str:
    """Return a task that fails with a message. If the lookup failed, Ansible would add its own words to the message."""
    # Text of a user in the message may look like a template.
    return f"- name: Refuse the settings\n  ansible.builtin.fail:\n    msg: !unsafe {json.dumps(message)}\n"


class LookupModule(LookupBase):
    """Writes the wrapper, once per run and list of applications."""

    def run(self, terms, variables=None, **kwargs) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        try:
            return [self.write_file(terms[0], variables, boolean(kwargs.get("batches", False)))]
        except AnsibleError as error:
            return [task_file("per_app", format_failure(error.message))]

    def write_file(self, path: str, variables: Mapping, in_batches: bool) -> str:
        """Write the file to include, if one is needed. Return its path."""
        several = "flask_apps" in variables
        apps: Sequence[Mapping] = (
            check_applications(self.read_applications(variables))
            if several
            else [{"flask_app_name": self.read_value("flask_app_name", variables)}]
        )
        names: list[str] = [app["flask_app_name"] for app in apps]
        if "flask_app_only" in variables:
            hosts = self.read_value("ansible_play_hosts_all", variables) or []
            others = list_application_names(hosts, variables.get("hostvars", {}))
            names = select_applications(self.read_value("flask_app_only", variables), names, others)
        batches = self.find_batches(variables) if in_batches else None
        if not several and names:
            if batches is None or len(batches) < 2:
                return path
            # The variables of the host apply, so hosts with different applications share the file and its batches.
            task = {"name": "Include the tasks of the application", "ansible.builtin.include_tasks": path}
            return task_file("per_app", yaml.safe_dump(split_task(task, batches), sort_keys=False))
        return task_file("per_app", format_wrapper(path, apps, names, batches))

    def find_batches(self, variables: Mapping) -> list[list[str]]:
        """Return the batches of the play, as of `serial`. A play with `serial` would end if a whole batch failed."""
        serial = setting_of_hosts(self, "flask_app_serial", variables, "100%")
        # YAML cannot write Ansible's types of strings.
        hosts = [str(host) for host in self.read_value("ansible_play_batch", variables) or []]
        return split_batches("the play", serial, hosts)

    def read_value(self, name: str, variables: Mapping) -> Any:
        return self._templar.template(variables[name]) if name in variables else None

    def read_applications(self, variables: Mapping) -> object:
        """Return flask_apps with the values that are needed here. Other values may refer to variables of the roles."""
        apps = variables["flask_apps"]
        if not isinstance(apps, (list, tuple)):
            apps = self.render(apps, variables)
        if not isinstance(apps, (list, tuple)):
            return apps
        return [self.read_application(app, variables) for app in apps]

    def read_application(self, app: object, variables: Mapping) -> object:
        """Return the mapping of an application, with the values of the settings that are needed here."""
        app = app if isinstance(app, Mapping) else self.render(app, variables)
        if not isinstance(app, Mapping):
            return app
        found: dict[str, object] = dict.fromkeys(app)
        for name in ("flask_app_name", "flask_app_root", "flask_app_serial"):
            if name in app:
                found[name] = self.render(app[name], {**variables, **found})
        return found

    def render(self, value: object, variables: Mapping) -> object:
        """Render a value. Variables that only the roles define are empty."""
        available = {**dict.fromkeys(list_known_names(), ""), **variables}
        return self._templar.copy_with_new_env(available_variables=available).template(value)
