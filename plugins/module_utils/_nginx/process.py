# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running Nginx: its processes, their age and their number of connections."""

from __future__ import annotations

import os
import signal
import time
from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._nginx.config import find_main_setting, parse_int

TICK = 1.0 / os.sysconf("SC_CLK_TCK")
RELOAD_TIMEOUT = 15.0  # seconds; Nginx itself tries for 2.5 s to bind a port that is taken


class NginxProcess(NamedTuple):
    pid: int
    parent: int
    started: float  # seconds since boot, rounded down to a clock tick


def read_process(pid: int) -> NginxProcess | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as handle:
            fields = handle.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return NginxProcess(pid, int(fields[1]), int(fields[19]) * TICK)


def read_command_line(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as handle:
            return handle.read().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def find_master(pid_file: str) -> NginxProcess | None:
    """Find the master process by its PID file. A host with containers may have other Nginx masters."""
    try:
        with open(pid_file, encoding="ascii") as handle:
            pid = int(handle.read().strip() or "0")
    except (OSError, ValueError):
        return None
    return read_process(pid) if pid and read_command_line(pid).startswith("nginx: master") else None


def find_workers(master: NginxProcess) -> list[NginxProcess]:
    """Return the workers that accept requests, without those that shut down after a reload."""
    every = (read_process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    children = [found for found in every if found and found.parent == master.pid]
    titles = {found: read_command_line(found.pid) for found in children}
    return [found for found in children if titles[found].rstrip() == "nginx: worker process"]


def reload_nginx(master: NginxProcess, error_log: str) -> str:
    """Reload Nginx, and wait until only workers with the new configuration accept requests.

    Return the reason if Nginx does not apply the configuration, or an empty string. The signal itself reports nothing,
    and old workers accept requests for a moment after new ones have started.
    """
    old = {worker.pid for worker in find_workers(master)}
    position = os.path.getsize(error_log) if os.path.isfile(error_log) else 0
    os.kill(master.pid, signal.SIGHUP)
    accepting = old
    deadline = time.monotonic() + RELOAD_TIMEOUT
    while time.monotonic() < deadline:
        accepting = {worker.pid for worker in find_workers(master)}
        if accepting and accepting.isdisjoint(old):
            return ""
        time.sleep(0.02)
    if not old.issuperset(accepting):
        return ""  # applied, although an old worker does not end
    cause = ""
    if os.path.isfile(error_log):
        with open(error_log, "rb") as handle:
            handle.seek(position)
            lines = handle.read().decode("utf-8", "replace").splitlines()
        errors = [line for line in lines if "[emerg]" in line]
        cause = f" Nginx says: {errors[0]}" if errors else ""
    return f"did not apply it within {RELOAD_TIMEOUT:.0f} s.{cause} See {error_log}."


def wait_for_exit(processes: list[NginxProcess], seconds: float) -> bool:
    """Wait for processes to exit. Return whether all of them exited within the given seconds."""
    deadline = time.monotonic() + seconds
    while any(read_process(each.pid) == each for each in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def are_older(started: list[float], changed: float) -> bool:
    """Return whether all start times precede a change time, in seconds since boot."""
    return max(started) + TICK <= changed


def find_change_time(names: list[str]) -> float:
    """Return the latest change time of paths, in seconds since boot."""
    offset = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return max(os.lstat(name).st_ctime for name in names) - offset


def check_connections(text: str, backlog: int, processes: int, files: int | None) -> str | None:
    """Return a warning if Nginx allows fewer connections than the waiting requests need, or None.

    A waiting request takes two connections: one to the client and one to the application. `files` is the limit of open
    files of a worker, which also limits its connections; None if it is unknown.
    """
    connections = parse_int(find_main_setting(text, "worker_connections"), 512)
    limits = [connections] if files is None else [connections, files]
    needed = 2 * backlog
    if min(limits) * processes >= needed:
        return None
    held = f"worker_connections {connections}" + (f" and {files} open files" if min(limits) < connections else "")
    return (
        f"{backlog} requests may wait for the application and take {needed} connections of Nginx, but its "
        f"{processes} worker(s) with {held} allow {min(limits) * processes}: further requests would fail. "
        f"Set worker_connections to {needed} and worker_rlimit_nofile to {2 * needed}"
    )
