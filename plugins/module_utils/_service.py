# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes of one application: what runs, whether it is what should run, what it answers. Private."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import subprocess
import time

from ansible_collections.flaskops.production.plugins.module_utils._releases import Home, ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._secrets import (
    ASSIGNMENT,
    hide,
    read_credentials,
    unquoted,
)

_PROPERTIES = (
    "Type,LoadState,ActiveState,MainPID,ExecMainStartTimestampMonotonic,NeedDaemonReload,FragmentPath,DropInPaths"
)

# Stopped by a signal, traced, or dead already.
HALTED = {"T", "t", "Z", "X"}

# The option health of every module that asks; documented in doc_fragments/health.py.
HEALTH = {
    "type": "dict",
    "options": {
        "path": {"type": "str", "required": True},
        "status": {"type": "list", "elements": "int", "default": [200]},
        "host": {"type": "str", "default": "localhost"},
        "headers": {"type": "dict", "default": {}},
        "attempts": {"type": "int", "default": 5},
        "interval": {"type": "float", "default": 1},
        "timeout": {"type": "float", "default": 5},
    },
}


def systemctl(*arguments: str) -> tuple[int, str]:
    """Run systemctl; its exit status and what it said."""
    done = _run("systemctl", *arguments)
    return done.returncode, (done.stderr + done.stdout).decode(errors="replace").strip()


def show(unit: str, properties: str = _PROPERTIES) -> dict[str, str]:
    """A unit's state, by the names that systemd gives its properties; one that is there again adds a line."""
    done = _run("systemctl", "show", unit, "--property", properties)
    if done.returncode:
        raise ReleaseError(f"systemctl show {unit} failed: {done.stderr.decode(errors='replace').strip()}")
    found: dict[str, str] = {}
    for line in done.stdout.decode(errors="replace").splitlines():
        name, separator, value = line.partition("=")
        if separator:
            found[name] = f"{found[name]}\n{value}" if name in found else value
    return found


def states(unit: str) -> dict[int, str]:
    """What each process of a unit does, as the letters that proc(5) gives for it."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/cgroup", encoding="utf-8", errors="replace") as file:
                groups = file.read().splitlines()
            if any(unit in line.split("/") for line in groups):
                with open(f"/proc/{name}/stat", "rb") as file:
                    found[int(name)] = file.read().rpartition(b")")[2].split()[0].decode()
    return found


def halt(unit: str, patience: float = 10) -> None:
    """Stop all processes of a unit where they are, so that none of them answers.

    systemd sends the signal to those that it sees: a child that is just being made goes on. So it is sent until twice
    running all have stopped. After the first time nobody is left who could make another child unseen.
    """
    deadline, before = time.monotonic() + patience, False
    while time.monotonic() < deadline:
        code, said = systemctl("kill", "--signal=SIGSTOP", unit)
        if code:
            raise ReleaseError(f"{unit} could not be halted: {said}")
        found = states(unit)
        if not found:
            raise ReleaseError(f"{unit} ended while it was to be halted.")
        now = set(found.values()) <= HALTED
        if now and before:
            return
        before = now
        time.sleep(0.01)
    raise ReleaseError(f"{unit} could not be halted: after {patience:.0f} s it still runs.")


def started(unit: dict[str, str]) -> float:
    """When the main process of a unit started, as the system's clock now tells it."""
    age = time.clock_gettime(time.CLOCK_MONOTONIC) - int(unit["ExecMainStartTimestampMonotonic"]) / 1e6
    return time.time() - age


def cat(unit: str) -> tuple[int, str]:
    """The text of a unit with its drop-ins, in the order in which systemd reads them; the exit status comes first."""
    done = _run("systemctl", "cat", "--no-pager", unit)
    return done.returncode, done.stdout.decode(errors="replace")


def settings(text: str) -> list[str]:
    """The lines below [Service] of what `systemctl cat` shows, in order, each with its continuations."""
    lines, section, pending = [], "", ""
    for line in text.splitlines():
        if line.strip()[:1] in ("#", ";") or not line.strip() and not pending:
            continue
        pending += line
        if line.endswith("\\"):
            # systemd reads a continued line as one, with a blank in between.
            pending = pending[:-1] + " "
            continue
        if pending.strip().startswith("["):
            section = pending.strip()
        elif section == "[Service]":
            lines.append(pending.strip())
        pending = ""
    return lines


def credentials(unit: str) -> list[str]:
    """What is in the credentials of a unit, as far as it can be read, so that no message shows it."""
    code, text = cat(unit)
    return read_credentials(settings(text), unit) if code == 0 else []


def journal(home: Home, unit: str, since: float, lines: int = 60) -> str:
    """The last lines that a unit logged since a time, for a message to the operator: without its secrets."""
    _run("journalctl", "--sync")
    # With --since, older versions count --lines from the beginning.
    said = _run("journalctl", f"--unit={unit}", f"--since=@{since:.6f}", "--output=cat", "--no-pager", "--quiet")
    logged = "\n".join(said.stdout.decode(errors="replace").strip().splitlines()[-lines:])
    return hide(logged, home.env_file, credentials(unit))


def _run(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def cause(logged: str) -> str:
    """The exception that ended a start, out of what was logged; empty when there is none."""
    found = re.findall(r"^(?:[\w.]+\.)?(\w*(?:Error|Exception|Exit)\b.*)$", logged, re.MULTILINE)
    return found[-1] if found else ""


class _SocketConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(address: str, target: str, host: str, timeout: float, headers: dict[str, str] | None = None) -> int | str:
    """The status with which a socket, or host:port, answers a GET request, or why it does not answer."""
    if address.startswith("/"):
        connection: http.client.HTTPConnection = _SocketConnection(address, timeout)
    else:
        connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        more = {name: str(value) for name, value in (headers or {}).items()}
        own = {"Host": host, "User-Agent": "release-health", **more, "Connection": "close"}
        connection.request("GET", target, headers=own)
        response = connection.getresponse()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()


def mounted_path(path: str, *env_files: str) -> str:
    """The path to ask for: below SCRIPT_NAME of these environment files, where Gunicorn answers nothing else."""
    prefix = ""
    for env_file in env_files:
        with contextlib.suppress(OSError), open(env_file, encoding="utf-8", errors="replace") as file:
            found = [raw for name, raw in ASSIGNMENT.findall(file.read()) if name == "SCRIPT_NAME"]
            prefix = unquoted(found[-1].strip()).rstrip("/") if found else prefix
    bare = path.partition("?")[0]
    return path if bare == prefix or bare.startswith(prefix + "/") and prefix else prefix + path


def fault(home: Home, health: dict | None, attempts: int | None = None) -> str | None:
    """Why the application does not answer as it should, after all attempts of the health gate; None when it does."""
    if health is None:
        return None
    path = mounted_path(health["path"], home.env_file)
    for attempt in range(attempts or health["attempts"]):
        if attempt:
            time.sleep(health["interval"])
        answer = ask(home.socket, path, health["host"], health["timeout"], health["headers"])
        if answer in health["status"]:
            return None
    expected = " or ".join(str(status) for status in health["status"])
    return f"GET {path} answered {answer}, expected {expected}"


def working_directory(pid: str) -> str | None:
    """The directory that a process runs in; None when there is no such process."""
    link = f"/proc/{pid}/cwd"
    try:
        return os.readlink(link)
    except PermissionError:
        # In a container, root may lack CAP_SYS_PTRACE; the process's own user may always look.
        owner = os.stat(f"/proc/{pid}")
        return (
            _run("setpriv", f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups", "readlink", link)
            .stdout.decode()
            .rstrip("\n")
            or None
        )
    except OSError:
        return None


def prefix(pid: str) -> str | None:
    """The environment that a process runs in, as its command line names it; None when it renamed itself."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            interpreter = file.read().split(b"\0")[0].decode(errors="replace")
    except OSError:
        return None
    match = re.fullmatch(r"(/.+)/bin/[^/]+", interpreter)
    return os.path.realpath(match.group(1)) if match else None


def outdated(home: Home, name: str) -> str | None:
    """Why the service needs a new process to be what the tree describes; None when it is."""
    unit = show(f"{name}.service")
    if unit["LoadState"] != "loaded":
        return f"{name}.service does not exist"
    if unit["ActiveState"] != "active":
        return f"{name}.service is {unit['ActiveState']}"
    if os.path.lexists(home.next):
        return "an activation was interrupted"
    if working_directory(unit["MainPID"]) != os.path.realpath(home.app):
        return f"{name}.service runs {working_directory(unit['MainPID'])}"
    runs = prefix(unit["MainPID"])
    if runs and runs != os.path.realpath(os.path.join(home.venv)):
        return f"{name}.service runs with {runs}"
    live = home.live()
    if live and live != home.recorded():
        return f"the activation of {live} was never recorded"
    if live and home.environment(live) not in (None, os.path.basename(os.path.realpath(home.venv))):
        return f"{live} is to run with {home.environment(live)}"
    if unit["NeedDaemonReload"] == "yes":
        return f"{name}.service changed on disk"
    path = changed(unit, [home.env_file, home.gunicorn_config])
    if path:
        return f"{path} changed since {name}.service started"
    return "a former user of the application still has access to its data" if os.path.exists(home.former_user) else None


def changed(unit: dict[str, str], settings: list[str]) -> str | None:
    """The first of a unit's own files and of these settings that changed since its process started."""
    since = started(unit)
    # The directory of the drop-ins tells of one that was removed.
    drop_ins = [unit["FragmentPath"] and f"{unit['FragmentPath']}.d", *unit["DropInPaths"].split()]
    for path in [unit["FragmentPath"], *drop_ins, *settings]:
        if path and os.path.exists(path) and os.stat(path).st_ctime > since:
            return path
    return None


def observe(home: Home, name: str, health: dict | None) -> dict[str, str]:
    """What is live, what a rollback returns to, why the process is not as it should be; empty where there is none."""
    live = home.live()
    why = (outdated(home, name) or fault(home, health, attempts=1)) if live else None
    return {"live": live or "", "previous": home.previous() or "", "outdated": why or ""}
