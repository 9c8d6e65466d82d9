# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of the socket, which systemd makes and then gives away by its name."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path

import pytest
import yaml
from generate_docs import ROOT

from ansible_collections.flaskops.production.plugins.modules import tree

# Users and groups that nobody has: the application's and Nginx's.
APP, WEB = 54712, 54713
RESTARTS = 25


@pytest.fixture
def directory(as_root):
    """A place that the application can get to, unlike those of pytest."""
    found = Path(tempfile.mkdtemp(prefix="layout-", dir="/dev/shm"))
    found.chmod(0o755)
    (found / "precious").touch(0o600)
    yield found
    shutil.rmtree(found)


@pytest.fixture
def run(run_module, directory):
    """The directory as the role layout describes it."""
    entries = yaml.safe_load((ROOT / "roles/layout/vars/main.yml").read_text())["layout_description"]["entries"]
    (entry,) = (dict(entry) for entry in entries if entry["path"] == "{{ flask_app_run }}")
    path = directory / "run"
    entry.update(path=str(path), group=str(WEB), users=[str(APP)])
    assert run_module(tree, {"entries": [entry]})["changed"]
    return path


@contextlib.contextmanager
def attacked(path, target):
    """As the application, put a link in the place of a name over and over."""
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(APP)
        os.setuid(APP)
        while True:
            with contextlib.suppress(OSError):
                os.rename(path, f"{path}.aside")
            with contextlib.suppress(OSError):
                os.symlink(target, path)
            with contextlib.suppress(OSError):
                os.unlink(path)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def restart(path):
    """What systemd does for a socket unit."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.bind(path)
        except OSError:
            # Another name came first; systemd fails here and nothing is given away.
            return
        with contextlib.suppress(FileNotFoundError):
            os.chown(path, 0, WEB)


def group(path):
    return os.stat(path).st_gid


def test_nothing_but_the_socket_is_given_away(directory, run):
    with attacked(str(run / "s"), str(directory / "precious")):
        for _restart in range(RESTARTS * 40):
            restart(str(run / "s"))
    assert group(directory / "precious") == 0


def test_the_attack_works_on_a_directory_of_the_application(directory):
    """Otherwise the test above would prove nothing."""
    path = directory / "run"
    path.mkdir()
    os.chown(path, APP, APP)
    with attacked(str(path / "s"), str(directory / "precious")):
        for _restart in range(200_000):
            restart(str(path / "s"))
            if group(directory / "precious") == WEB:
                break
    assert group(directory / "precious") == WEB


def test_the_application_makes_new_names_and_replaces_none_of_root(run):
    restart(str(run / "s"))
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(APP)
        os.setuid(APP)
        (run / "own.pid").touch()
        (run / "own.pid").unlink()
        done = 0
        for attempt in (lambda: os.unlink(run / "s"), lambda: os.rename(run / "s", run / "t"), lambda: os.rmdir(run)):
            with contextlib.suppress(PermissionError):
                attempt()
                done = 1
        os._exit(done)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
