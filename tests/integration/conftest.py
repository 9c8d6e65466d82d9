# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host that site.yml has been run on, with secrets in every place where a user may write one."""

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

from ansible_collections.flaskops.production.tests.integration import watching
from ansible_collections.flaskops.production.tests.unit.programs import require

APP = ROOT / "molecule/shared/files/demo"
APP_ROOT = "/srv/myapp"
PLUGINS = ROOT / "benchmarks/callback_plugins"
# How every secret starts: long enough to occur nowhere by chance, plain enough that no quoting changes it, and of this
# run alone, because the processes of others are to be seen too.
PLANTED = f"plantedsecret{secrets.token_hex(4)}"
SECRETS = {
    name: f"{PLANTED}{name}"
    for name in ("KEY", "DATABASE", "INDEXUSER", "INDEXPASSWORD", "INSTALLER", "GITUSER", "GITPASSWORD")
}
# No secret: to be found where the secrets are looked for.
PLAIN = "plainlyvisible5e8a"


class Host:
    """A host that playbooks are run on."""

    def __init__(self, container: str, place: Path, variables: dict) -> None:
        self.container = container
        self.place = place
        # Where Ansible keeps on the controller what it needs during a run.
        self.temporary = place / "temporary"
        self.variables = {
            "ansible_connection": "community.docker.docker",
            "ansible_user": "root",
            # Looking for the interpreter would be one more execution per run.
            "ansible_python_interpreter": "/usr/bin/python3",
            **variables,
        }

    def play(self, name: str, *options: str, environment: dict[str, str] | None = None, **variables) -> Played:
        """Run a playbook, one of the collection's by its name."""
        return self.play_cases(name, {self.container: variables}, *options, environment=environment)

    def play_cases(
        self, name: str, cases: dict[str, dict], *options: str, environment: dict[str, str] | None = None
    ) -> Played:
        """Run a playbook once for several cases: Ansible sees each as a host, with variables of its own.

        None takes a variable out. Variables go through a file: a command line is no place for a secret.
        """
        inventory = self.place / "inventory.json"
        common = {"ansible_host": self.container, **self.variables}
        hosts = {
            case: {name: value for name, value in {**common, **variables}.items() if value is not None}
            for case, variables in cases.items()
        }
        inventory.write_text(json.dumps({"flask": {"hosts": hosts}}))
        playbook = name if name.startswith("/") else f"flaskops.production.{name}"
        return Played(
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
        """Run a script on the host as root: JSON in, JSON out."""
        command = ["exec", "--interactive", self.container, "python3", "-c", script]
        return json.loads(docker(*command, input=json.dumps(data)))


class Site(Host):
    """A host, and the application's repository, which asks for a user and a password."""

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
            # PyPI asks nobody for a name, so that it serves who gives one.
            "venv_index_url": f"https://{SECRETS['INDEXUSER']}:{SECRETS['INDEXPASSWORD']}@pypi.org/simple",
            "venv_environment": {"INSTALLER_TOKEN": SECRETS["INSTALLER"]},
        }
        super().__init__(container, place, variables)


class Played:
    def __init__(self, done: subprocess.CompletedProcess) -> None:
        self.failed = done.returncode != 0
        self.output = done.stdout

    @property
    def failures(self) -> dict[str, str]:
        """What each host failed with last; needs results as JSON, a line for each."""
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
        # What a plain web server needs to serve a repository.
        self.git("update-server-info")


@pytest.fixture
def repository(tmp_path) -> Path:
    """The demo application in a repository."""
    require("git")
    return Repository(tmp_path / "app").path


class Guarded(http.server.SimpleHTTPRequestHandler):
    """Files for who gives the right user and password."""

    def do_GET(self) -> None:
        # The program that asks is there for as long as it waits for an answer.
        watching.look()
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


class Archives(Guarded):
    """Archives, of which the last byte may be changed on their way."""

    asked: list[str]
    tampering: bool

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def copyfile(self, source, outputfile) -> None:
        body = source.read()
        outputfile.write(body[:-1] + b"!" if self.tampering else body)


@contextlib.contextmanager
def serving(directory: Path, address: str = "127.0.0.1", handler: type[Guarded] = Guarded) -> Iterator[int]:
    """Serve a directory at an address of this machine; the port."""
    with http.server.ThreadingHTTPServer((address, 0), functools.partial(handler, directory=directory)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


@pytest.fixture(scope="session")
def site(requires_docker, tmp_path_factory):
    """A host as an installer leaves it."""
    require("docker", "git")
    place = tmp_path_factory.mktemp("site")
    with serving(place) as port:
        container = docker_hosts.start(image("debian12"))
        try:
            yield Site(container, place, port)
        finally:
            docker_hosts.remove(container)


@pytest.fixture(scope="session")
def watch(site):
    """Watches what others may see while it lasts."""
    return lambda: watching.Watch(site.container, site.temporary, PLANTED)


@pytest.fixture(scope="session")
def checked(site):
    """What check mode says about the empty host."""
    return site.play("site", "--check", "--diff", "-vvvv")


@pytest.fixture(scope="session")
def converged(site, watch, checked):
    """The first run, and what was to be seen of it meanwhile."""
    with watch() as watched:
        played = site.play("site", "--diff", "-vvvv")
    assert not played.failed, played.output
    return played, watched


@pytest.fixture
def count(site, tmp_path):
    """Run something on the host, and return what each of its tasks started there."""

    def run(name: str, **variables) -> dict[str, int]:
        report = tmp_path / "report.json"
        environment = {
            "ANSIBLE_CALLBACK_PLUGINS": str(PLUGINS),
            "ANSIBLE_CALLBACKS_ENABLED": "remote_executions",
            "REMOTE_EXECUTIONS_REPORT": str(report),
        }
        played = site.play(name, environment=environment, **variables)
        assert not played.failed, played.output
        (counts,) = json.loads(report.read_text()).values()
        print(f"{name}: {sum(counts.values())} remote executions", json.dumps(counts, indent=2), sep="\n")
        return counts

    return run


@pytest.fixture
def releases(site, tmp_path):
    """A server that the host fetches releases from: what it is asked, whether it tampers, and what to set for it."""

    class Server(Archives):
        asked = []
        tampering = False

    gateway = "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}"
    address = docker("inspect", "--format", gateway, site.container)
    with serving(tmp_path, address, Server) as port:
        Server.url = f"http://{address}:{port}/"
        Server.variables = {
            "release_transfer": "pull",
            "release_pull_url": f"http://{SECRETS['GITUSER']}:{SECRETS['GITPASSWORD']}@{address}:{port}/",
            "release_pull_directory": str(tmp_path),
        }
        yield Server


# The collection as its users get it


class Ansible:
    """The programs of Ansible, for a user who has ansible-core and a home, and not one collection."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.collections = home / ".ansible/collections"
        self.environment = {
            "PATH": f"{VENV / 'bin'}{os.pathsep}/usr/local/bin:/usr/bin:/bin",
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_NOCOLOR": "true",
            # ansible-galaxy verifies what it has installed, to the file.
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
def ansible(tmp_path_factory) -> Ansible:
    return Ansible(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def tarball(ansible) -> Path:
    ansible("ansible-galaxy", "collection", "build", f"--output-path={ansible.home}", str(ROOT))
    (path,) = ansible.home.glob("flaskops-production-*.tar.gz")
    return path


@pytest.fixture(scope="session")
def installed(ansible, tarball) -> Ansible:
    # Nothing is needed but the tarball, and no server is asked.
    ansible("ansible-galaxy", "collection", "install", "--offline", str(tarball))
    return ansible
