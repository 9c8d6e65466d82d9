# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command that may execute foreign code in a transient unit, as an unprivileged user."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import re
import shlex
import shutil
import stat
import subprocess
import time
from typing import Iterator, Mapping, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ModuleError
from ansible_collections.flaskops.production.plugins.module_utils._files.locking import LockTimeoutError, hold_lock
from ansible_collections.flaskops.production.plugins.module_utils._files.paths import is_within
from ansible_collections.flaskops.production.plugins.module_utils._systemd.journal import Tail, build_journal_matches

# The user of all builds on a host. Only one build at a time runs as this user, so that builds cannot access each
# other's processes.
BUILD_USER = "flaskops-build"
# Only root can open it, because other users could hold the lock otherwise.
RUNTIME = "/run/flaskops"
# The number of bytes that are kept of the end of a command's output.
MAX_OUTPUT_BYTES = 256 * 1024
# Layout directories, and the usual directory of applications and data.
HIDDEN_DIRECTORIES = ("/home", "/root", "/srv")

# No D-Bus, privileges, devices or processes of other users.
SANDBOX = (
    "SupplementaryGroups=",
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "ProtectSystem=strict",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectProc=invisible",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectControlGroups=yes",
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "KeyringMode=private",
    "RemoveIPC=yes",
    "InaccessiblePaths=-/run/dbus -/run/systemd/private -/run/credentials -/run/user -/var/spool/cron",
    "UMask=0022",
    # Kill remaining processes immediately when the command ends.
    "KillMode=control-group",
    "KillSignal=SIGKILL",
)
# Exit statuses of systemd if it fails to set up the sandbox.
SETUP_STATUSES = range(200, 246)
# Prevents a command from starting processes. LimitNPROC would count the processes of all containers with the same UID.
SINGLE_PROCESS = (
    "SystemCallFilter=~fork vfork clone clone3",
    "SystemCallErrorNumber=EPERM",
    "SystemCallArchitectures=native",
)


class BuildError(ModuleError):
    """A command that could not be run as the build user. The message is a complete sentence."""


class BuildTimeoutError(BuildError):
    """A command that exceeded its time limit, or a build lock that was not released in time."""


class Mounts(NamedTuple):
    """The mounts of a build unit: writable and read-only paths, and hidden directories.

    The mappings are from the path in the unit to the path on the host.
    """

    writable: Mapping[str, str]
    readable: Mapping[str, str]
    hidden: tuple[str, ...]


def check_host() -> None:
    """Raise BuildError if the host cannot isolate a build."""
    if os.geteuid() != 0:
        raise BuildError(f"Packages are built as the user {BUILD_USER}, which requires root: set become to true.")
    if not os.path.isdir("/run/systemd/system") or not shutil.which("systemd-run"):
        raise BuildError(
            "Packages are built in a transient unit of systemd, but systemd is not the init system of this host, or "
            "systemd-run is not in the PATH: install systemd, and boot the host with it."
        )


def ensure_build_user() -> tuple[int, int]:
    """Return user and group ID of the build user, which is created if missing. Raises BuildError."""
    for _attempt in range(2):
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(BUILD_USER)
            if found.pw_uid == 0:
                raise BuildError(f"The user {BUILD_USER} has UID 0: remove this user, which must be unprivileged.")
            return found.pw_uid, found.pw_gid
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        done = subprocess.run(
            [*command, "--shell", "/usr/sbin/nologin", "--comment", "Builds of flaskops.production", BUILD_USER],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    stderr = done.stderr.decode(errors="replace").strip()
    raise BuildError(f"The user {BUILD_USER}, which builds packages, could not be created: {stderr}")


def find_application_root(directory: str) -> str:
    """Return the real path of the directory that holds venvs/ or releases/ of an application."""
    return os.path.dirname(os.path.realpath(directory))


def list_hidden_directories(root: str) -> tuple[str, ...]:
    """Return the directories to hide from a build: homes, /srv, and this and other applications elsewhere."""
    hidden = [os.path.realpath(path) for path in HIDDEN_DIRECTORIES if os.path.isdir(path)]
    parent = os.path.dirname(root)
    if parent != "/" and not needs_bind_mount(root, tuple(hidden)):
        hidden.append(root)
        with contextlib.suppress(OSError), os.scandir(parent) as entries:
            hidden += sorted(entry.path for entry in entries if entry.path != root and _is_application(entry.path))
    return tuple(hidden)


def _is_application(path: str) -> bool:
    return os.path.isdir(os.path.join(path, ".deploy")) or os.path.isdir(os.path.join(path, "shared"))


def needs_bind_mount(path: str, hidden: tuple[str, ...]) -> bool:
    """Return whether a path is visible in the unit only with a bind mount."""
    return any(
        is_within(path, directory) for directory in (*hidden, *HIDDEN_DIRECTORIES, "/tmp", "/var/tmp", "/run/user")
    )


def find_closed_directory(path: str) -> str | None:
    """Return the first directory of a path that other users cannot enter, or None."""
    parts = path.split("/")[1:-1]
    for count in range(1, len(parts) + 1):
        directory = "/" + "/".join(parts[:count])
        if not os.stat(directory).st_mode & 0o001:
            return directory
    return None


def is_world_readable(path: str) -> bool:
    """Return whether all users can read a file."""
    return bool(os.stat(path).st_mode & 0o004) and find_closed_directory(os.path.realpath(path)) is None


def format_properties(mounts: Mounts, timeout: float) -> list[str]:
    """Return the directives of the unit as lines. timeout is in seconds."""
    lines = [
        "Type=oneshot",
        f"User={BUILD_USER}",
        f"Group={BUILD_USER}",
        f"TimeoutStartSec={max(1, int(timeout))}",
        *SANDBOX,
    ]
    lines += [f"TemporaryFileSystem={_quote_path(path)}:ro" for path in mounts.hidden]
    lines += [
        f"BindReadOnlyPaths={_quote_path(host)}:{_quote_path(path)}" for path, host in sorted(mounts.readable.items())
    ]
    lines += [f"BindPaths={_quote_path(host)}:{_quote_path(path)}" for path, host in sorted(mounts.writable.items())]
    return lines


def _quote_path(path: str) -> str:
    return re.sub(r"([\\:\s\"'])", r"\\\1", path)


def format_unit_name(directory: str) -> str:
    """Return the name of the unit that builds in a directory. It contains the application and a hash of the path."""
    application = re.sub(r"[^A-Za-z0-9_-]", "-", os.path.basename(os.path.dirname(directory)))[:64]
    return f"{BUILD_USER}-{application}-{hashlib.sha256(os.fsencode(directory)).hexdigest()[:8]}.service"


@contextlib.contextmanager
def hold_build_lock(deadline: float) -> Iterator[None]:
    """Wait until no other build runs on this host, and hold the build lock. Raises BuildTimeoutError."""
    os.makedirs(RUNTIME, mode=0o700, exist_ok=True)
    path = os.path.join(RUNTIME, "build.lock")
    try:
        with hold_lock(path, deadline):
            # A remaining unit belongs to a killed run.
            stop_unit(f"{BUILD_USER}-*.service")
            yield
    except LockTimeoutError:
        raise BuildTimeoutError(
            f"Another build on this host still holds {path}: wait for it, or stop it, and run again."
        ) from None


def stop_unit(unit: str) -> None:
    """Stop units of builds with all of their processes. unit may be a pattern."""
    for action in ("stop", "reset-failed"):
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                ["systemctl", action, unit], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60
            )


def write_script(path: str, command: list[str], cwd: str, environment: Mapping[str, str], gid: int) -> None:
    """Write a script that runs a command, readable for the build user. A secret in it is not in the process list."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    lines += [f"cd {shlex.quote(cwd)} || exit", f"exec {shlex.join(command)}", ""]
    with open(path, "wb", opener=_open_private) as stream:
        os.fchown(stream.fileno(), -1, gid)
        os.fchmod(stream.fileno(), 0o640)
        stream.write("\n".join(lines).encode("utf-8", "surrogateescape"))


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def run_script(
    unit: str, script: str, mounts: Mounts, timeout: float, directives: tuple[str, ...] = ()
) -> tuple[int, str]:
    """Run a script as the build user. Returns its exit status and the end of its output. timeout is in seconds.

    The options --wait and --pipe are not used, because they need D-Bus. Starting a oneshot unit waits for its command.
    """
    pipe = script + ".out"
    lines = [*format_properties(mounts, timeout), *directives, f"StandardOutput=file:{pipe}", "StandardError=inherit"]
    command = ["systemd-run", "--quiet", f"--unit={unit}", *[f"--property={line}" for line in lines]]
    with open_named_pipe(pipe) as fd:
        status, output = follow_unit([*command, "--", "/bin/sh", script], fd, unit, timeout)
    if status == 0:
        return 0, output
    shown = subprocess.run(
        ["systemctl", "show", unit, "--property=Result,ExecMainStatus"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    ).stdout.decode(errors="replace")
    stop_unit(unit)
    state = dict(line.partition("=")[::2] for line in shown.splitlines())
    if state.get("Result") == "timeout":
        raise BuildTimeoutError(f"{unit} was ended after {timeout:.0f} s.")
    code = int(state.get("ExecMainStatus") or 0) or status
    if code in SETUP_STATUSES and not output:
        output = f"systemd could not set up the command (status {code}): {read_unit_error(unit)}\n"
    return code, output


def read_unit_error(unit: str) -> str:
    """Return the last error that systemd has logged about a unit."""
    shown = subprocess.run(
        ["journalctl", "--output=cat", "--no-pager", "--quiet", "--lines=20", *build_journal_matches(unit)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    ).stdout.decode(errors="replace")
    lines = [line for line in shown.splitlines() if "Failed" in line] or shown.splitlines()
    return lines[-1] if lines else "its journal contains no reason"


@contextlib.contextmanager
def open_named_pipe(path: str) -> Iterator[int]:
    """Create a named pipe for the output of a unit, and yield its reading end. No output is written to disk."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    os.mkfifo(path, 0o600)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
        os.unlink(path)


def follow_unit(command: list[str], fd: int, unit: str, timeout: float) -> tuple[int, str]:
    """Run the command that starts a unit, and read the unit's output.

    Returns the exit status of the command and the end of the output. Raises BuildTimeoutError.
    """
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    # systemd enforces the time limit of the unit; this deadline is for a systemd that does not answer.
    kept, deadline = Tail(MAX_OUTPUT_BYTES), time.monotonic() + timeout + 60
    try:
        while True:
            running = process.poll() is None
            chunk = _read_available(fd)
            kept.add(chunk)
            if not chunk and not running:
                break
            if not chunk:
                time.sleep(0.02)
            if time.monotonic() > deadline:
                raise BuildTimeoutError(f"{unit} did not end within {timeout:.0f} s.")
    finally:
        if process.poll() is None:
            process.kill()
            stop_unit(unit)
        stderr = process.communicate()[1].decode(errors="replace")
    if process.returncode and not kept.kept and 'See "systemctl status' not in stderr:
        # The unit was not started.
        return process.returncode, stderr
    return process.returncode, kept.whole_lines().decode("utf-8", "replace")


def _read_available(fd: int) -> bytes:
    try:
        return os.read(fd, 1 << 16)
    except BlockingIOError:
        return b""


def read_result(path: str, limit: int = 64 * 1024**2) -> str:
    """Read a file that a build has written. Raises OSError for a link and BuildError for other special files."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as stream:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise BuildError(f"{path} is not a regular file; it was not read.")
        return stream.read(limit).decode("utf-8", "surrogateescape")
