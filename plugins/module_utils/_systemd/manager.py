# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Query and control units of systemd, and parse unit files."""

from __future__ import annotations

import re
import subprocess
from typing import Iterator

from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._core.secrets import (
    read_credentials,
)

_PROPERTIES = (
    "Type,LoadState,ActiveState,MainPID,ExecMainStartTimestampMonotonic,NeedDaemonReload,FragmentPath,DropInPaths,"
    "InvocationID"
)
# Timeouts in seconds, for queries and for jobs that start or stop a program.
QUERY_TIMEOUT, JOB_TIMEOUT = 30, 600
JOBS = ("start", "stop", "restart", "daemon-reload", "enable", "disable")
# The exit status of a command that exceeded its timeout, as in timeout(1).
TIMED_OUT = 124


def run_systemctl(*arguments: str, timeout: float | None = None) -> tuple[int, str]:
    """Return the exit status and the output of a systemctl command. The status of a timeout is TIMED_OUT."""
    limit = timeout or (JOB_TIMEOUT if arguments[0] in JOBS else QUERY_TIMEOUT)
    done = run_program("systemctl", *arguments, timeout=limit)
    return done.returncode, (done.stderr + done.stdout).decode(errors="replace").strip()


def read_unit_properties(unit: str, properties: str = _PROPERTIES, *more: str) -> dict[str, str]:
    """Return the properties of units. Values of a repeated property are joined with newlines."""
    done = run_program("systemctl", "show", unit, *more, "--property", properties)
    if done.returncode:
        raise ReleaseError(f"systemctl show {unit} failed: {done.stderr.decode(errors='replace').strip()}")
    found: dict[str, str] = {}
    for line in done.stdout.decode(errors="replace").splitlines():
        name, separator, value = line.partition("=")
        if separator:
            found[name] = f"{found[name]}\n{value}" if name in found else value
    return found


def parse_time_span(span: str) -> float:
    """Return the seconds of a time span in systemd's notation, such as `1min 30s`."""
    if span == "infinity":
        return float("inf")
    units = {"us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([a-z]+)", span) if unit in units)


def read_unit_text(unit: str) -> tuple[int, str]:
    """Return the exit status and the output of `systemctl cat`: the text of a unit and its drop-ins."""
    done = run_program("systemctl", "cat", "--no-pager", unit)
    return done.returncode, done.stdout.decode(errors="replace")


def parse_unit_lines(text: str) -> Iterator[tuple[str, str]]:
    """Yield the section and the line for each line of `systemctl cat`, with continuation lines joined."""
    section, pending = "", ""
    for line in text.splitlines():
        if line.strip()[:1] in ("#", ";") or not line.strip() and not pending:
            continue
        pending += line
        if line.endswith("\\"):
            # systemd joins continued lines with a space.
            pending = pending[:-1] + " "
            continue
        whole, pending = pending.strip(), ""
        if whole.startswith("["):
            section = whole.strip("[]")
        else:
            yield section, whole


def parse_service_settings(text: str) -> list[str]:
    """Return the lines of the [Service] sections in the output of `systemctl cat`."""
    return [line for section, line in parse_unit_lines(text) if section == "Service"]


def read_unit_credentials(unit: str) -> list[str]:
    """Return the readable credentials of a unit, to hide them in messages."""
    code, text = read_unit_text(unit)
    return read_credentials(parse_service_settings(text), unit) if code == 0 else []


def run_program(*command: str, timeout: float = QUERY_TIMEOUT) -> subprocess.CompletedProcess:
    limit = None if timeout == float("inf") else timeout
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        error = f"{' '.join(command[:3])} did not end within {timeout:.0f} s".encode()
        return subprocess.CompletedProcess(command, TIMED_OUT, b"", error)
