# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role gunicorn_systemd writes, rendered by Ansible itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.plugins.modules import release_activate

# Not resolved: the collection must be found under its real name.
COLLECTION = Path(release_activate.__file__).parents[2]
COLLECTIONS = COLLECTION.parents[2]


@pytest.fixture(scope="session")
def gunicorn_files(tmp_path_factory):
    """For each case, by its name, the files by their paths. Cases are hosts, so that one run of Ansible renders all."""

    def render(cases: dict[str, dict]) -> dict[str, dict[str, str]]:
        directory = tmp_path_factory.mktemp("gunicorn")
        common = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "flask_app_name": "my-app",
        }
        hosts = {f"case{number}": case for number, case in enumerate(cases.values())}
        (directory / "inventory.yml").write_text(json.dumps({"all": {"vars": common, "hosts": hosts}}))
        # Nothing for a file that is to be absent.
        texts = "entries | map(attribute='content', default='')"
        contents = f"{{{{ dict(entries | map(attribute='path') | zip({texts})) | to_json }}}}"
        role = {"name": "flaskops.production.gunicorn_systemd", "tasks_from": "validate", "public": True}
        tasks = [
            {"include_role": role},
            {"copy": {"content": contents, "dest": f"{directory}/{{{{ inventory_hostname }}}}"},
             "vars": {"entries": "{{ __gunicorn_systemd_entries }}", "__flask_app_roles": str(COLLECTION / "roles")}},
        ]  # fmt: skip
        (directory / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
        paths = os.pathsep.join([str(COLLECTIONS), os.environ.get("ANSIBLE_COLLECTIONS_PATH", "")])
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": paths,
            "ANSIBLE_LOCAL_TEMP": str(directory / "local"),
            "ANSIBLE_INJECT_FACT_VARS": "false",
            "ANSIBLE_NOCOLOR": "true",
        }
        command = ["ansible-playbook", "-i", "inventory.yml", "play.yml"]
        done = subprocess.run(command, cwd=directory, env=environment, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return {name: json.loads((directory / f"case{number}").read_text()) for number, name in enumerate(cases)}

    return render
