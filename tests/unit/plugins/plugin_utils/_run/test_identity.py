# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import types

import pytest
from ansible import constants

from ansible_collections.flaskops.production.plugins.plugin_utils._run import identity

THIS = "this-run"


@pytest.fixture(autouse=True)
def run_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path / f"ansible-local-{THIS}"))


@pytest.fixture
def ended_process() -> str:
    """Return the id of a process that has ended_process."""
    process = subprocess.Popen(["true"])
    process.wait()
    return str(process.pid)


class FakeAction:
    """An action whose module returns the given results."""

    def __init__(self, *answers: dict) -> None:
        self._task = types.SimpleNamespace(resolved_action="flaskops.production.release_stage", action="release_stage")
        self.answers = list(answers)
        self.calls: list[tuple[str, dict]] = []

    def _execute_module(self, name: str, module_args: dict, task_vars: dict) -> dict:
        self.calls.append((name, {**module_args, "run": dict(module_args["run"])}))
        return self.answers.pop(0)


def locked_result(process: str) -> dict:
    return {"failed": True, "msg": "locked", "lock_holder": {"run": "other-run", "process": process}}


def test_run_names_user_controller_and_process(monkeypatch):
    monkeypatch.setenv("SUDO_USER", "admin")
    run = identity.describe_run()
    assert run["run"] == THIS
    assert run["by"] == "admin"
    assert run["controller"]
    assert run["process"].endswith(f" {os.getppid()}")


@pytest.mark.parametrize("error", [KeyError, OSError])
def test_user_without_a_name_is_a_number(monkeypatch, error):
    """Python before 3.13 raises KeyError, later versions raise OSError."""

    def no_entry(uid):
        raise error(f"getpwuid(): uid not found: {uid}")

    for name in ("SUDO_USER", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", no_entry)
    assert identity.describe_run()["by"] == f"user {os.getuid()}"


def test_user_of_the_process_is_named_without_sudo(monkeypatch):
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setenv("LOGNAME", "deployer")
    assert identity.describe_run()["by"] == "deployer"


def test_run_with_a_live_process_is_not_dead():
    assert not identity.is_dead(identity.describe_run())


def test_run_with_an_ended_process_is_dead(ended_process):
    assert identity.is_dead({"process": f"{identity._read_boot_id()} {ended_process}"})


def test_run_with_a_zombie_process_is_dead():
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert identity.is_dead({"process": f"{identity._read_boot_id()} {process.pid}"})


@pytest.mark.parametrize("machine", ["another-machine", ""])
def test_runs_of_other_controllers_are_not_dead(ended_process, machine):
    assert not identity.is_dead({"process": f"{machine} {ended_process}"})


@pytest.mark.parametrize("run", [{}, {"process": ""}, {"run": "other-run"}])
def test_runs_without_a_process_are_not_dead(run):
    assert not identity.is_dead(run)


def test_no_run_is_dead_without_a_boot_id(monkeypatch, ended_process):
    monkeypatch.setattr(identity, "_read_boot_id", lambda: "")
    assert not identity.is_dead({"process": f" {ended_process}"})


def test_module_receives_the_description_of_the_run():
    action = FakeAction({"changed": True})
    assert identity.execute_module(action, {"root": "/srv/myapp"}, {}) == {"changed": True}
    ((name, arguments),) = action.calls
    assert name == "flaskops.production.release_stage"
    assert arguments["root"] == "/srv/myapp"
    assert arguments["run"]["run"] == THIS
    assert "replaces" not in arguments["run"]


def test_lock_of_a_dead_run_is_replaced(ended_process):
    action = FakeAction(locked_result(f"{identity._read_boot_id()} {ended_process}"), {"changed": True})
    assert identity.execute_module(action, {}, {}) == {"changed": True}
    assert [arguments["run"].get("replaces") for __, arguments in action.calls] == [None, "other-run"]


def test_lock_of_a_live_run_is_not_replaced():
    action = FakeAction(locked_result(f"{identity._read_boot_id()} {os.getpid()}"))
    assert identity.execute_module(action, {}, {})["msg"] == "locked"
    assert len(action.calls) == 1


def test_lock_of_another_controller_is_not_replaced(ended_process):
    action = FakeAction(locked_result(f"another-machine {ended_process}"))
    assert identity.execute_module(action, {}, {})["failed"]
    assert len(action.calls) == 1


def test_other_failures_are_not_retried():
    action = FakeAction({"failed": True, "msg": "no space left"})
    assert identity.execute_module(action, {}, {})["msg"] == "no space left"
    assert len(action.calls) == 1


def held_lock(run: str, age: float) -> dict:
    return {**locked_result(""), "lock_holder": {"run": run, "process": ""}, "lock_age": age}


@pytest.mark.parametrize(
    ("holder", "age", "calls"),
    [
        # Its name is later, so it fails at a lock of this run.
        ("~later", 1, 2),
        ("~later", 3600, 1),
        ("a-run-before", 1, 1),
    ],
)
def test_of_two_simultaneous_runs_one_waits_and_the_other_fails(monkeypatch, holder, age, calls):
    waits: list[float] = []
    monkeypatch.setattr(identity.time, "sleep", waits.append)
    action = FakeAction(held_lock(holder, age), {"changed": True})
    result = identity.execute_module(action, {}, {})
    assert (len(action.calls), len(waits)) == (calls, calls - 1)
    assert bool(result.get("failed")) is (calls == 1)


def test_waiting_for_another_run_ends(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(identity.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(identity.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    action = FakeAction(*[held_lock("~later", 1) for _time in range(100)])
    assert identity.execute_module(action, {}, {})["failed"]
    assert now[0] <= 2 * identity.LOCK_RACE_SECONDS + 1
