# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who deploys: the run that a lock names, and whether that run is still alive."""

from __future__ import annotations

import getpass
import os
import socket
import time
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase

# Seconds for which a lock counts as taken at the same moment: longer than it takes to ask all hosts for theirs.
AT_THE_SAME_MOMENT = 20


def this_run() -> dict[str, str]:
    """This run of Ansible. Its temporary directory is made once, by the main process, and tells runs apart."""
    return {
        "run": Path(constants.DEFAULT_LOCAL_TMP).name.removeprefix("ansible-local-"),
        "by": os.environ.get("SUDO_USER") or _user(),
        "controller": socket.gethostname(),
        "process": f"{_machine()} {os.getppid()}",
    }


def _user() -> str:
    """The user who runs Ansible. In a container that is started with any number, this number has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def is_dead(run: dict[str, str]) -> bool:
    """Whether a run is known to be over: it was started on this very machine, and its process is gone."""
    machine, __, pid = run.get("process", "").rpartition(" ")
    if not machine or machine != _machine() or not pid.isdecimal():
        return False
    try:
        # /proc may hide the processes of others; a signal tells the truth.
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return _is_zombie(pid)


def _is_zombie(pid: str) -> bool:
    """Whether nobody has asked yet how the process ended, as under a job runner that does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return status.rpartition(") ")[2].startswith(("Z", "X"))


def _machine() -> str:
    """This boot of this machine, or container on it; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip() + os.readlink(
            "/proc/self/ns/pid"
        )
    except OSError:
        return ""


def execute(action: ActionBase, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
    """Execute the task's module on the host as this run. A lock whose run is known to be dead is taken over.

    Of two runs that take their locks at the same moment, one gives way at once and the other one waits for it, by the
    order of their names: whichever hosts each of them got first, exactly one goes on.
    """
    name = action._task.resolved_action or action._task.action
    run = this_run()
    until = time.monotonic() + 2 * AT_THE_SAME_MOMENT
    while True:
        result = action._execute_module(name, module_args={**arguments, "run": run}, task_vars=task_vars)
        holder = result.get("lock_holder")
        if not result.get("failed") or not holder:
            return result
        if is_dead(holder) and run.get("replaces") != holder["run"]:
            run["replaces"] = holder["run"]
        elif goes_first(run, holder, result.get("lock_age", 0)) and time.monotonic() < until:
            time.sleep(1)
        else:
            return result


def goes_first(run: dict[str, str], holder: dict[str, str], age: float) -> bool:
    """Whether this run is to wait for a lock that another run has just taken, because that one will give way."""
    return age < AT_THE_SAME_MOMENT and run["run"] < holder["run"]


class OfThisRun(ActionBase):
    """Executes the module as this run, so that a lock names its holder and a dead holder is replaced."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        result.update(execute(self, self._task.args, task_vars or {}))
        return result
