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
from collections.abc import Mapping

import yaml
from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.lookup import LookupBase

from ansible_collections.flaskops.production.plugins.plugin_utils._run.play import setting_of_hosts
from ansible_collections.flaskops.production.plugins.plugin_utils._run.tasks import task_file
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.applications import (
    check,
    chosen,
    names_on,
    split,
)
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.names import known


def wrapper(path: str, apps: list[Mapping], names: list[str], batches: list[list[str]] | None = None) -> str:
    """Tasks that include the task file for each application. Values stay where they are and are only referred to.

    Where batches of hosts are given, they are taken one after the other, and those with batches of their own within.
    """
    tasks = []
    for batch in batches or [None]:
        for index, app in enumerate(apps):
            name = app["flask_app_name"]
            if name not in names:
                continue
            task = {
                "name": f"Take {name}",
                "ansible.builtin.include_tasks": path,
                # The name itself, so that the other values can refer to it.
                "vars": {**{str(key): reference(index, key) for key in app}, "flask_app_name": str(name)},
            }
            if batches and "flask_app_serial" in app:
                tasks += by_batch(task, split(name, app["flask_app_serial"], batch))
            elif batches and len(batches) > 1:
                tasks += by_batch(task, batches[: batches.index(batch) + 1])[-1:]
            else:
                tasks.append(task)
    if not names:
        tasks = [{"name": "Take none", "ansible.builtin.set_fact": {"__per_app_none": True}}]
    return yaml.safe_dump(tasks, sort_keys=False)


def by_batch(task: Mapping, batches: list[list[str]]) -> list[dict]:
    """The task for one batch of hosts after the other. It knows the hosts of its own batch and of those before."""
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


def reference(index: int, key: object) -> str:
    return f"{{{{ lookup('flaskops.production.of_app', {index}, '{key}') }}}}"


def refusing(message: str) -> str:
    """Tasks that fail with a message. A lookup that fails is reported with Ansible's own words around the message."""
    # What a user has written may look like a template.
    return f"- name: Refuse the settings\n  ansible.builtin.fail:\n    msg: !unsafe {json.dumps(message)}\n"


class LookupModule(LookupBase):
    """Write the wrapper, once per run and list of applications."""

    def run(self, terms, variables=None, **kwargs) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        try:
            return [self.file(terms[0], variables, boolean(kwargs.get("batches", False)))]
        except AnsibleError as error:
            return [task_file("per_app", refusing(error.message))]

    def file(self, path: str, variables: Mapping, in_batches: bool) -> str:
        """The file to include."""
        several = "flask_apps" in variables
        apps = check(self.apps(variables)) if several else [{"flask_app_name": self.value("flask_app_name", variables)}]
        names = [app["flask_app_name"] for app in apps]
        if "flask_app_only" in variables:
            others = names_on(self.value("ansible_play_hosts_all", variables) or [], variables.get("hostvars", {}))
            names = chosen(self.value("flask_app_only", variables), names, others)
        batches = self.batches(variables) if in_batches else None
        if not several and names:
            if batches is None or len(batches) < 2:
                return path
            # The values are in place, the name too: hosts with different applications share the file and its batches.
            task = {"name": "Take the application", "ansible.builtin.include_tasks": path}
            return task_file("per_app", yaml.safe_dump(by_batch(task, batches), sort_keys=False))
        return task_file("per_app", wrapper(path, apps, names, batches))

    def batches(self, variables: Mapping) -> list[list[str]]:
        """The hosts of the play, as serial would take them: a play with serial ends when a whole batch is lost."""
        serial = setting_of_hosts(self, "flask_app_serial", variables, "100%")
        # Plain texts, which YAML can write.
        hosts = [str(host) for host in self.value("ansible_play_batch", variables) or []]
        return split("the play", serial, hosts)

    def value(self, name: str, variables: Mapping) -> object:
        return self._templar.template(variables[name]) if name in variables else None

    def apps(self, variables: Mapping) -> object:
        """flask_apps, with no more values than are needed here: the others may refer to the roles' own variables."""
        apps = variables["flask_apps"]
        if not isinstance(apps, (list, tuple)):
            apps = self.template(apps, variables)
        if not isinstance(apps, (list, tuple)):
            return apps
        return [self.needed(app, variables) for app in apps]

    def needed(self, app: object, variables: Mapping) -> object:
        """The mapping of one application, with the values of those settings that are needed here."""
        app = app if isinstance(app, Mapping) else self.template(app, variables)
        if not isinstance(app, Mapping):
            return app
        found: dict[str, object] = dict.fromkeys(app)
        for name in ("flask_app_name", "flask_app_root", "flask_app_serial"):
            if name in app:
                found[name] = self.template(app[name], {**variables, **found})
        return found

    def template(self, value: object, variables: Mapping) -> object:
        """A value, with nothing in place of what only the roles know."""
        available = {**dict.fromkeys(known(), ""), **variables}
        return self._templar.copy_with_new_env(available_variables=available).template(value)
