# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Query systemd, the journal, Nginx and the processes of a host."""

from __future__ import annotations

import contextlib
import glob
import grp
import os
import pwd
import re
import socket
import stat
import subprocess

from ansible_collections.flaskops.production.plugins.module_utils._app.health import (
    find_foreign_listener,
    send_health_request,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import Account, load_text
from ansible_collections.flaskops.production.plugins.module_utils._nginx import parser
from ansible_collections.flaskops.production.plugins.module_utils._systemd import journal, manager

_UNIT = (
    "Id,LoadState,ActiveState,SubState,Result,UnitFileState,FragmentPath,DropInPaths,NeedDaemonReload,MainPID,NRestarts,"
    "ExecMainStartTimestampMonotonic,User,Group,SupplementaryGroups,DynamicUser,WorkingDirectory,ExecStart,"
    "InvocationID,EnvironmentFiles,Sockets,ReadWritePaths,ProtectSystem,ProtectHome,PrivateTmp,TriggeredBy,Listen,Triggers"
)

# Seconds. `nginx -T` waits for name servers that do not answer.
NGINX_SECONDS = 60


class HostSystem:
    """Access to systemd, the journal and Nginx. Tests replace it."""

    def read_unit(self, unit: str) -> dict[str, str]:
        return manager.read_unit_properties(unit, _UNIT)

    def read_service_files(self) -> dict[str, str]:
        """Return the texts of the service units that an administrator installed, by name."""
        found: dict[str, str] = {}
        for directory in ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system"):
            for path in sorted(glob.glob(f"{directory}/*.service")):
                found.setdefault(os.path.basename(path), load_text(path))
        return found

    def read_journal(self, root: str, unit: str, since: float) -> list[str]:
        return journal.read_journal(unit, since, Layout(root).list_env_files()).splitlines()

    def dump_nginx(self) -> tuple[bool, str, dict[str, str]] | None:
        """Return whether Nginx accepts its configuration, its output, and the files; None without Nginx."""
        try:
            done = subprocess.run(
                ["nginx", "-T"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                env=_build_environment(),
                timeout=NGINX_SECONDS,
            )
        except OSError:
            return None
        except subprocess.TimeoutExpired:
            return (
                False,
                f"[emerg] nginx -T did not end within {NGINX_SECONDS} s",
                _read_nginx_files("/etc/nginx/nginx.conf"),
            )
        output = done.stderr.decode(errors="replace").strip()
        files = parser.parse_dump(done.stdout.decode(errors="replace")) if done.returncode == 0 else {}
        return done.returncode == 0, output, files or _read_nginx_files("/etc/nginx/nginx.conf")

    def read_nginx_unit(self) -> dict[str, str]:
        return self.read_unit("nginx.service")

    def read_listening_sockets(self) -> set[str]:
        """Return the paths of listening sockets, as they were bound."""
        return {
            line.split(None, 7)[7].strip()
            for line in load_text("/proc/net/unix").splitlines()[1:]
            if len(line.split(None, 7)) == 8 and line.split()[3] == "00010000"
        }

    def can_connect(self, path: str) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2)
            try:
                client.connect(path)
            except OSError:
                return False
        return True

    def find_foreign_listener(self, path: str, name: str) -> str:
        """Describe the process that listens on the path in place of the service; empty if the service does."""
        layout = Layout(os.path.dirname(os.path.dirname(path)))
        return (find_foreign_listener(layout, name) or "") if layout.socket == path else ""

    def find_health_failure(self, path: str, health: dict | None) -> str:
        """Return the failure of the health check, or an empty string."""
        check = {"path": "/", "host": "localhost", "timeout": 5, **(health or {})}
        answer = send_health_request(path, check["path"], check["host"], check["timeout"], check.get("headers"))
        statuses = check.get("status", range(100, 500))
        if answer in statuses:
            return ""
        expected = " or ".join(map(str, check["status"])) if "status" in check else "a status below 500"
        return f"GET {check['path']} answered {answer}, expected {expected}"


def _build_environment() -> dict[str, str]:
    return {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", "LC_ALL": "C"}


def _read_nginx_files(main: str) -> dict[str, str]:
    """Return the files of a configuration that Nginx rejects, by path."""
    found: dict[str, str] = {}
    pending = [main]
    while pending and len(found) < 500:
        path = pending.pop(0)
        if path in found or not os.path.isfile(path):
            continue
        found[path] = load_text(path)

        def find_patterns(directives: tuple[parser.Directive, ...]) -> list[str]:
            patterns = [item.words[0] for item in directives if item.name == "include" and item.words]
            return patterns + [pattern for item in directives for pattern in find_patterns(item.block)]

        for pattern in find_patterns(parser.parse_directives(found[path])):
            pending += sorted(glob.glob(os.path.join(os.path.dirname(main), pattern)))
    return found


def read_process_account(pid: str) -> Account | None:
    """Return the effective user and groups of a process, or None."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            lines = dict(line.rstrip("\n").split(":", 1) for line in file if ":" in line)
        uid, gid = int(lines["Uid"].split()[1]), int(lines["Gid"].split()[1])
        groups = {gid, *map(int, lines["Groups"].split())}
        return Account(pwd.getpwuid(uid).pw_name, uid, tuple(sorted(groups)), grp.getgrgid(gid).gr_name)
    except (OSError, KeyError, ValueError):
        return None


def list_children(pid: str) -> list[str]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as file:
            return file.read().split()
    except OSError:
        return []


def list_files_open_for_writing(unit: dict[str, str]) -> list[str]:
    """Return the files that the processes of a service have open for writing."""
    found = set()
    pending = [unit.get("MainPID", "0")]
    while pending:
        pid = pending.pop()
        pending += list_children(pid)
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError, IndexError, ValueError):
                    path = _find_file_open_for_writing(pid, number)
                    if path:
                        found.add(path)
    return sorted(found)


def _find_file_open_for_writing(pid: str, number: str) -> str:
    """Return the path of a regular file that a descriptor may write to, or an empty string."""
    path = os.readlink(f"/proc/{pid}/fd/{number}")
    with open(f"/proc/{pid}/fdinfo/{number}", encoding="ascii") as file:
        flags = int(re.findall(r"(?m)^flags:\s*([0-7]+)", file.read())[0], 8)
    is_writable = flags & os.O_ACCMODE and path.startswith("/") and stat.S_ISREG(os.lstat(path).st_mode)
    return path if is_writable else ""
