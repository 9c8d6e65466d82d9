# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations that the sandbox must deny. A probe raises if its operation succeeds or fails for another reason."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

ROOT = Path(os.environ["PROBE_ROOT"])
OTHER = Path(os.environ["PROBE_OTHER_ROOT"])
LIBC = ctypes.CDLL(None, use_errno=True)

# Errors of modes, of the sandbox's file system, of its system call filter, and of its address families.
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def refused(what: Callable[[], object], *numbers: int) -> str:
    try:
        done = what()
    except OSError as error:
        if error.errno not in (numbers or REFUSED):
            raise
        return errno.errorcode[error.errno]
    raise AssertionError(f"it was done: {done!r}")


def call(name: str, *arguments: object) -> int:
    """Call a function of the C library."""
    ctypes.set_errno(0)
    result = getattr(LIBC, name)(*arguments)
    if result == -1:
        raise OSError(ctypes.get_errno(), name)
    return result


def write(path: Path) -> Callable[[], object]:
    def attempt() -> object:
        # Do not create or truncate the file if the operation succeeds.
        return os.close(os.open(path, os.O_WRONLY)) if path.is_file() else path.joinpath("written-by-probe").touch()

    return attempt


def writes_to_code() -> str:
    return refused(write(Path.cwd() / "wsgi.py")) + refused(write(Path.cwd())) + refused(write(ROOT / "releases"))


def writes_to_packages() -> str:
    return refused(write(Path(sys.prefix))) + refused(write(Path(sys.prefix, "bin", "gunicorn")))


def writes_to_its_configuration() -> str:
    return refused(write(ROOT / "gunicorn.conf.py")) + refused(write(ROOT / "shared" / ".env"))


def writes_to_static_files() -> str:
    return refused(write(ROOT / "shared" / "static")) + refused(write(ROOT / "shared"))


def writes_to_the_system() -> str:
    # These directories are world-writable. Only the sandbox denies access.
    opened = [
        refused(write(Path(path)), errno.EROFS)
        for path in ("/etc/probe-open", "/var/lib/probe-open", "/srv/probe-open")
    ]
    return opened[0] + refused(write(Path("/etc/passwd"))) + refused(write(Path("/usr/local/bin")))


def reaches_the_other_application() -> str:
    told = [
        refused(write(OTHER / path)) for path in ("app/wsgi.py", "run", "shared/media", "shared/logs", "shared/.env")
    ]
    told += [
        refused(lambda path=path: os.listdir(OTHER / path))
        for path in ("shared/media", "shared/logs", "shared/instance")
    ]
    told.append(refused((OTHER / "shared/.env").read_text))
    return " ".join(told)


def connects_to_the_other_application() -> str:
    with socket.socket(socket.AF_UNIX) as end:
        return refused(lambda: end.connect(str(OTHER / "run/gunicorn.sock")))


def reads_homes() -> str:
    # The file in /home is world-readable.
    return " ".join(
        refused(what, errno.EACCES, errno.ENOENT)
        for what in (
            lambda: Path("/home/probe-open").read_text(),
            lambda: os.listdir("/root"),
            lambda: Path("/root/x").read_text(),
        )
    )


def sees_other_processes() -> str:
    own = os.geteuid()
    foreign = [process.pid for process in psutil.process_iter() if process.uids().effective != own]
    if foreign:
        raise AssertionError(f"it sees {foreign}")
    first = Path("/proc/1")
    if first.exists() and first.stat().st_uid == own:
        return "process 1 is its own"
    return refused(lambda: Path("/proc/1/environ").read_bytes(), errno.ENOENT, errno.EACCES)


def sees_temporary_files() -> str:
    return refused(lambda: Path("/tmp/probe-open").read_text(), errno.ENOENT)


def gains_privileges() -> str:
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        if int(status[name], 16):
            raise AssertionError(f"{name} is {status[name]}")
    if status["NoNewPrivs"] != "1" or status["Seccomp"] != "2":
        raise AssertionError(f"NoNewPrivs is {status['NoNewPrivs']}, Seccomp is {status['Seccomp']}")
    return refused(lambda: os.setuid(0)) + refused(lambda: os.setgid(0))


def mounts() -> str:
    return refused(lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None), errno.EPERM)


def unshares() -> str:
    return refused(lambda: call("unshare", 0x10000000), errno.EPERM)


def traces() -> str:
    """Use a debugger's system calls on the Gunicorn arbiter, which has the same user."""
    attach = 16
    return refused(lambda: call("ptrace", attach, os.getppid(), None, None), errno.EPERM)


def reads_memory_of_processes() -> str:
    """Use system calls that read the memory of other processes of the same user, without a debugger's privileges."""
    names = ("process_vm_readv", "process_vm_writev")
    return "".join(
        refused(lambda name=name: call(name, os.getppid(), None, 0, None, 0, 0), errno.EPERM) for name in names
    )


def opens_raw_sockets() -> str:
    raw = refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
    return raw + refused(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW), errno.EAFNOSUPPORT)


def opens_other_families() -> str:
    alg, vsock = 38, 40
    return " ".join(
        refused(lambda kind=kind: socket.socket(kind, socket.SOCK_STREAM), errno.EAFNOSUPPORT) for kind in (alg, vsock)
    )


def makes_devices() -> str:
    node = ROOT / "run" / "probe-device"
    made = refused(lambda: os.mknod(node, 0o600 | stat.S_IFCHR, os.makedev(1, 3)))
    found = {path.name for path in Path("/dev").iterdir()} & {"mem", "kmsg", "sda", "vda", "fuse", "kvm"}
    if found:
        raise AssertionError(f"it sees {found}")
    return made


def sets_the_clock() -> str:
    return refused(lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()), errno.EPERM)


def sets_the_host_name() -> str:
    return refused(lambda: socket.sethostname("probe"), errno.EPERM)


def changes_the_kernel() -> str:
    told = [refused(lambda: call("klogctl", 3, ctypes.create_string_buffer(16), 16), errno.EPERM)]
    told.append(refused(lambda: call("delete_module", b"probe", 0), errno.EPERM))
    told.append(refused(write(Path("/proc/sys/kernel/panic"))))
    return " ".join(told)


def changes_control_groups() -> str:
    return refused(write(Path("/sys/fs/cgroup")))


def sets_identity_bits() -> str:
    path = ROOT / "shared" / "media" / "probe-bits"
    path.touch()
    try:
        return refused(lambda: path.chmod(0o4755), errno.EPERM)
    finally:
        path.unlink()


def becomes_real_time() -> str:
    return refused(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)), errno.EPERM)


def takes_priority() -> str:
    nice = refused(lambda: os.nice(1), errno.EPERM)
    return nice + refused(lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)), errno.EPERM)


def gives_files_away() -> str:
    return refused(lambda: os.chown(ROOT / "shared" / "media", os.geteuid(), os.getegid()), errno.EPERM)


def signals_the_other_application() -> str:
    # With PrivatePIDs=, the process is not visible.
    numbers = (errno.EPERM, errno.ESRCH)
    return refused(lambda: os.kill(int(Path(os.environ["PROBE_OTHER_PID"]).read_text()), signal.SIGCONT), *numbers)


def changes_its_personality() -> str:
    return refused(lambda: call("personality", 0x0008), errno.EPERM)


PROBES = {
    function.__name__: function
    for function in list(globals().values())
    if getattr(function, "__module__", "") == __name__ and function not in (refused, call, write)
}
