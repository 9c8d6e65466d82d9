# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The units of one application: state, processes, journal and health check."""

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

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout, ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._core.secrets import (
    ASSIGNMENT,
    hide_secrets,
    read_credentials,
    unquote_value,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import hash_stream, replace_file
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import open_file, read_file

_PROPERTIES = (
    "Type,LoadState,ActiveState,MainPID,ExecMainStartTimestampMonotonic,NeedDaemonReload,FragmentPath,DropInPaths,"
    "InvocationID"
)

# Timeouts in seconds, for queries and for jobs that start or stop a program.
QUERY_TIMEOUT, JOB_TIMEOUT = 30, 600
JOBS = ("start", "stop", "restart", "daemon-reload", "enable", "disable")
# The exit status of a command that exceeded its timeout, as in timeout(1).
TIMED_OUT = 124
# The maximum number of bytes to read from the response to a health check.
ANSWER_BYTES = 1 << 16
# How much of a log is kept in memory.
LOG_BYTES = 1 << 20
# How much of an environment file is read: no process can be given more.
ENVIRONMENT_BYTES = 1 << 21
# The process that opens the sockets of socket units.
SYSTEMD = 1
# SD_MESSAGE_SPAWN_FAILED of sd-messages.h: systemd's message on a program that it could not execute.
SPAWN_FAILED = "641257651c1b4ec9a8624d7a40a9e1e7"

# States in proc(5) of processes that do not run: stopped by a signal, traced, or dead.
PAUSED = {"T", "t", "Z", "X"}

# The option `health`, documented in doc_fragments/health.py.
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


def run_systemctl(*arguments: str, timeout: float | None = None) -> tuple[int, str]:
    """Return the exit status and the output of a systemctl command. The status of a timeout is TIMED_OUT."""
    limit = timeout or (JOB_TIMEOUT if arguments[0] in JOBS else QUERY_TIMEOUT)
    done = _run_command("systemctl", *arguments, timeout=limit)
    return done.returncode, (done.stderr + done.stdout).decode(errors="replace").strip()


def read_unit_properties(unit: str, properties: str = _PROPERTIES, *more: str) -> dict[str, str]:
    """Return the properties of units. Values of a repeated property are joined with newlines."""
    done = _run_command("systemctl", "show", unit, *more, "--property", properties)
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


def read_unit_text(unit: str) -> tuple[int, str]:
    """Return the exit status and the output of `systemctl cat`: the text of a unit and its drop-ins."""
    done = _run_command("systemctl", "cat", "--no-pager", unit)
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


def build_journal_matches(unit: str) -> list[str]:
    """Return the matches for a unit's messages: those of `journalctl --unit`, and those on a failed execution.

    The process that logs a failed execution ends immediately. A slow journald cannot assign its message to the unit,
    and --unit does not show it.
    """
    by_manager = [f"UNIT={unit}", "_PID=1"]
    spawn_failed = [f"UNIT={unit}", f"MESSAGE_ID={SPAWN_FAILED}"]
    by_root = [f"OBJECT_SYSTEMD_UNIT={unit}", "_UID=0"]
    crashed = [f"COREDUMP_UNIT={unit}", "_UID=0"]
    others = (by_manager, by_root, crashed, spawn_failed)
    return [f"_SYSTEMD_UNIT={unit}", *(word for match in others for word in ("+", *match))]


def read_journal(layout: Layout, unit: str, since: float, lines: int = 2000) -> str:
    """Return the last lines that a unit has logged since a time, with its secrets hidden."""
    _run_command("journalctl", "--sync", timeout=10)
    # With --since, old versions of journalctl count --lines from the beginning.
    options = (f"--since=@{since:.6f}", "--output=cat", "--no-pager", "--quiet")
    output = _end_of("journalctl", *options, *build_journal_matches(unit))
    logged = "\n".join(output.decode(errors="replace").strip().splitlines()[-lines:])
    logged = hide_secrets(logged, layout.env_file, read_unit_credentials(unit))
    return hide_secrets(logged, layout.next_settings_file(layout.env_file))


def _run_command(*command: str, timeout: float = QUERY_TIMEOUT) -> subprocess.CompletedProcess:
    limit = None if timeout == float("inf") else timeout
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        error = f"{' '.join(command[:3])} did not end within {timeout:.0f} s".encode()
        return subprocess.CompletedProcess(command, TIMED_OUT, b"", error)


def _end_of(*command: str) -> bytes:
    """The last lines that a command writes. An application may have logged more than fits into memory."""
    kept, until = Tail(LOG_BYTES), time.monotonic() + QUERY_TIMEOUT
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        while select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
            block = os.read(process.stdout.fileno(), 1 << 16)  # type: ignore[union-attr]
            if not block:
                break
            kept.add(block)
        process.kill()
    return kept.whole_lines()


class Tail:
    """The end of an output of any size. A truncated line is dropped, because a truncated secret cannot be hidden."""

    def __init__(self, limit: int) -> None:
        self.limit, self.kept, self.truncated = limit, b"", False

    def add(self, block: bytes) -> None:
        self.truncated = self.truncated or len(self.kept) + len(block) > self.limit
        self.kept = (self.kept + block)[-self.limit :]

    def whole_lines(self) -> bytes:
        return self.kept.partition(b"\n")[2] if self.truncated else self.kept


class ForeignListenerError(OSError):
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
        """Raise ForeignListenerError if neither systemd nor the service called listen(2) on the socket."""
        pid, uid, _gid = struct.unpack("3i", self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if self.listeners is None or pid in self.listeners:
            return
        if not os.path.exists(f"/proc/{pid}") and os.lstat(self.address).st_uid == 0:
            return  # the process belonged to the service and has ended
        raise ForeignListenerError(f"process {pid} of user {uid} listens on {self.address}, which is not the service")


def send_health_request(
    address: str,
    target: str,
    host: str,
    timeout: float,
    headers: dict[str, str] | None = None,
    listeners: set[int] | None = None,
) -> int | str | OSError:
    """Send a GET request to a socket path or host:port and return the status, or the reason why there is none.

    The timeout covers the whole exchange. At most ANSWER_BYTES of the body are read. Returns an OSError if the
    connection is refused, or if `listeners` are given and another process listens on the socket. Returns a string if
    the application does not complete its response.
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


def add_script_name(path: str, *env_files: str) -> str:
    """Prefix a path with SCRIPT_NAME of the environment files. Gunicorn rejects requests for other paths."""
    prefix = ""
    for env_file in env_files:
        # That of an old deployment may be a named pipe by now, or lead to what its user may not read.
        with contextlib.suppress(OSError):
            text = read_file(env_file, ENVIRONMENT_BYTES).decode("utf-8", "replace")
            found = [raw for name, raw in ASSIGNMENT.findall(text) if name == "SCRIPT_NAME"]
            prefix = unquote_value(found[-1].strip()).rstrip("/") if found else prefix
    bare = path.partition("?")[0]
    return path if bare == prefix or bare.startswith(prefix + "/") and prefix else prefix + path


class HealthResult(NamedTuple):
    """The result of a health check. `by_host` is true if the host, not the application, caused the failure."""

    failure: str | None
    by_host: bool = False


def check_health(
    layout: Layout, health: dict | None, name: str = "", attempts: int | None = None, socket_path: str = ""
) -> HealthResult:
    """Repeat the health check until it passes or all attempts have failed. With a name, check the listener too.

    The request is sent to `socket_path`, by default the socket of the layout.
    """
    if health is None:
        return HealthResult(None)
    path = add_script_name(health["path"], layout.env_file)
    address = socket_path or layout.socket
    answer: int | str | OSError = ""
    for attempt in range(attempts or health["attempts"]):
        if attempt:
            time.sleep(health["interval"])
        pids = read_listener_pids(name) if name else None
        answer = send_health_request(address, path, health["host"], health["timeout"], health["headers"], pids)
        if answer in health["status"]:
            return HealthResult(None)
    if isinstance(answer, OSError):
        reason = answer if isinstance(answer, ForeignListenerError) else f"{address}: {answer.strerror or answer}"
        return HealthResult(f"GET {path} was not answered: {reason}", by_host=True)
    expected = " or ".join(str(status) for status in health["status"])
    return HealthResult(f"GET {path} answered {answer}, expected {expected}")


def find_health_failure(layout: Layout, health: dict | None, attempts: int | None = None, name: str = "") -> str | None:
    """Return the failure of the health check after all attempts, or None if it passed."""
    return check_health(layout, health, name, attempts).failure


def read_listener_pids(name: str) -> set[int]:
    """Return the PIDs that may listen on the application's socket."""
    found = read_unit_properties(f"{name}.service", "MainPID", f"{name}-next.service")
    return {SYSTEMD, *(int(pid) for pid in found.get("MainPID", "").split() if pid.isdigit() and pid != "0")}


def find_foreign_listener(layout: Layout, name: str) -> str | None:
    """Describe the process that listens on the socket in place of the application, or return None.

    Returns None for a stopped service: a connection would start it. Without a live release, systemd would repeat the
    start until the socket reaches its limit.
    """
    if read_unit_properties(f"{name}.service")["ActiveState"] != "active":
        return None
    connection = _Connection(layout.socket, QUERY_TIMEOUT, read_listener_pids(name))
    try:
        connection.connect()
    except ForeignListenerError as error:
        return str(error)
    except OSError:
        return None
    finally:
        connection.close()
    return None


def find_socket_failure(layout: Layout) -> str | None:
    """Return the reason why clients cannot connect to the socket, or None. Does not connect to it."""
    try:
        if not stat.S_ISSOCK(os.lstat(layout.socket).st_mode):
            return f"{layout.socket} is not a socket"
    except OSError:
        return f"{layout.socket} is missing"
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:
        lines = [line.split(None, 7) for line in file]
    listening = any(len(line) == 8 and line[3] == "00010000" and line[7].strip() == layout.socket for line in lines)
    return None if listening else f"no process listens on {layout.socket}"


def read_working_directory(pid: str) -> str | None:
    """Return the working directory of a process, or None if the process does not exist."""
    link = f"/proc/{pid}/cwd"
    try:
        return os.readlink(link)
    except PermissionError:
        # In a container, root may lack CAP_SYS_PTRACE. The user of the process can always read the link.
        owner = os.stat(f"/proc/{pid}")
        return (
            _run_command(
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


def find_missing_interpreter(environment: str) -> str | None:
    """Return a message if the interpreter of a virtual environment is missing, or None."""
    python = os.path.join(environment, "bin", "python")
    if not os.path.lexists(python) or os.path.exists(python):
        return None
    return f"{python} leads to {os.path.realpath(python)}, which does not exist. Was the distribution upgraded?"


def read_process_venv(pid: str) -> str | None:
    """Return the virtual environment in a process's command line, or None if the process has changed its title."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            interpreter = file.read().split(b"\0")[0].decode(errors="replace")
    except OSError:
        return None
    match = re.fullmatch(r"(/.+)/bin/[^/]+", interpreter)
    return os.path.realpath(match.group(1)) if match else None


def find_restart_reason(layout: Layout, name: str) -> str | None:
    """Return the reason why the service does not match the layout and needs a restart, or None."""
    unit = read_unit_properties(f"{name}.service")
    if unit["LoadState"] != "loaded":
        return f"{name}.service does not exist"
    if unit["ActiveState"] != "active":
        return f"{name}.service is {unit['ActiveState']}"
    if os.path.lexists(layout.next) or os.path.lexists(layout.former_settings):
        return "an activation was interrupted"
    if read_working_directory(unit["MainPID"]) != os.path.realpath(layout.app):
        return f"{name}.service runs {read_working_directory(unit['MainPID'])}"
    venv = read_process_venv(unit["MainPID"])
    if venv and venv != os.path.realpath(os.path.join(layout.venv)):
        return f"{name}.service runs with {venv}"
    missing = find_missing_interpreter(layout.venv)
    if missing:
        return missing
    live = layout.live()
    if live and live != layout.recorded():
        return f"the activation of {live} was never recorded"
    if live and layout.environment(live) not in (None, os.path.basename(os.path.realpath(layout.venv))):
        return f"{live} must run with {layout.environment(live)}"
    if unit["NeedDaemonReload"] == "yes":
        return f"{name}.service changed on disk"
    failure = find_socket_failure(layout)
    if failure:
        return failure
    path = find_changed_file(unit, list_settings_files(layout), read_process_record(layout))
    if path:
        return f"{path} changed since {name}.service started"
    return (
        "a former user of the application still has access to its data" if os.path.exists(layout.former_user) else None
    )


def list_settings_files(layout: Layout) -> list[str]:
    """Return the files, besides units, that a process of the application reads at its start."""
    return [layout.env_file, layout.gunicorn_config]


def compute_file_digests(unit: dict[str, str], settings: list[str]) -> dict[str, str]:
    """Return the SHA-256 digests of a unit's files and of settings files, by path."""
    paths = [unit.get("FragmentPath", ""), *unit.get("DropInPaths", "").split(), *settings]
    found = {}
    for path in filter(None, paths):
        with contextlib.suppress(OSError), os.fdopen(open_file(path), "rb") as stream:
            found[path] = hash_stream(stream)
    return found


def record_process(layout: Layout, invocation: str, files: dict[str, str]) -> None:
    """Record the digests of the files that a process was started with.

    Only root can read the record, because weak secrets can be guessed from digests.
    """
    text = json.dumps({"invocation": invocation, "files": files}, indent=2, sort_keys=True) + "\n"
    replace_file(layout.process, text.encode(), 0o600)


def read_process_record(layout: Layout) -> dict:
    """Return the record of the last started process, or an empty dict if it is missing or unreadable."""
    with contextlib.suppress(OSError, ValueError), open(layout.process, encoding="utf-8") as file:
        found = json.load(file)
        if isinstance(found, dict) and isinstance(found.get("files"), dict):
            return found
    return {}


def find_changed_file(unit: dict[str, str], settings: list[str], record: dict | None = None) -> str | None:
    """Return the first unit or settings file that changed after the process started, or None.

    Compares contents with the record of the process. If the process has no record, compares change times with its
    start time.
    """
    if record:
        before, now = record["files"], compute_file_digests(unit, settings)
        differing = [path for path in {**now, **before} if before.get(path) != now.get(path)]
        if not differing:
            return None
        if record.get("invocation") == unit.get("InvocationID"):
            return differing[0]
    since = compute_start_time(unit)
    # A removed drop-in changes the time of its directory.
    drop_ins = [unit["FragmentPath"] and f"{unit['FragmentPath']}.d", *unit["DropInPaths"].split()]
    for path in [unit["FragmentPath"], *drop_ins, *settings]:
        if path and os.path.exists(path) and os.stat(path).st_ctime > since:
            return path
    return None


def find_process_failure(layout: Layout, name: str, health: dict | None) -> str:
    """Return why the process of the live release must be replaced, or an empty string. Sends one health request."""
    return find_restart_reason(layout, name) or find_health_failure(layout, health, attempts=1, name=name) or ""


def read_live_state(layout: Layout, name: str, health: dict | None) -> dict[str, str]:
    """Return the live release, the release for a rollback, and the reason for a restart. Each may be empty."""
    live = layout.live()
    reason = find_process_failure(layout, name, health) if live else ""
    return {"live": live or "", "previous": layout.previous() or "", "outdated": reason}
