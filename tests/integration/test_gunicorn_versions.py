# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the cause of a failed start is found in the log of each Gunicorn and each worker class."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from environment import CACHE, VENV

from ansible_collections.flaskops.production.plugins.module_utils._releases.cause import Cause, find_cause
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.description import build_description
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.specs import trust_templates
from ansible_collections.flaskops.production.tests.unit.programs import needs

pytestmark = [pytest.mark.xdist_group("gunicorn_versions"), needs("setpriv")]

VERSIONS = ("21.2.0", "22.0.0", "23.0.0", "24.1.1", "25.3.0", "26.2.0", "27.0.1")
# The first version without the worker class eventlet.
WITHOUT_EVENTLET = "26.2.0"
# Each worker class of a WSGI application, and the packages that it needs besides Gunicorn's own dependency.
CLASSES = {
    "sync": ("packaging",),
    "gthread": ("packaging",),
    "gevent": ("gevent", "packaging"),
    "eventlet": ("eventlet", "packaging"),
    "tornado": ("tornado", "packaging"),
}
PACKAGES = CACHE / "gunicorn"

HEALTH = json.dumps({"path": "/health", "host": "localhost", "status": [200]})
WRITES = "import os\nos.mkdir('logs')\n"
# The first lines of an application, the cause, and words of the hint.
FAULTS = {
    "missing directory": (
        "open('logs/app.log', 'a')\n",
        "FileNotFoundError: [Errno 2] No such file or directory: 'logs/app.log'",
        "name the directory of 'logs/app.log' in release_shared_paths",
    ),
    "database": (
        "import sqlite3\nsqlite3.connect('instance/app.db')\n",
        "sqlite3.OperationalError: unable to open database file",
        "name the database's directory, with a slash, in release_shared_paths",
    ),
    "environment variable": (
        "import os\nos.environ['SECRET_KEY']\n",
        "KeyError: 'SECRET_KEY'",
        "set the environment variable SECRET_KEY in flask_app_env",
    ),
    "end of the process": ("import sys\nsys.exit(1)\n", "SystemExit: 1", ""),
    "module": (None, "ModuleNotFoundError: No module named 'wsgi'", "the release has no module 'wsgi'"),
    "callable": ("app = 5\n", "Application object must be callable.", "flask_app_wsgi"),
    "ASGI application": (
        "async def app(scope, receive, send):\n    pass\n",
        "TypeError: app() missing 1 required positional argument: 'send'",
        "only WSGI is served",
    ),
    "health check": (
        "def app(environ, start_response):\n    start_response('500 Broken', [])\n    return []\n",
        "GET /health answered 500, expected [200]",
        "",
    ),
    "missing callable": ("other = None\n", "Failed to find attribute 'app' in 'wsgi'.", "flask_app_wsgi"),
}


def install(name: str, *requirements: str) -> str:
    """Install packages into a directory of the cache, and return the directory."""
    directory = PACKAGES / name / "site-packages"
    PACKAGES.mkdir(parents=True, exist_ok=True)
    with (PACKAGES / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            command = [VENV / "bin/uv", "pip", "install", "--quiet", f"--python={sys.executable}"]
            temporary = directory.with_name("incomplete")
            subprocess.run([*command, f"--target={temporary}", *requirements], check=True)
            temporary.rename(directory)
    return str(directory)


@pytest.fixture(scope="module")
def configurations(tmp_path_factory) -> dict[str, Path]:
    """Render the configuration file for each worker class."""
    found = {}
    for name in CLASSES:
        place = tmp_path_factory.mktemp(name)
        given = {"flask_app_name": "my-app", "release_resolved": {}, "gunicorn_systemd_worker_class": name}
        entries = build_description(Templar(loader=DataLoader(), variables={}), trust_templates(given), place)[
            "entries"
        ]
        (text,) = (entry["content"] for entry in entries if entry["path"].endswith("/gunicorn.conf.py"))
        found[name] = place / "gunicorn.conf.py"
        found[name].write_text(text)
    return found


@pytest.fixture
def command(tmp_path, configurations):
    """Return a function that writes an application, and returns the options of Popen that start it."""

    def prepare(version: str, worker: str, code: str | None, packages: tuple[str, ...], **variables: str) -> dict:
        release = tmp_path / "release"
        release.mkdir()
        if code is not None:
            (release / "wsgi.py").write_text(code)
        release.chmod(0o555)
        paths = [install(version, f"gunicorn=={version}"), *(install(package, package) for package in packages)]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(paths), "RELEASE_HEALTH": HEALTH}
        # A read-only directory stops root only without its capabilities. -S hides the packages of this machine.
        words = [*(["setpriv", "--bounding-set=-all"] if os.geteuid() == 0 else []), sys.executable, "-S", "-m"]
        words += ["gunicorn", f"--config={configurations[worker]}", f"--bind=unix:{tmp_path}/socket", "wsgi:app"]
        return {"args": words, "cwd": release, "env": environment | variables, "stderr": subprocess.PIPE, "text": True}

    return prepare


@pytest.fixture
def start(command):
    """Return a function that starts an application which fails, and returns the cause and the log."""

    def run(version: str, worker: str, code: str | None, packages: tuple[str, ...]) -> tuple[Cause, str]:
        done = subprocess.run(**command(version, worker, code, packages), check=False, timeout=60)
        assert done.returncode, done.stderr
        return find_cause(done.stderr), done.stderr

    return run


@pytest.mark.parametrize("worker", CLASSES)
@pytest.mark.parametrize("version", VERSIONS)
def test_exception_of_the_application_is_found(start, version, worker):
    """Gunicorn also logs exceptions of its own, such as those of its signal handlers."""
    if worker == "eventlet" and version >= WITHOUT_EVENTLET:
        pytest.skip("Gunicorn has no such worker class any more")
    found, log = start(version, worker, WRITES, CLASSES[worker])
    assert f"Using worker: {worker}\n" in log
    assert found.error == "PermissionError: [Errno 13] Permission denied: 'logs'"
    assert [re.search(r'/wsgi\.py", line 2', line) is not None for line in found.lines] == [True, False], log
    assert "name the directory of 'logs' in release_shared_paths" in found.hint
    assert not found.by_host


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
def test_common_faults_are_explained(start, version, name):
    code, error, hint = FAULTS[name]
    found, log = start(version, "gthread", code, CLASSES["gthread"])
    assert found.error == error, log
    assert hint in found.hint and bool(found.hint) == bool(hint)


def test_missing_package_of_a_worker_class_names_the_requirement(start):
    """The worker class gevent of Gunicorn 27 needs packaging, which Gunicorn itself no longer requires."""
    found, _log = start(VERSIONS[-1], "gevent", "", ("gevent",))
    assert "No module named 'packaging': add gunicorn[gevent] to the requirements" in found.error


def test_removed_worker_class_is_named(start):
    found, _log = start(VERSIONS[-1], "eventlet", "", CLASSES["eventlet"])
    assert found.error == (
        f"ImportError: gunicorn_systemd_worker_class is 'eventlet', which Gunicorn {VERSIONS[-1]} does not have: "
        "choose another one, such as gthread or gevent, or an earlier Gunicorn"
    )


SLOW = """\
import os
import time


def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        open(os.environ["STARTED"], "w").close()
        time.sleep(3)
    start_response("200 OK", [("Content-Length", "4")])
    return [b"done"]
"""


def wait_until(condition) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("version", "worker"),
    [*((version, "gthread") for version in VERSIONS), *((VERSIONS[-1], worker) for worker in ("sync", "gevent"))],
)
def test_request_is_answered_although_gunicorn_stops(command, tmp_path, version, worker):
    """Before a worker is ready, Gunicorn stops after a second. After that, it waits for requests."""
    started, notified = tmp_path / "started", tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, socket.socket(socket.AF_UNIX) as client:
        systemd.bind(str(notified))
        systemd.settimeout(60)
        options = command(version, worker, SLOW, CLASSES[worker], STARTED=str(started), NOTIFY_SOCKET=str(notified))
        # A worker that is still starting would miss the signal.
        options["args"].insert(-1, "--workers=1")
        with subprocess.Popen(**options) as process:
            assert systemd.recv(100) == b"READY=1"
            client.settimeout(60)
            client.connect(str(tmp_path / "socket"))
            client.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            wait_until(started.exists)
            process.terminate()
            answer = b"".join(iter(lambda: client.recv(4096), b""))
            log = process.communicate(timeout=60)[1]
    assert answer.startswith(b"HTTP/1.1 200 OK") and answer.endswith(b"done"), log
