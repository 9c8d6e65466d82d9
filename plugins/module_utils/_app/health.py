# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The health check of an application, and the process that listens on its socket."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import stat
import struct
import time
from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._core.connections import (
    ANSWER_BYTES,
    BoundedSocket,
    connect,
)
from ansible_collections.flaskops.production.plugins.module_utils._core.secrets import (
    ASSIGNMENT,
    unquote_value,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import read_file
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import (
    QUERY_TIMEOUT,
    read_unit_properties,
)

# The maximum number of bytes to read from an environment file. A process cannot have a larger environment.
ENVIRONMENT_BYTES = 1 << 21
# The process that opens the sockets of socket units.
SYSTEMD = 1
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


class ForeignListenerError(OSError):
    """A process that is not the application listens on the socket."""


class HealthConnection(http.client.HTTPConnection):
    def __init__(self, address: str, timeout: float, listeners: set[int] | None = None) -> None:
        super().__init__("localhost" if address.startswith("/") else address, timeout=timeout)
        self.address, self.listeners = address, listeners

    def connect(self) -> None:
        deadline = time.monotonic() + (self.timeout or 0)
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
    connection = HealthConnection(address, timeout, listeners)
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
        # The file of an adopted deployment may be a named pipe, or a link to a file that its user cannot read.
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
    connection = HealthConnection(layout.socket, QUERY_TIMEOUT, read_listener_pids(name))
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
