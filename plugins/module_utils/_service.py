# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes of one application: what runs, whether it is what should run, what it answers. Private."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import select
import socket
import stat
import struct
import subprocess
import time
from typing import Iterator, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import put_file, stream_sha256
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import open_file, read_file
from ansible_collections.flaskops.production.plugins.module_utils._releases import Home, ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._secrets import (
    ASSIGNMENT,
    hide,
    read_credentials,
    unquoted,
)

_PROPERTIES = (
    "Type,LoadState,ActiveState,MainPID,ExecMainStartTimestampMonotonic,NeedDaemonReload,FragmentPath,DropInPaths,"
    "InvocationID"
)

# Seconds after which a call is given up where nothing else bounds it: a question, and a job that runs a program.
ANSWER, JOB = 30, 600
JOBS = ("start", "stop", "restart", "daemon-reload", "enable", "disable")
# The exit status of a call that was given up, as timeout(1) has it.
TIMED_OUT = 124
# How much of the answer to a health check is read.
ANSWER_BYTES = 1 << 16
# How much of a log is kept in memory.
LOG_BYTES = 1 << 20
# How much of an environment file is read: no process can be given more.
ENVIRONMENT_BYTES = 1 << 21
# The process that opens the sockets of socket units.
SYSTEMD = 1
# The message by which systemd says why it could not execute a program: SD_MESSAGE_SPAWN_FAILED of sd-messages.h.
SPAWN_FAILED = "641257651c1b4ec9a8624d7a40a9e1e7"

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


def systemctl(*arguments: str, timeout: float | None = None) -> tuple[int, str]:
    """Run systemctl; its exit status, TIMED_OUT when it did not end in time, and what it said."""
    limit = timeout or (JOB if arguments[0] in JOBS else ANSWER)
    done = _run("systemctl", *arguments, timeout=limit)
    return done.returncode, (done.stderr + done.stdout).decode(errors="replace").strip()


def show(unit: str, properties: str = _PROPERTIES, *more: str) -> dict[str, str]:
    """A unit's state, by the names that systemd gives its properties; one that is there again adds a line."""
    done = _run("systemctl", "show", unit, *more, "--property", properties)
    if done.returncode:
        raise ReleaseError(f"systemctl show {unit} failed: {done.stderr.decode(errors='replace').strip()}")
    found: dict[str, str] = {}
    for line in done.stdout.decode(errors="replace").splitlines():
        name, separator, value = line.partition("=")
        if separator:
            found[name] = f"{found[name]}\n{value}" if name in found else value
    return found


def seconds(span: str) -> float:
    """A time span as systemd shows it, such as `1min 30s`."""
    if span == "infinity":
        return float("inf")
    units = {"us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([a-z]+)", span) if unit in units)


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


def unit_lines(text: str) -> Iterator[tuple[str, str]]:
    """The lines of a unit, as `systemctl cat` shows it, each with its section and its continuations."""
    section, pending = "", ""
    for line in text.splitlines():
        if line.strip()[:1] in ("#", ";") or not line.strip() and not pending:
            continue
        pending += line
        if line.endswith("\\"):
            # systemd reads a continued line as one, with a blank in between.
            pending = pending[:-1] + " "
            continue
        whole, pending = pending.strip(), ""
        if whole.startswith("["):
            section = whole.strip("[]")
        else:
            yield section, whole


def settings(text: str) -> list[str]:
    """The lines below [Service] of what `systemctl cat` shows, in order."""
    return [line for section, line in unit_lines(text) if section == "Service"]


def credentials(unit: str) -> list[str]:
    """What is in the credentials of a unit, as far as it can be read, so that no message shows it."""
    code, text = cat(unit)
    return read_credentials(settings(text), unit) if code == 0 else []


def of_unit(unit: str) -> list[str]:
    """The matches by which journalctl shows a unit's messages: those of --unit, and why its program was not executed.

    The process that logs the reason ends at once. If journald is late, it finds no process to learn the unit from, and
    --unit does not show the message.
    """
    by_manager = [f"UNIT={unit}", "_PID=1"]
    why_not_executed = [f"UNIT={unit}", f"MESSAGE_ID={SPAWN_FAILED}"]
    crashed = [f"COREDUMP_UNIT={unit}", "_UID=0"]
    return [f"_SYSTEMD_UNIT={unit}", "+", *by_manager, "+", *why_not_executed, "+", *crashed]


def journal(home: Home, unit: str, since: float, lines: int = 2000) -> str:
    """The last lines that a unit logged since a time, for a message to the operator: without its secrets."""
    _run("journalctl", "--sync", timeout=10)
    # With --since, older versions count --lines from the beginning.
    said = _end_of("journalctl", f"--since=@{since:.6f}", "--output=cat", "--no-pager", "--quiet", *of_unit(unit))
    logged = "\n".join(said.decode(errors="replace").strip().splitlines()[-lines:])
    logged = hide(logged, home.env_file, credentials(unit))
    return hide(logged, home.next_settings_file(home.env_file))


def _run(*command: str, timeout: float = ANSWER) -> subprocess.CompletedProcess:
    limit = None if timeout == float("inf") else timeout
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        said = f"{' '.join(command[:3])} did not end within {timeout:.0f} s".encode()
        return subprocess.CompletedProcess(command, TIMED_OUT, b"", said)


def _end_of(*command: str) -> bytes:
    """The last lines that a command writes. An application may have logged more than fits into memory."""
    kept, cut, until = b"", False, time.monotonic() + ANSWER
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        while select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
            block = os.read(process.stdout.fileno(), 1 << 16)  # type: ignore[union-attr]
            if not block:
                break
            cut = cut or len(kept) + len(block) > LOG_BYTES
            kept = (kept + block)[-LOG_BYTES:]
        process.kill()
    return whole_lines(kept) if cut else kept


def whole_lines(end: bytes) -> bytes:
    """The end of a text without the line that is cut off: of a secret in it, a part would not be known."""
    return end.partition(b"\n")[2]


class ForeignListener(OSError):
    """Who listens on the socket's path is not the application."""


class Bounded:
    """A connection that ends at a deadline, and after so many bytes, however slowly the other side sends."""

    # Those of the headers and of the body.
    deadline, left = 0.0, 2 * ANSWER_BYTES

    def recv_into(self, *arguments: object) -> int:
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise socket.timeout("timed out")
        if self.left <= 0:
            raise OSError("its headers are longer than 64 kB")
        self.settimeout(remaining)  # type: ignore[attr-defined]
        received = super().recv_into(*arguments)  # type: ignore[misc]
        self.left -= received
        return received


class BoundedSocket(Bounded, socket.socket):
    """Without TLS."""


def connect(address: tuple[str, int], deadline: float) -> BoundedSocket:
    """A connection to a host and port that has ended by the deadline."""
    limit = max(0.01, deadline - time.monotonic())
    found = BoundedSocket(fileno=socket.create_connection(address, limit).detach())
    found.settimeout(limit)
    found.deadline = deadline
    return found


class _Connection(http.client.HTTPConnection):
    def __init__(self, address: str, timeout: float, listeners: set[int] | None = None) -> None:
        super().__init__("localhost" if address.startswith("/") else address, timeout=timeout)
        self.address, self.listeners = address, listeners

    def connect(self) -> None:
        deadline = time.monotonic() + self.timeout
        if self.address.startswith("/"):
            self.sock = BoundedSocket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.deadline = deadline
            self.sock.connect(self.address)
            self.check_listener()
        else:
            self.sock = connect((self.host, self.port), deadline)

    def check_listener(self) -> None:
        """Refuse a listener that is neither systemd nor the service. The kernel names who called listen(2) last."""
        pid, uid, _gid = struct.unpack("3i", self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if self.listeners is None or pid in self.listeners:
            return
        if not os.path.exists(f"/proc/{pid}") and os.lstat(self.address).st_uid == 0:
            return  # a process of the service that has ended since
        raise ForeignListener(f"process {pid} of user {uid} listens on {self.address}, which is not the service")


def ask(
    address: str,
    target: str,
    host: str,
    timeout: float,
    headers: dict[str, str] | None = None,
    listeners: set[int] | None = None,
) -> int | str | OSError:
    """The status with which a socket, or host:port, answers a GET request, or why it does not answer.

    The timeout is for all of it. Of the body, no more than ANSWER_BYTES is read: that much shows that it is sent.
    listeners: the processes that may listen on the socket, where it matters. Whoever refuses the connection, or is
    another one, is an OSError: no release has answered.
    """
    connection = _Connection(address, timeout, listeners)
    try:
        more = {name: str(value) for name, value in (headers or {}).items()}
        own = {"Host": host, "User-Agent": "release-health", **more, "Connection": "close"}
        try:
            connection.connect()
        except socket.timeout as error:
            return str(error)
        except OSError as error:
            return error
        connection.request("GET", target, headers=own)
        response = connection.getresponse()
        response.read(ANSWER_BYTES)
        return response.status
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()


def mounted_path(path: str, *env_files: str) -> str:
    """The path to ask for: below SCRIPT_NAME of these environment files, where Gunicorn answers nothing else."""
    prefix = ""
    for env_file in env_files:
        # That of an old deployment may be a named pipe by now, or lead to what its user may not read.
        with contextlib.suppress(OSError):
            text = read_file(env_file, ENVIRONMENT_BYTES).decode("utf-8", "replace")
            found = [raw for name, raw in ASSIGNMENT.findall(text) if name == "SCRIPT_NAME"]
            prefix = unquoted(found[-1].strip()).rstrip("/") if found else prefix
    bare = path.partition("?")[0]
    return path if bare == prefix or bare.startswith(prefix + "/") and prefix else prefix + path


class Probe(NamedTuple):
    """What came of a health check: why it failed, None when it did not, and whether that is the host's fault."""

    fault: str | None
    by_host: bool = False


def probe(home: Home, health: dict | None, name: str = "", attempts: int | None = None) -> Probe:
    """Ask as the health check says until the answer is right. With a name, only that application may answer."""
    if health is None:
        return Probe(None)
    path = mounted_path(health["path"], home.env_file)
    answer: int | str | OSError = ""
    for attempt in range(attempts or health["attempts"]):
        if attempt:
            time.sleep(health["interval"])
        pids = listeners(name) if name else None
        answer = ask(home.socket, path, health["host"], health["timeout"], health["headers"], pids)
        if answer in health["status"]:
            return Probe(None)
    if isinstance(answer, OSError):
        said = answer if isinstance(answer, ForeignListener) else f"{home.socket}: {answer.strerror or answer}"
        return Probe(f"GET {path} was not answered: {said}", by_host=True)
    expected = " or ".join(str(status) for status in health["status"])
    return Probe(f"GET {path} answered {answer}, expected {expected}")


def fault(home: Home, health: dict | None, attempts: int | None = None, name: str = "") -> str | None:
    """Why the application does not answer as it should, after all attempts of the health check; None when it does."""
    return probe(home, health, name, attempts).fault


def listeners(name: str) -> set[int]:
    """The processes that may listen on the socket of an application."""
    found = show(f"{name}.service", "MainPID", f"{name}-next.service")
    return {SYSTEMD, *(int(pid) for pid in found.get("MainPID", "").split() if pid.isdigit() and pid != "0")}


def stranger(home: Home, name: str) -> str | None:
    """The process that listens on the socket in place of the running application; None when there is none.

    A service that is down is left alone: the connection would start it, and without a live release systemd would try
    again until it gives the socket up.
    """
    if show(f"{name}.service")["ActiveState"] != "active":
        return None
    connection = _Connection(home.socket, ANSWER, listeners(name))
    try:
        connection.connect()
    except ForeignListener as error:
        return str(error)
    except OSError:
        return None
    finally:
        connection.close()
    return None


def socket_lost(home: Home) -> str | None:
    """Why nobody can connect to the socket, seen without connecting; None when somebody listens on its path."""
    try:
        if not stat.S_ISSOCK(os.lstat(home.socket).st_mode):
            return f"{home.socket} is not a socket"
    except OSError:
        return f"{home.socket} is missing"
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:
        lines = [line.split(None, 7) for line in file]
    listening = any(len(line) == 8 and line[3] == "00010000" and line[7].strip() == home.socket for line in lines)
    return None if listening else f"no process listens on {home.socket}"


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


def replaced_files(pid: str, proc: str = "/proc") -> list[str]:
    """The programs and libraries that a process runs and that were replaced or removed since it loaded them."""
    found = set()
    with contextlib.suppress(OSError), open(f"{proc}/{pid}/maps", encoding="utf-8", errors="replace") as file:
        for line in file:
            fields = line.rstrip("\n").split(None, 5)
            if len(fields) == 6 and "x" in fields[1] and fields[5].endswith(" (deleted)"):
                found.add(fields[5][: -len(" (deleted)")])
    # Memory without a file of a program: of the kernel's own names, and what a program has compiled at run time.
    return sorted(path for path in found if not path.startswith(("/memfd:", "/dev/", "/SYSV", "/tmp/", "/var/tmp/")))


def lost_interpreter(environment: str) -> str | None:
    """Why no process can be started in a virtual environment: its interpreter is gone; None where it is there."""
    python = os.path.join(environment, "bin", "python")
    if not os.path.lexists(python) or os.path.exists(python):
        return None
    return f"{python} leads to {os.path.realpath(python)}, which is not there: was the distribution upgraded?"


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
    if os.path.lexists(home.next) or os.path.lexists(home.former_settings):
        return "an activation was interrupted"
    if working_directory(unit["MainPID"]) != os.path.realpath(home.app):
        return f"{name}.service runs {working_directory(unit['MainPID'])}"
    runs = prefix(unit["MainPID"])
    if runs and runs != os.path.realpath(os.path.join(home.venv)):
        return f"{name}.service runs with {runs}"
    lost = lost_interpreter(home.venv)
    if lost:
        return lost
    live = home.live()
    if live and live != home.recorded():
        return f"the activation of {live} was never recorded"
    if live and home.environment(live) not in (None, os.path.basename(os.path.realpath(home.venv))):
        return f"{live} is to run with {home.environment(live)}"
    if unit["NeedDaemonReload"] == "yes":
        return f"{name}.service changed on disk"
    lost = socket_lost(home)
    if lost:
        return lost
    path = changed(unit, settings_files(home), noted_process(home))
    if path:
        return f"{path} changed since {name}.service started"
    return "a former user of the application still has access to its data" if os.path.exists(home.former_user) else None


def settings_files(home: Home) -> list[str]:
    """The files besides its units that a process of the application reads when it starts."""
    return [home.env_file, home.gunicorn_config]


def file_digests(unit: dict[str, str], settings: list[str]) -> dict[str, str]:
    """What is in a unit's own files and in these settings, by their paths."""
    paths = [unit.get("FragmentPath", ""), *unit.get("DropInPaths", "").split(), *settings]
    found = {}
    for path in filter(None, paths):
        with contextlib.suppress(OSError), os.fdopen(open_file(path), "rb") as stream:
            found[path] = stream_sha256(stream)
    return found


def note_process(home: Home, invocation: str, files: dict[str, str]) -> None:
    """Note with what a process was started. Only for root: a digest lets a weak secret be guessed."""
    text = json.dumps({"invocation": invocation, "files": files}, indent=2, sort_keys=True) + "\n"
    put_file(home.process, text.encode(), 0o600)


def noted_process(home: Home) -> dict:
    """What was noted last; empty when nothing was, or nothing that can be read."""
    with contextlib.suppress(OSError, ValueError), open(home.process, encoding="utf-8") as file:
        found = json.load(file)
        if isinstance(found, dict) and isinstance(found.get("files"), dict):
            return found
    return {}


def changed(unit: dict[str, str], settings: list[str], noted: dict | None = None) -> str | None:
    """The first of a unit's own files and of these settings that changed since its process started.

    Their content decides. Only for a process that somebody else has started, the times of files and of its start do.
    """
    if noted:
        before, now = noted["files"], file_digests(unit, settings)
        differing = [path for path in {**now, **before} if before.get(path) != now.get(path)]
        if not differing:
            return None
        if noted.get("invocation") == unit.get("InvocationID"):
            return differing[0]
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
    why = (outdated(home, name) or fault(home, health, attempts=1, name=name)) if live else None
    return {"live": live or "", "previous": home.previous() or "", "outdated": why or ""}
