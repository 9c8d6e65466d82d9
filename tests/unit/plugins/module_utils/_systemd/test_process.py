# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the helpers for processes with real processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._systemd import process


@pytest.fixture
def start(tmp_path):
    """Start a program under a given name in the temporary directory."""
    started = []

    def start_program(program="bin/python", name=None):
        (tmp_path / program).parent.mkdir(parents=True, exist_ok=True)
        if not (tmp_path / program).exists():
            shutil.copy(shutil.which("sleep"), tmp_path / program)
        running = subprocess.Popen([name or tmp_path / program, "60"], executable=tmp_path / program, cwd=tmp_path)
        started.append(running)
        # The command line is empty for a moment after the start.
        while not Path(f"/proc/{running.pid}/cmdline").read_bytes():
            time.sleep(0.001)
        return str(running.pid)

    yield start_program
    for running in started:
        running.kill()
        running.wait()


def test_working_directory_of_a_process_is_read(start, tmp_path):
    assert process.read_working_directory(start()) == str(tmp_path)


def test_missing_process_has_no_working_directory():
    assert process.read_working_directory("0") is None
    with subprocess.Popen(["true"]) as ended:
        pass
    assert process.read_working_directory(str(ended.pid)) is None


def test_venv_of_a_process_is_read_from_its_command_line(start, tmp_path):
    pid = start("venvs/abc/bin/python3")
    assert process.read_process_venv(pid) == str(tmp_path / "venvs/abc")
    (tmp_path / "venv").symlink_to("venvs/abc")
    assert process.read_process_venv(start("venv/bin/python3")) == str(tmp_path / "venvs/abc")


@pytest.mark.parametrize("name", ["gunicorn: master [wsgi:app]", "python3", ""])
def test_venv_of_a_renamed_process_is_unknown(start, name):
    assert process.read_process_venv(start("bin/python", name=name or " ")) is None


def test_missing_process_has_no_venv():
    assert process.read_process_venv("0") is None


@pytest.fixture
def children():
    """Start processes in place of those of a unit."""
    started = [subprocess.Popen(["sleep", "60"]) for _number in range(3)]
    yield started
    for child in started:
        child.kill()
        child.wait()


def find_own_cgroup() -> str:
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        return next((line.strip().rpartition("/")[2] for line in file if not line.strip().endswith("/")), "")


@pytest.mark.skipif(not find_own_cgroup(), reason="the tests run in the root cgroup")
def test_processes_of_a_unit_are_those_of_its_cgroup(children):
    os.kill(children[0].pid, signal.SIGSTOP)
    os.waitpid(children[0].pid, os.WUNTRACED)
    found = process.read_process_states(find_own_cgroup())
    assert (found[children[0].pid], found[os.getpid()]) == ("T", "R")
    assert process.read_process_states(find_own_cgroup() + "-next") == {}


def read_states(children):
    found = {}
    for child in children:
        with open(f"/proc/{child.pid}/stat", encoding="ascii") as file:
            found[child.pid] = file.read().rpartition(")")[2].split()[0]
    return found


def test_processes_missed_by_the_first_signal_are_stopped(children, monkeypatch):
    """Each signal reaches one more child, and the last child appears late."""
    calls = []

    def systemctl(*words):
        calls.append(" ".join(words))
        for child in children[: len(calls)]:
            os.kill(child.pid, signal.SIGSTOP)
            os.waitpid(child.pid, os.WUNTRACED | os.WNOHANG)
        return 0, ""

    def states(_unit):
        seen = read_states(children[: 2 if len(calls) < 3 else 3])
        time.sleep(0.05)
        return seen

    monkeypatch.setattr(process, "run_systemctl", systemctl)
    monkeypatch.setattr(process, "read_process_states", states)
    process.pause_processes("shop.service")
    assert set(calls) == {"kill --signal=SIGSTOP shop.service"}
    assert set(read_states(children).values()) == {"T"}


@pytest.mark.parametrize(
    "code, states, message",
    [
        (1, {}, "Cannot stop the processes of shop.service: no such unit"),
        (0, {}, "shop.service ended before its processes could be stopped."),
        (0, {4711: "T", 4712: "S"}, "Cannot stop the processes of shop.service: they still run after 0 s."),
    ],
)
def test_failure_to_pause_names_the_unit(monkeypatch, code, states, message):
    monkeypatch.setattr(process, "run_systemctl", lambda *_words: (code, "no such unit"))
    monkeypatch.setattr(process, "read_process_states", lambda _unit: states)
    with pytest.raises(ReleaseError) as error:
        process.pause_processes("shop.service", patience=0.1)
    assert str(error.value) == message


MAPS = """55d0-55d1 r--p 00000000 fe:01 1 /usr/bin/python3.11 (deleted)
55d1-55d2 r-xp 00001000 fe:01 1 /usr/bin/python3.11 (deleted)
7f00-7f01 r-xp 00000000 fe:01 2 /usr/lib/x86_64-linux-gnu/libssl.so.3
7f01-7f02 r-xp 00000000 fe:01 3 /usr/lib/x86_64-linux-gnu/libz.so.1 (deleted)
7f02-7f03 rw-s 00000000 00:01 4 /dev/zero (deleted)
7f03-7f04 r-xp 00000000 00:01 5 /memfd:libffi (deleted)
7f04-7f05 r-xp 00000000 00:00 0 [vdso]
"""


def test_replaced_programs_and_libraries_are_found(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7/maps").write_text(MAPS)
    found = process.find_replaced_files("7", str(tmp_path))
    assert found == ["/usr/bin/python3.11", "/usr/lib/x86_64-linux-gnu/libz.so.1"]
    assert process.find_replaced_files("8", str(tmp_path)) == []
