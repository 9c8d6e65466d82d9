# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the commands of docs/getting-started.md and the examples, with the installed collection and hosts over SSH."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker_hosts
import pytest
from build import image
from environment import ROOT
from ssh_hosts import connect_hosts, get_address

from ansible_collections.flaskops.production.tests.integration.snapshot import INSTALL_SCRIPT, build_snapshot
from ansible_collections.flaskops.production.tests.unit.programs import needs

pytestmark = [
    pytest.mark.xdist_group("tarball"),
    pytest.mark.usefixtures("requires_docker"),
    needs("docker", "ssh", "ssh-keygen", "curl", "git"),
]

PAGE = (ROOT / "docs/getting-started.md").read_text()
FILE = re.compile(r"`([\w./-]+)`[^`\n]*:\n\n```\w+\n(.*?)```", re.DOTALL)
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)


# Packages that the roles would install, except on the host of docs/getting-started.md.
READY = INSTALL_SCRIPT.format("nginx python3-venv")


class User:
    """A user with a shell, a home directory, and servers with the names in the documentation."""

    def __init__(self, place: Path, installed, servers: dict[str, str]) -> None:
        self.place = place
        self.servers = servers
        # The path of SSH's control socket has at most 108 bytes, which pytest's directories exceed.
        self.home = tempfile.TemporaryDirectory()
        home = Path(self.home.name)
        # Replaces a name server.
        names = "".join(f'resolve = "{name}:80:{get_address(container)}"\n' for name, container in servers.items())
        (home / ".curlrc").write_text(f'{names}noproxy = "*"\nsilent\nshow-error\nfail\n')
        self.environment = {
            **installed.environment,
            "ANSIBLE_COLLECTIONS_PATH": str(installed.collections),
            "ANSIBLE_PIPELINING": "true",
            "HOME": str(home),
        }

    def write_connection_variables(self, inventory: Path) -> None:
        """Write the connection variables of each server, in place of a user's SSH configuration."""
        known = json.loads(connect_hosts(list(self.servers.values()), self.place / "ssh").read_text())["flask"]["hosts"]
        (inventory / "host_vars").mkdir()
        for name, container in self.servers.items():
            (inventory / "host_vars" / f"{name}.json").write_text(json.dumps(known[container]))

    def run(self, command: str, directory: Path) -> str:
        done = subprocess.run(
            ["bash", "-c", command],
            check=False,
            cwd=directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}"
        # Neither the collection nor Ansible has anything to say about a host with the settings of the documentation.
        assert "WARNING" not in done.stdout, f"$ {command}\n{done.stdout}"
        return done.stdout


@contextlib.contextmanager
def start_servers(*images: str) -> Iterator[dict[str, str]]:
    started = [docker_hosts.start(image) for image in images]
    try:
        yield {f"web{number}.example.org": container for number, container in enumerate(started, 1)}
    finally:
        for container in started:
            docker_hosts.remove(container)


def parse_steps(text: str) -> list[tuple[str, str]]:
    """Return the commands of a console block with their output in the documentation."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        else:
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return found


def test_getting_started_works_as_written(tmp_path, installed):
    with start_servers(image("debian13", ssh=True)) as names:
        user = User(tmp_path, installed, names)
        files = FILE.findall(PAGE)
        assert len(files) == 5
        for name, content in files:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        user.write_connection_variables(tmp_path / "deploy")
        directory = tmp_path
        # The tools and the collection are installed already.
        installing, *blocks = CONSOLE.findall(PAGE)
        assert "ansible-galaxy collection install" in installing
        for command, shown in (step for block in blocks for step in parse_steps(block)):
            output = user.run(command, directory)
            assert output.endswith(shown), f"$ {command}\n{output}"
            if command.startswith("cd "):
                directory = directory / command.removeprefix("cd ")
            if command.endswith(" site.yml"):
                (release,) = re.findall(r"hello: (\S+) is live on 1 host: web1\.example\.org", output)
                assert " changed=0 " in user.run(command, directory)
            if command.endswith(".status"):
                # After the rollback.
                assert release in output
            if "echo" in command and "rejected" in shown:
                assert "no such luck" in output


@pytest.mark.parametrize("example", ["quickstart", "existing-repo"])
def test_example_is_complete(example, tmp_path, installed, repository):
    with start_servers(build_snapshot("debian12", READY), build_snapshot("debian13", READY)) as names:
        user = User(tmp_path, installed, names)
        copy = tmp_path / "copy"
        shutil.copytree(ROOT / "examples" / example, copy)
        user.write_connection_variables(copy)
        (variables,) = copy.glob("group_vars/*.yml")
        text = variables.read_text()
        assert "git@github.com:example/myapp.git" in text
        variables.write_text(text.replace("git@github.com:example/myapp.git", str(repository)))
        (copy / "group_vars/all").mkdir()
        (copy / "group_vars/all/vault.yml").write_text("vault_secret_key: a secret\n")
        run = "ansible-playbook -i inventory.yml site.yml"
        user.run(run, copy)
        again = user.run(run, copy)
        assert re.findall(r" changed=(\d+) ", again) == ["0", "0"], again
        for name in names:
            assert "Release" in user.run(f"curl --header 'Host: www.example.org' http://{name}/", copy)
        if example == "existing-repo":
            assert "/srv/myapp/shared" in user.run("ansible web -i inventory.yml -a 'cat /etc/backup.d/myapp'", copy)
