# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import types

import pytest
from ansible import constants

from ansible_collections.flaskops.production.plugins.plugin_utils import _run

THIS = "this-run"


@pytest.fixture(autouse=True)
def run_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path / f"ansible-local-{THIS}"))


@pytest.fixture
def ended() -> str:
    """The id of a process that has been, and is no more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return str(process.pid)


class Action:
    """An action whose module answers what it is told to."""

    def __init__(self, *answers: dict) -> None:
        self._task = types.SimpleNamespace(resolved_action="flaskops.production.release_stage", action="release_stage")
        self.answers = list(answers)
        self.calls: list[tuple[str, dict]] = []

    def _execute_module(self, name: str, module_args: dict, task_vars: dict) -> dict:
        self.calls.append((name, {**module_args, "run": dict(module_args["run"])}))
        return self.answers.pop(0)


def locked(process: str) -> dict:
    return {"failed": True, "msg": "locked", "lock_holder": {"run": "other-run", "process": process}}


def test_a_run_says_who_and_where_it_is(monkeypatch):
    monkeypatch.setenv("SUDO_USER", "admin")
    run = _run.this_run()
    assert run["run"] == THIS
    assert run["by"] == "admin"
    assert run["controller"]
    assert run["process"].endswith(f" {os.getppid()}")


@pytest.mark.parametrize("error", [KeyError, OSError])
def test_a_user_without_a_name_is_a_number(monkeypatch, error):
    """Python before 3.13 raises the first of them."""

    def no_entry(uid):
        raise error(f"getpwuid(): uid not found: {uid}")

    for name in ("SUDO_USER", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", no_entry)
    assert _run.this_run()["by"] == f"user {os.getuid()}"


def test_without_sudo_it_is_the_user_of_the_process(monkeypatch):
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setenv("LOGNAME", "deployer")
    assert _run.this_run()["by"] == "deployer"


def test_a_run_whose_process_lives_is_not_dead():
    assert not _run.is_dead(_run.this_run())


def test_a_run_whose_process_is_gone_is_dead(ended):
    assert _run.is_dead({"process": f"{_run._machine()} {ended}"})


def test_a_run_that_nobody_has_collected_yet_is_dead():
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert _run.is_dead({"process": f"{_run._machine()} {process.pid}"})


@pytest.mark.parametrize("machine", ["another-machine", ""])
def test_nothing_is_known_of_other_machines(ended, machine):
    assert not _run.is_dead({"process": f"{machine} {ended}"})


@pytest.mark.parametrize("run", [{}, {"process": ""}, {"run": "other-run"}])
def test_nothing_is_known_of_a_run_that_does_not_say(run):
    assert not _run.is_dead(run)


def test_where_the_system_does_not_tell_no_run_is_dead(monkeypatch, ended):
    monkeypatch.setattr(_run, "_machine", lambda: "")
    assert not _run.is_dead({"process": f" {ended}"})


def test_the_module_is_told_which_run_it_serves():
    action = Action({"changed": True})
    assert _run.execute(action, {"root": "/srv/myapp"}, {}) == {"changed": True}
    ((name, arguments),) = action.calls
    assert name == "flaskops.production.release_stage"
    assert arguments["root"] == "/srv/myapp"
    assert arguments["run"]["run"] == THIS
    assert "replaces" not in arguments["run"]


def test_the_lock_of_a_dead_run_is_taken_over(ended):
    action = Action(locked(f"{_run._machine()} {ended}"), {"changed": True})
    assert _run.execute(action, {}, {}) == {"changed": True}
    assert [arguments["run"].get("replaces") for __, arguments in action.calls] == [None, "other-run"]


def test_the_lock_of_a_living_run_is_respected():
    action = Action(locked(f"{_run._machine()} {os.getpid()}"))
    assert _run.execute(action, {}, {})["msg"] == "locked"
    assert len(action.calls) == 1


def test_the_lock_of_another_controller_is_respected(ended):
    action = Action(locked(f"another-machine {ended}"))
    assert _run.execute(action, {}, {})["failed"]
    assert len(action.calls) == 1


def test_another_failure_is_no_reason_to_try_again():
    action = Action({"failed": True, "msg": "no space left"})
    assert _run.execute(action, {}, {})["msg"] == "no space left"
    assert len(action.calls) == 1


def held(run: str, age: float) -> dict:
    return {**locked(""), "lock_holder": {"run": run, "process": ""}, "lock_age": age}


@pytest.mark.parametrize(
    ("holder", "age", "calls"),
    [
        # Its name comes later: it is about to give way on a lock that this run has.
        ("~later", 1, 2),
        ("~later", 3600, 1),
        ("a-run-before", 1, 1),
    ],
)
def test_of_two_runs_at_the_same_moment_one_waits_and_one_gives_way(monkeypatch, holder, age, calls):
    waits: list[float] = []
    monkeypatch.setattr(_run.time, "sleep", waits.append)
    action = Action(held(holder, age), {"changed": True})
    result = _run.execute(action, {}, {})
    assert (len(action.calls), len(waits)) == (calls, calls - 1)
    assert bool(result.get("failed")) is (calls == 1)


def test_a_run_that_does_not_give_way_is_waited_for_no_longer_than_a_while(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(_run.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(_run.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    action = Action(*[held("~later", 1) for _time in range(100)])
    assert _run.execute(action, {}, {})["failed"]
    assert now[0] <= 2 * _run.AT_THE_SAME_MOMENT + 1
