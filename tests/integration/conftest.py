# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: a host on which site.yml has run, with a secret in each setting that may contain one."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.server
import json
import os
import re
import secrets
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import docker_hosts
import pytest
from build import image
from environment import ROOT, VENV, docker, tool_environment

from ansible_collections.flaskops.production.tests.integration import process_watcher
from ansible_collections.flaskops.production.tests.unit.programs import require

APP = ROOT / "molecule/shared/files/demo"
APP_ROOT = "/srv/myapp"
PLUGINS = ROOT / "benchmarks/callback_plugins"
# The prefix of each secret. It is long enough to be unique, needs no quoting, and differs between runs, because the
# processes of other runs are visible too.
PLANTED = f"plantedsecret{secrets.token_hex(4)}"
SECRETS = {
    name: f"{PLANTED}{name}"
    for name in ("KEY", "DATABASE", "INDEXUSER", "INDEXPASSWORD", "INSTALLER", "GITUSER", "GITPASSWORD")
}
# A public value, which each search for secrets must find.
PLAIN = "plainlyvisible5e8a"


class Host:
    """A host for playbooks."""

    def __init__(self, container: str, place: Path, variables: dict) -> None:
        self.container = container
        self.place = place
        # The temporary directory of Ansible on the controller.
        self.temporary = place / "temporary"
        self.variables = {
            "ansible_connection": "community.docker.docker",
            "ansible_user": "root",
            # Interpreter discovery would add an execution to each run.
            "ansible_python_interpreter": "/usr/bin/python3",
            **variables,
        }

    def play(self, name: str, *options: str, environment: dict[str, str] | None = None, **variables) -> PlaybookResult:
        """Run a playbook of the collection by its name, or another one by its path."""
        return self.play_cases(name, {self.container: variables}, *options, environment=environment)

    def play_cases(
        self, name: str, cases: dict[str, dict], *options: str, environment: dict[str, str] | None = None
    ) -> PlaybookResult:
        """Run a playbook once for several cases. Each case is a host in the inventory with its own variables.

        The value None removes a variable. Variables are written to a file, because command lines are public.
        """
        inventory = self.place / "inventory.json"
        common = {"ansible_host": self.container, **self.variables}
        hosts = {
            case: {name: value for name, value in {**common, **variables}.items() if value is not None}
            for case, variables in cases.items()
        }
        inventory.write_text(json.dumps({"flask": {"hosts": hosts}}))
        playbook = name if name.startswith("/") else f"flaskops.production.{name}"
        return PlaybookResult(
            subprocess.run(
                ["ansible-playbook", "-i", str(inventory), *options, playbook],
                check=False,
                env=tool_environment(
                    ANSIBLE_INJECT_FACT_VARS="false",
                    ANSIBLE_LOCAL_TEMP=str(self.temporary),
                    ANSIBLE_NOCOLOR="true",
                    ANSIBLE_PIPELINING="true",
                    NO_PROXY="127.0.0.1",
                    **(environment or {}),
                ),
                cwd=self.place,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )

    def python(self, script: str, data: object) -> object:
        """Run a Python script on the host as root, with JSON as input and output."""
        command = ["exec", "--interactive", self.container, "python3", "-c", script]
        return json.loads(docker(*command, input=json.dumps(data)))


class ApplicationHost(Host):
    """A host and the application's repository, which requires a user and a password."""

    def __init__(self, container: str, place: Path, port: int) -> None:
        self.port = port
        self.planted = PLANTED
        self.repository = Repository(place / "app")
        git = f"http://{SECRETS['GITUSER']}:{SECRETS['GITPASSWORD']}@127.0.0.1:{port}/app/.git"
        variables = {
            "flask_app_name": "myapp",
            "flask_app_root": APP_ROOT,
            "flask_app_env": {
                "SECRET_KEY": SECRETS["KEY"],
                "SERVICE_URL": f"postgresql://app:{SECRETS['DATABASE']}@db.example.org/app",
            },
            "gunicorn_systemd_settings": {"proc_name": PLAIN},
            "release_git_repo": git,
            "release_git_ref": "main",
            "release_health_path": "/health",
            "release_shared_paths": ["instance/"],
            # PyPI ignores credentials.
            "venv_index_url": f"https://{SECRETS['INDEXUSER']}:{SECRETS['INDEXPASSWORD']}@pypi.org/simple",
            "venv_environment": {"INSTALLER_TOKEN": SECRETS["INSTALLER"]},
        }
        super().__init__(container, place, variables)


class PlaybookResult:
    def __init__(self, done: subprocess.CompletedProcess) -> None:
        self.failed = done.returncode != 0
        self.output = done.stdout

    @property
    def failures(self) -> dict[str, str]:
        """Return the last error message of each host. Requires results as JSON in one line."""
        found = re.findall(r"^fatal: \[(\S+?)\]: FAILED! => (\{.*\})$", self.output, re.MULTILINE)
        return {host: json.loads(result)["msg"] for host, result in found}

    @property
    def changed(self) -> int:
        return sum(int(count) for count in re.findall(r" changed=(\d+) ", self.output))


class Repository:
    def __init__(self, path: Path) -> None:
        self.path = path
        shutil.copytree(APP, path, ignore=shutil.ignore_patterns("__pycache__"))
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit()

    def git(self, *arguments: str) -> None:
        author = ["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
        environment = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        subprocess.run(["git", *author, *arguments], cwd=self.path, env=environment, check=True)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=Change")
        # Create the files that a static web server needs.
        self.git("update-server-info")


@pytest.fixture
def repository(tmp_path) -> Path:
    """Create a repository with the demo application."""
    require("git")
    return Repository(tmp_path / "app").path


class AuthenticatedFiles(http.server.SimpleHTTPRequestHandler):
    """Serve files to clients with the right user and password."""

    def do_GET(self) -> None:
        # The client's process exists while it waits for the response.
        process_watcher.wait_for_scan()
        wanted = base64.b64encode(f"{SECRETS['GITUSER']}:{SECRETS['GITPASSWORD']}".encode()).decode()
        if self.headers.get("Authorization") == f"Basic {wanted}":
            super().do_GET()
            return
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments) -> None:
        pass


class ArchiveServer(AuthenticatedFiles):
    """Serve archives, optionally with the last byte changed."""

    asked: list[str]
    tampering: bool

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def copyfile(self, source, outputfile) -> None:
        body = source.read()
        outputfile.write(body[:-1] + b"!" if self.tampering else body)


@contextlib.contextmanager
def serve_directory(
    directory: Path, address: str = "127.0.0.1", handler: type[AuthenticatedFiles] = AuthenticatedFiles
) -> Iterator[int]:
    """Serve a directory on an address of the controller, and yield the port."""
    with http.server.ThreadingHTTPServer((address, 0), functools.partial(handler, directory=directory)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


@pytest.fixture(scope="session")
def site(requires_docker, tmp_path_factory):
    """Start a host without an application."""
    require("docker", "git")
    place = tmp_path_factory.mktemp("site")
    with serve_directory(place) as port:
        container = docker_hosts.start(image("debian12"))
        try:
            yield ApplicationHost(container, place, port)
        finally:
            docker_hosts.remove(container)


@pytest.fixture(scope="session")
def watch(site):
    """Return a context manager that records public data of a run."""
    return lambda: process_watcher.ProcessWatcher(site.container, site.temporary, PLANTED)


@pytest.fixture(scope="session")
def checked(site):
    """Run site.yml in check mode on the empty host."""
    return site.play("site", "--check", "--diff", "-vvvv")


@pytest.fixture(scope="session")
def converged(site, watch, checked):
    """Run site.yml for the first time. Return its result and the public data of the run."""
    with watch() as watched:
        result = site.play("site", "--diff", "-vvvv")
    assert not result.failed, result.output
    return result, watched


@pytest.fixture
def count(site, tmp_path):
    """Return a function that runs a playbook and counts the remote executions of each task."""

    def run(name: str, **variables) -> dict[str, int]:
        report = tmp_path / "report.json"
        environment = {
            "ANSIBLE_CALLBACK_PLUGINS": str(PLUGINS),
            "ANSIBLE_CALLBACKS_ENABLED": "remote_executions",
            "REMOTE_EXECUTIONS_REPORT": str(report),
        }
        result = site.play(name, environment=environment, **variables)
        assert not result.failed, result.output
        (counts,) = json.loads(report.read_text()).values()
        print(f"{name}: {sum(counts.values())} remote executions", json.dumps(counts, indent=2), sep="\n")
        return counts

    return run


@pytest.fixture
def releases(site, tmp_path):
    """Start a server for releases. Return its handler class with the requests and the variables for playbooks."""

    class Server(ArchiveServer):
        asked = []
        tampering = False

    gateway = "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}"
    address = docker("inspect", "--format", gateway, site.container)
    with serve_directory(tmp_path, address, Server) as port:
        Server.url = f"http://{address}:{port}/"
        Server.variables = {
            "release_transfer": "pull",
            "release_pull_url": f"http://{SECRETS['GITUSER']}:{SECRETS['GITPASSWORD']}@{address}:{port}/",
            "release_pull_directory": str(tmp_path),
        }
        yield Server


# The built and installed collection


class AnsibleInstallation:
    """The programs of ansible-core for a user without any collections."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.collections = home / ".ansible/collections"
        self.environment = {
            "PATH": f"{VENV / 'bin'}{os.pathsep}/usr/local/bin:/usr/bin:/bin",
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_NOCOLOR": "true",
            # ansible-galaxy verifies each installed file.
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def __call__(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(VENV / "bin" / program), *arguments],
            check=False,
            cwd=self.home,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture(scope="session")
def ansible(tmp_path_factory) -> AnsibleInstallation:
    return AnsibleInstallation(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def tarball(ansible) -> Path:
    ansible("ansible-galaxy", "collection", "build", f"--output-path={ansible.home}", str(ROOT))
    (path,) = ansible.home.glob("flaskops-production-*.tar.gz")
    return path


@pytest.fixture(scope="session")
def installed(ansible, tarball) -> AnsibleInstallation:
    # The tarball is sufficient, without a server.
    ansible("ansible-galaxy", "collection", "install", "--offline", str(tarball))
    return ansible
