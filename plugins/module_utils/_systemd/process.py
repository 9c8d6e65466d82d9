# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes of a unit: state, working directory, programs and virtual environment."""

from __future__ import annotations

import contextlib
import os
import re
import time

from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import run_program, run_systemctl

# States in proc(5) of processes that do not run: stopped by a signal, traced, or dead.
PAUSED = {"T", "t", "Z", "X"}


def read_process_states(unit: str) -> dict[int, str]:
    """Return the state of each process of a unit, by PID, as the letters of proc(5)."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/cgroup", encoding="utf-8", errors="replace") as file:
                groups = file.read().splitlines()
            if any(unit in line.split("/") for line in groups):
                with open(f"/proc/{name}/stat", "rb") as file:
                    found[int(name)] = file.read().rpartition(b")")[2].split()[0].decode()
    return found


def pause_processes(unit: str, patience: float = 10) -> None:
    """Stop all processes of a unit with SIGSTOP.

    systemd misses a child that is forked while it sends the signal. Therefore the signal is repeated until two
    successive checks find all processes stopped. After the first such check, no process is left to fork another one.
    Raises ReleaseError if processes still run after `patience` seconds.
    """
    deadline, before = time.monotonic() + patience, False
    while time.monotonic() < deadline:
        code, output = run_systemctl("kill", "--signal=SIGSTOP", unit)
        if code:
            raise ReleaseError(f"Cannot stop the processes of {unit}: {output}")
        found = read_process_states(unit)
        if not found:
            raise ReleaseError(f"{unit} ended before its processes could be stopped.")
        now = set(found.values()) <= PAUSED
        if now and before:
            return
        before = now
        time.sleep(0.01)
    raise ReleaseError(f"Cannot stop the processes of {unit}: they still run after {patience:.0f} s.")


def compute_start_time(unit: dict[str, str]) -> float:
    """Return the start time of a unit's main process in seconds since the epoch, by the current system clock."""
    age = time.clock_gettime(time.CLOCK_MONOTONIC) - int(unit["ExecMainStartTimestampMonotonic"]) / 1e6
    return time.time() - age


def read_working_directory(pid: str) -> str | None:
    """Return the working directory of a process, or None if the process does not exist."""
    link = f"/proc/{pid}/cwd"
    try:
        return os.readlink(link)
    except PermissionError:
        # In a container, root may lack CAP_SYS_PTRACE. The user of the process can always read the link.
        owner = os.stat(f"/proc/{pid}")
        return (
            run_program(
                "setpriv", f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups", "readlink", link
            )
            .stdout.decode()
            .rstrip("\n")
            or None
        )
    except OSError:
        return None


def find_replaced_files(pid: str, proc: str = "/proc") -> list[str]:
    """Return the programs and libraries of a process that were replaced or removed after it loaded them."""
    found = set()
    with contextlib.suppress(OSError), open(f"{proc}/{pid}/maps", encoding="utf-8", errors="replace") as file:
        for line in file:
            fields = line.rstrip("\n").split(None, 5)
            if len(fields) == 6 and "x" in fields[1] and fields[5].endswith(" (deleted)"):
                found.add(fields[5][: -len(" (deleted)")])
    # Exclude memory without a program file: kernel mappings, and code that was compiled at run time.
    return sorted(path for path in found if not path.startswith(("/memfd:", "/dev/", "/SYSV", "/tmp/", "/var/tmp/")))


def read_process_venv(pid: str) -> str | None:
    """Return the virtual environment in a process's command line, or None if the process has changed its title."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            interpreter = file.read().split(b"\0")[0].decode(errors="replace")
    except OSError:
        return None
    match = re.fullmatch(r"(/.+)/bin/[^/]+", interpreter)
    return os.path.realpath(match.group(1)) if match else None
