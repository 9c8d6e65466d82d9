# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the playbooks on a fleet of local directories.

In a copy of the collection, processes and virtual environments are left out: an activation swaps the link `app` and
records it, unless the host's file `rejects` names the release, and a migration is run without a unit. All else is as
it is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.rollout import read_drain, read_rollout
from ansible_collections.flaskops.production.tests.unit.roles.playing import COLLECTION

ACTIVATION = """

def _run_without_processes(self, record):
    rejects = os.path.join(self.layout.root, "rejects")
    if os.path.exists(rejects) and self.release in open(rejects).read().split():
        raise RejectedError("candidate", "it is not borne here", self.unit, self.since)
    swap_link(self.layout.app, os.path.join("releases", self.release))
    record()


Activation.run = _run_without_processes
"""
ADDITIONS = {
    "_releases/activation": ACTIVATION,
    "_app/live_process": """

def find_restart_reason(layout, name):
    return None
""",
    "_app/health": """

def check_health(layout, health, name="", attempts=None):
    return HealthResult(None)
""",
    "_systemd/manager": """

def read_unit_properties(unit, properties="", *more):
    return {"MainPID": "0"}
""",
    "_releases/settings": """

def recover_settings(layout, name):
    pass
""",
    "_releases/settings_digests": """

def record_settings(layout, name, release):
    pass


def list_changed_settings(layout, name, release):
    return []
""",
    "_releases/command": """

def run_command(layout, options):
    import subprocess

    done = subprocess.run(["sh", "-c", options.command], cwd=layout.release(options.release), check=False)
    return CommandResult(done.returncode == 0)
""",
}
VENV = """---
# Where a delegated host cannot be reached, Ansible takes the host itself out of the play.
- name: build | Lose the host
  ansible.builtin.ping:
  delegate_to: nowhere
  when: inventory_hostname in lookup('ansible.builtin.file', '{place}/lost') | split
- name: build | Link a virtual environment
  ansible.builtin.shell: |
    mkdir -p {{{{ flask_app_root }}}}/venvs/eeeeeeeeeeee {{{{ venv_link | dirname }}}}
    ln -sfn ../../venvs/eeeeeeeeeeee {{{{ venv_link }}}}
  register: venv_build
  changed_when: false
"""
HOOK = """---
- name: Tell the balancer
  ansible.builtin.shell: "{command} {place}/out-{{{{ inventory_hostname }}}}"
  delegate_to: balancer
"""


class LocalFleet:
    """Three hosts and a load balancer, which is a directory with a file for each drained host."""

    def __init__(self, place: Path) -> None:
        self.place, self.hosts = place, ["web1", "web2", "web3"]
        collection = place / "collections/ansible_collections/flaskops/production"
        collection.mkdir(parents=True)
        for name in ("plugins", "roles", "playbooks", "meta"):
            shutil.copytree(COLLECTION / name, collection / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(COLLECTION / "galaxy.yml", collection)
        for name, text in ADDITIONS.items():
            with (collection / f"plugins/module_utils/{name}.py").open("a") as file:
                file.write(text)
        (collection / "roles/venv/tasks/build.yml").write_text(VENV.format(place=place))
        self.lose()
        # A test writes where no application may be.
        checks = collection / "plugins/plugin_utils/_settings/checks.py"
        checks.write_text(checks.read_text().replace("/(root|home|tmp|var/tmp|proc|sys|dev|", "/(root|"))
        for name, command in (("drain", "touch"), ("join", "rm -f")):
            (place / f"{name}.yml").write_text(HOOK.format(command=command, place=place))
        self.gone: set[str] = set()
        self.more: dict[str, dict] = {}

    def layout(self, host: str) -> Layout:
        return Layout(str(self.place / host / "shop"))

    def live(self) -> str:
        return ",".join(self.layout(host).find_live() or "-" for host in self.hosts)

    def states(self) -> str:
        return ",".join(read_rollout(self.layout(host)).get("state", "-") for host in self.hosts)

    def drained(self) -> list[str]:
        return [host for host in self.hosts if read_drain(self.layout(host))]

    def locks(self) -> list[str]:
        return [host for host in self.hosts if os.path.exists(self.layout(host).lock)]

    def out(self) -> list[str]:
        return [host for host in self.hosts if (self.place / f"out-{host}").exists()]

    def lose(self, *hosts: str) -> None:
        """Which hosts are lost while their virtual environments are built."""
        (self.place / "lost").write_text(" ".join(hosts))

    def rejects(self, host: str, *releases: str) -> None:
        path = self.place / host / "shop/rejects"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(releases))

    def start(
        self, playbook: str, release: str = "", *options: str, hooks: bool = False, **variables
    ) -> subprocess.Popen:
        """Start a run of a playbook with a release."""
        source = self.place / f"source-{release or 'v1'}"
        source.mkdir(exist_ok=True)
        (source / "wsgi.py").write_text(
            f"RELEASE = {release!r}\n\n\ndef app(environ, start_response):\n    return []\n"
        )
        (source / "requirements.txt").write_text("# none\n")
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        nobody = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
        inventory = {
            host: {
                **(nobody if host in self.gone else local),
                "flask_app_root": str(self.place / host / "shop"),
                **self.more.get(host, {}),
            }
            for host in [*self.hosts, "balancer"]
        }
        inventory["nowhere"] = nobody
        for host in self.hosts:
            for name in ("shared/media", "shared/static", "run", "releases", ".deploy", "venvs"):
                (self.place / host / "shop" / name).mkdir(parents=True, exist_ok=True)
        (self.place / "inventory.json").write_text(
            json.dumps(
                {
                    "all": {"hosts": inventory, "vars": {"ansible_become": False}},
                    "flask": {"hosts": {host: {} for host in self.hosts}},
                }
            )
        )
        given = {
            "flask_app_name": "shop",
            "flask_app_user": "nobody",
            "flask_app_group": "nogroup",
            "flask_app_wsgi": "wsgi:app",
            "release_directory": str(source),
            "release_name": release,
            "flask_app_serial": 1,
            **variables,
        }
        if hooks:
            join = [str(self.place / "join.yml")]
            given["release_before_activate"] = [str(self.place / "drain.yml")]
            given.update(release_after_activate=join, release_on_failure=join)
        words = [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "-i",
            "inventory.json",
            "-e",
            json.dumps(given),
            *options,
        ]
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(self.place / "collections"),
            "ANSIBLE_NOCOLOR": "true",
            "ANSIBLE_FORKS": "4",
            "ANSIBLE_SSH_RETRIES": "0",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        }
        environment.pop("ANSIBLE_LOCAL_TEMP", None)
        return subprocess.Popen(
            [*words, f"flaskops.production.{playbook}"],
            cwd=self.place,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, playbook: str, release: str = "", *options: str, **variables) -> tuple[int, str]:
        """Run a playbook and return its exit status and output."""
        process = self.start(playbook, release, *options, **variables)
        output = process.communicate(timeout=300)[0]
        return process.returncode, re.sub(r"\s+", " ", output)
