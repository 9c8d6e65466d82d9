# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run Ansible itself on tasks, as the tests of roles do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from ansible_collections.flaskops.production.plugins.modules import release_activate

# Not resolved: the collection must be found under its real name.
COLLECTION = Path(release_activate.__file__).parents[2]
COLLECTIONS = COLLECTION.parents[2]


def play(directory, hosts, tasks, *options):
    """Run tasks once for several hosts, which are this machine with different variables."""
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "flask_app_name": "my-app"}
    inventory = {"all": {"vars": common, "hosts": hosts}}
    (directory / "inventory.yml").write_text(json.dumps(inventory))
    (directory / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": os.pathsep.join([str(COLLECTIONS), os.environ.get("ANSIBLE_COLLECTIONS_PATH", "")]),
        "ANSIBLE_LOCAL_TEMP": str(directory / "local"),
        "ANSIBLE_INJECT_FACT_VARS": "false",
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_FORKS": "4",
    }
    command = ["ansible-playbook", "-i", "inventory.yml", *options, "play.yml"]
    return subprocess.run(command, cwd=directory, env=environment, check=False, capture_output=True, text=True)


def message(text):
    """A task that tells what an expression yields. A module that wrote it to a file would be started on each host."""
    return {"debug": {"msg": f"YIELDS {text}"}}


def yielded(done):
    """For each host, the text that the expression of its message has yielded."""
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(r'^ok: \[(\w+)\] => \{\n\s+"msg": ("YIELDS .*")\n\}', done.stdout, re.M)
    return {host: json.loads(said).removeprefix("YIELDS ") for host, said in found}
