# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The identity of a run, as deploy locks name it, and whether the run is still alive."""

from __future__ import annotations

import getpass
import os
import socket
import time
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase

# Seconds for which two locks count as taken at the same time. Taking the locks of all hosts is faster.
LOCK_RACE_SECONDS = 20


def describe_run() -> dict[str, str]:
    """Describe this run of Ansible. The main process creates one temporary directory per run, which identifies it."""
    return {
        "run": Path(constants.DEFAULT_LOCAL_TMP).name.removeprefix("ansible-local-"),
        "by": os.environ.get("SUDO_USER") or _find_user(),
        "controller": socket.gethostname(),
        "process": f"{_read_boot_id()} {os.getppid()}",
    }


def _find_user() -> str:
    """Return the name of the user who runs Ansible, or the number if a container was started with an unknown one."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def is_dead(run: dict[str, str]) -> bool:
    """Return whether a run is known to have ended: it was started on this controller, and its process is gone."""
    machine, __, pid = run.get("process", "").rpartition(" ")
    if not machine or machine != _read_boot_id() or not pid.isdecimal():
        return False
    try:
        # /proc may hide processes of other users, so send a null signal.
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return _is_zombie(pid)


def _is_zombie(pid: str) -> bool:
    """Return whether the process has ended, but its parent has not waited for it, as some job runners do not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return status.rpartition(") ")[2].startswith(("Z", "X"))


def _read_boot_id() -> str:
    """Return an identifier of this boot and PID namespace, empty if the system does not provide it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip() + os.readlink(
            "/proc/self/ns/pid"
        )
    except OSError:
        return ""


def execute_module(action: ActionBase, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
    """Execute the task's module on the host with the description of this run, and replace the lock of a dead run.

    If two runs take their locks at the same time, the run with the later name fails at once, and the other one waits
    for its locks, so exactly one of them continues.
    """
    name = action._task.resolved_action or action._task.action
    run = describe_run()
    until = time.monotonic() + 2 * LOCK_RACE_SECONDS
    while True:
        result = action._execute_module(name, module_args={**arguments, "run": run}, task_vars=task_vars)
        holder = result.get("lock_holder")
        if not result.get("failed") or not holder:
            return result
        if is_dead(holder) and run.get("replaces") != holder["run"]:
            run["replaces"] = holder["run"]
        elif has_priority(run, holder, result.get("lock_age", 0)) and time.monotonic() < until:
            time.sleep(1)
        else:
            return result


def has_priority(run: dict[str, str], holder: dict[str, str], age: float) -> bool:
    """Return whether this run waits for a lock that another run has just taken, because the other run will fail."""
    return age < LOCK_RACE_SECONDS and run["run"] < holder["run"]


class LockingAction(ActionBase):
    """Execute the module with the description of this run, so that a lock names its holder."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        result.update(execute_module(self, self._task.args, task_vars or {}))
        return result
