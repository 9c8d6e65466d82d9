# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running Nginx: its processes, since when they run, how many connections they hold. Private."""

from __future__ import annotations

import os
import signal
import time
from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._nginx_text import main_setting, whole_number

TICK = 1.0 / os.sysconf("SC_CLK_TCK")
RELOAD_TIMEOUT = 15.0  # seconds; Nginx itself tries for 2.5 s to bind a port that is taken


class Process(NamedTuple):
    pid: int
    parent: int
    started: float  # seconds since boot, rounded down to a clock tick


def process(pid: int) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as handle:
            fields = handle.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return Process(pid, int(fields[1]), int(fields[19]) * TICK)


def title(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as handle:
            return handle.read().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def running_master(pid_file: str) -> Process | None:
    """By the pid file: a host that runs containers has other Nginx masters among its processes."""
    try:
        with open(pid_file, encoding="ascii") as handle:
            pid = int(handle.read().strip() or "0")
    except (OSError, ValueError):
        return None
    return process(pid) if pid and title(pid).startswith("nginx: master") else None


def workers(master: Process) -> list[Process]:
    """The workers that accept requests, without those that shut down after a reload."""
    every = (process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    children = [found for found in every if found and found.parent == master.pid]
    titles = {found: title(found.pid) for found in children}
    return [found for found in children if titles[found].rstrip() == "nginx: worker process"]


def reload(master: Process, error_log: str) -> str:
    """Reload, and wait until only workers with the new configuration accept requests; why Nginx does not take it over.

    The signal reports nothing by itself, and the old workers go on for a moment after the new ones have begun.
    """
    old = {worker.pid for worker in workers(master)}
    position = os.path.getsize(error_log) if os.path.isfile(error_log) else 0
    os.kill(master.pid, signal.SIGHUP)
    accepting = old
    deadline = time.monotonic() + RELOAD_TIMEOUT
    while time.monotonic() < deadline:
        accepting = {worker.pid for worker in workers(master)}
        if accepting and accepting.isdisjoint(old):
            return ""
        time.sleep(0.02)
    if not old.issuperset(accepting):
        return ""  # taken over; an old worker is stuck in what it was doing
    said = ""
    if os.path.isfile(error_log):
        with open(error_log, "rb") as handle:
            handle.seek(position)
            lines = handle.read().decode("utf-8", "replace").splitlines()
        errors = [line for line in lines if "[emerg]" in line]
        said = f" Nginx says: {errors[0]}" if errors else ""
    return f"did not take it over within {RELOAD_TIMEOUT:.0f} s.{said} See {error_log}."


def wait_for_end(processes: list[Process], seconds: float) -> bool:
    """Wait until none of these is there any more, but not for longer; whether they are all gone."""
    deadline = time.monotonic() + seconds
    while any(process(each.pid) == each for each in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def is_older(started: list[float], changed: float) -> bool:
    """Whether all of these processes began before this time; both in seconds since boot."""
    return max(started) + TICK <= changed


def changed_at(names: list[str]) -> float:
    """When the newest of these names changed, in seconds since boot."""
    offset = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return max(os.lstat(name).st_ctime for name in names) - offset


def shortage(text: str, backlog: int, processes: int, files: int | None) -> str | None:
    """What to say when this main file allows fewer connections than waiting requests take: the client's, and its own.

    `files` is the number of files that a worker may open, which limits its connections, too; None when unknown.
    """
    connections = whole_number(main_setting(text, "worker_connections"), 512)
    limits = [connections] if files is None else [connections, files]
    needed = 2 * backlog
    if min(limits) * processes >= needed:
        return None
    held = f"worker_connections {connections}" + (f" and {files} open files" if min(limits) < connections else "")
    return (
        f"{backlog} requests may wait for the application, which takes {needed} connections of Nginx, but its "
        f"{processes} worker(s) with {held} hold {min(limits) * processes}: the requests beyond would fail. "
        f"Set worker_connections to {needed} and worker_rlimit_nofile to {2 * needed}"
    )
