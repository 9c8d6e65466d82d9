# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command that may execute foreign code in a transient unit, as a user who may do nothing else. Private."""

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

from ansible_collections.flaskops.production.plugins.module_utils._files.locking import LockTimeoutError, locked
from ansible_collections.flaskops.production.plugins.module_utils._service import of_unit, whole_lines

# A user of its own for everything that is built on a host. Only one build at a time runs as this user, so that no
# build can reach the processes of another one.
ACCOUNT = "flaskops-build"
# Root's alone: a lock that other users may open could be held by them.
RUNTIME = "/run/flaskops"
# The last bytes of a command's output that are kept.
OUTPUT = 256 * 1024
# The homes of users, and where applications and their data usually lie.
HIDDEN = ("/home", "/root", "/srv")

# Neither D-Bus, through which other services could be asked to act, nor privileges, devices or names of processes.
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
    # Whatever the command leaves running ends with it, at once.
    "KillMode=control-group",
    "KillSignal=SIGKILL",
)
# Exit statuses with which systemd says that it came no further than the sandbox.
SETUP = range(200, 246)
# For a command that must start no other. Limits of processes count those of all containers with the same user id.
ALONE = ("SystemCallFilter=~fork vfork clone clone3", "SystemCallErrorNumber=EPERM", "SystemCallArchitectures=native")


class BuildError(Exception):
    """Why a command could not be run as the build user, as a complete sentence."""


class BuildTimeoutError(BuildError):
    """The command was ended because it took too long."""


class Space(NamedTuple):
    """The part of the file system that a command sees beside the system's own, and the part that it may write.

    Mappings are from a path in the unit to the path on the host that is to be seen there.
    """

    writable: Mapping[str, str]
    readable: Mapping[str, str]
    hidden: tuple[str, ...]


def check_host() -> None:
    """Refuse a host on which a command can't be kept apart."""
    if os.geteuid() != 0:
        raise BuildError("Packages are built as a user of their own, which takes root: set become to true.")
    if not os.path.isdir("/run/systemd/system") or not shutil.which("systemd-run"):
        raise BuildError(
            "Packages are built in a transient unit of systemd, but systemd is not the init system of this host, or "
            "systemd-run is not in the PATH: install systemd, and boot the host with it."
        )


def account() -> tuple[int, int]:
    """User and group id of the build user, who is created when missing."""
    for _attempt in range(2):
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(ACCOUNT)
            if found.pw_uid == 0:
                raise BuildError(f"The user {ACCOUNT} is root: remove this user, who has to be without privileges.")
            return found.pw_uid, found.pw_gid
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        done = subprocess.run(
            [*command, "--shell", "/usr/sbin/nologin", "--comment", "Builds of flaskops.production", ACCOUNT],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    said = done.stderr.decode(errors="replace").strip()
    raise BuildError(f"The user {ACCOUNT}, as which packages are built, could not be created: {said}")


def application_root(directory: str) -> str:
    """The directory that holds venvs/ or releases/ of an application, without links."""
    return os.path.dirname(os.path.realpath(directory))


def hidden_directories(root: str) -> tuple[str, ...]:
    """The directories that a build does not see: homes, /srv, and its own and other applications elsewhere."""
    hidden = [os.path.realpath(path) for path in HIDDEN if os.path.isdir(path)]
    parent = os.path.dirname(root)
    if parent != "/" and not needs_binding(root, tuple(hidden)):
        hidden.append(root)
        with contextlib.suppress(OSError), os.scandir(parent) as entries:
            hidden += sorted(entry.path for entry in entries if entry.path != root and _is_application(entry.path))
    return tuple(hidden)


def _is_application(path: str) -> bool:
    return os.path.isdir(os.path.join(path, ".deploy")) or os.path.isdir(os.path.join(path, "shared"))


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def needs_binding(path: str, hidden: tuple[str, ...]) -> bool:
    """Whether a path of the host is not to be seen in the unit unless it is bound there."""
    return any(_is_below(path, directory) for directory in (*hidden, *HIDDEN, "/tmp", "/var/tmp", "/run/user"))


def closed_directory(path: str) -> str | None:
    """The first directory on the way to a path that only its owner and group may enter."""
    parts = path.split("/")[1:-1]
    for count in range(1, len(parts) + 1):
        directory = "/" + "/".join(parts[:count])
        if not os.stat(directory).st_mode & 0o001:
            return directory
    return None


def is_open(path: str) -> bool:
    """Whether every user may read a file."""
    return bool(os.stat(path).st_mode & 0o004) and closed_directory(os.path.realpath(path)) is None


def properties(space: Space, timeout: float) -> list[str]:
    """The directives of the unit, as lines of a unit file."""
    lines = ["Type=oneshot", f"User={ACCOUNT}", f"Group={ACCOUNT}", f"TimeoutStartSec={max(1, int(timeout))}", *SANDBOX]
    lines += [f"TemporaryFileSystem={_quoted(path)}:ro" for path in space.hidden]
    lines += [f"BindReadOnlyPaths={_quoted(host)}:{_quoted(path)}" for path, host in sorted(space.readable.items())]
    lines += [f"BindPaths={_quoted(host)}:{_quoted(path)}" for path, host in sorted(space.writable.items())]
    return lines


def _quoted(path: str) -> str:
    return re.sub(r"([\\:\s\"'])", r"\\\1", path)


def unit_name(directory: str) -> str:
    """The unit that builds in a directory: named after the application, and different for each directory."""
    application = re.sub(r"[^A-Za-z0-9_-]", "-", os.path.basename(os.path.dirname(directory)))[:64]
    return f"{ACCOUNT}-{application}-{hashlib.sha256(os.fsencode(directory)).hexdigest()[:8]}.service"


@contextlib.contextmanager
def exclusive(deadline: float) -> Iterator[None]:
    """Wait until no other build runs on this host, and let none begin."""
    os.makedirs(RUNTIME, mode=0o700, exist_ok=True)
    path = os.path.join(RUNTIME, "build.lock")
    try:
        with locked(path, deadline):
            # A unit that is still there works for a run that was killed.
            stop(f"{ACCOUNT}-*.service")
            yield
    except LockTimeoutError:
        raise BuildTimeoutError(
            f"Another build on this host still holds {path}: wait for it, or end it, and run again."
        ) from None


def stop(unit: str) -> None:
    """End the units of builds that nobody waits for any more, with all of their processes."""
    for action in ("stop", "reset-failed"):
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                ["systemctl", action, unit], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60
            )


def write_script(path: str, command: list[str], cwd: str, environment: Mapping[str, str], gid: int) -> None:
    """Write a script that runs a command, for the build user to read: in it, a secret is in no list of processes."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    lines += [f"cd {shlex.quote(cwd)} || exit", f"exec {shlex.join(command)}", ""]
    with open(path, "wb", opener=_private) as stream:
        os.fchown(stream.fileno(), -1, gid)
        os.fchmod(stream.fileno(), 0o640)
        stream.write("\n".join(lines).encode("utf-8", "surrogateescape"))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def run(unit: str, script: str, space: Space, timeout: float, more: tuple[str, ...] = ()) -> tuple[int, str]:
    """Run a script to its end as the build user; its exit status, and the end of what it wrote.

    Without --wait and --pipe, which need D-Bus: the start of a oneshot unit lasts as long as its command.
    """
    pipe = script + ".out"
    given = [*properties(space, timeout), *more, f"StandardOutput=file:{pipe}", "StandardError=inherit"]
    command = ["systemd-run", "--quiet", f"--unit={unit}", *[f"--property={line}" for line in given]]
    with named_pipe(pipe) as fd:
        status, output = follow([*command, "--", "/bin/sh", script], fd, unit, timeout)
    if status == 0:
        return 0, output
    shown = subprocess.run(
        ["systemctl", "show", unit, "--property=Result,ExecMainStatus"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    ).stdout.decode(errors="replace")
    stop(unit)
    state = dict(line.partition("=")[::2] for line in shown.splitlines())
    if state.get("Result") == "timeout":
        raise BuildTimeoutError(f"{unit} was ended after {timeout:.0f} s.")
    code = int(state.get("ExecMainStatus") or 0) or status
    if code in SETUP and not output:
        output = f"systemd could not set up the command (status {code}): {logged(unit)}\n"
    return code, output


def logged(unit: str) -> str:
    """What systemd has logged last about a unit."""
    shown = subprocess.run(
        ["journalctl", "--output=cat", "--no-pager", "--quiet", "--lines=20", *of_unit(unit)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    ).stdout.decode(errors="replace")
    said = [line for line in shown.splitlines() if "Failed" in line] or shown.splitlines()
    return said[-1] if said else "its journal has no reason"


@contextlib.contextmanager
def named_pipe(path: str) -> Iterator[int]:
    """The reading end of a named pipe, into which systemd lets a command write: not a byte of it is on the disk."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    os.mkfifo(path, 0o600)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
        os.unlink(path)


def follow(command: list[str], fd: int, unit: str, timeout: float) -> tuple[int, str]:
    """Run the client that starts a unit, and read what the unit writes; the client's exit status, and the end of it."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    # systemd ends the unit by itself; this is for a systemd that does not answer.
    kept, cut, until = b"", False, time.monotonic() + timeout + 60
    try:
        while True:
            running = process.poll() is None
            chunk = _read(fd)
            cut = cut or len(kept) + len(chunk) > OUTPUT
            kept = (kept + chunk)[-OUTPUT:]
            if not chunk and not running:
                break
            if not chunk:
                time.sleep(0.02)
            if time.monotonic() > until:
                raise BuildTimeoutError(f"{unit} did not end within {timeout:.0f} s.")
    finally:
        if process.poll() is None:
            process.kill()
            stop(unit)
        said = process.communicate()[1].decode(errors="replace")
    if process.returncode and not kept and 'See "systemctl status' not in said:
        # The unit was never started.
        kept = said.encode()
    return process.returncode, (whole_lines(kept) if cut else kept).decode("utf-8", "replace")


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 1 << 16)
    except BlockingIOError:
        return b""


def read_result(path: str, limit: int = 64 * 1024**2) -> str:
    """What a build has written to a file, read by root: a link or a named pipe in its place is refused."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as stream:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise BuildError(f"{path} is not a regular file, so it was not read.")
        return stream.read(limit).decode("utf-8", "surrogateescape")
