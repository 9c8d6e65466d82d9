# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others may see of a run of Ansible."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from pathlib import Path

# Those who wait for a look, while a watch lasts.
_waiting: queue.SimpleQueue[threading.Event] = queue.SimpleQueue()
_watched = threading.Event()


def look() -> None:
    """Where a watch lasts, wait until it has read all processes once more, however busy this machine is."""
    done = threading.Event()
    _waiting.put(done)
    while _watched.is_set() and not done.wait(0.1):
        pass


class Watch:
    """The command lines of all processes, of the host's and of the others, as every user of a machine may read them,
    and the files in the run's temporary directory on the controller."""

    def __init__(self, container: str, temporary: Path, planted: str) -> None:
        self.container = container
        self.temporary = temporary
        self.planted = planted.encode()
        self.seen: dict[str, bool] = {}
        self.files: dict[str, bool] = {}
        self.thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watch:
        _watched.set()
        self.thread.start()
        return self

    def __exit__(self, *_reason) -> None:
        _watched.clear()
        self.thread.join()

    def command_lines(self, on_host: bool) -> list[str]:
        return [line for line, where in self.seen.items() if where == on_host]

    def temporary_files(self, with_secret: bool) -> list[str]:
        return [path for path, holds in self.files.items() if holds == with_secret]

    def _watch(self) -> None:
        since: dict[str, float] = {}
        whole = looked = 0.0
        while _watched.is_set():
            now = time.monotonic()
            waiting = [_waiting.get() for _done in range(_waiting.qsize())]
            processes = {entry for entry in os.listdir("/proc") if entry.isdigit()}
            since = {process: since.get(process, now) for process in processes}
            # A command line comes with the program, which a new process starts soon. All are read again now and then.
            if waiting or now - whole > 0.5:
                whole = now
            else:
                processes = {process for process in processes if now - since[process] < 1}
            for process in processes:
                self._read(process)
            for done in waiting:
                done.set()
            if now - looked > 0.2:
                looked = now
                self._look()
            time.sleep(0.02)

    def _look(self) -> None:
        for directory, _below, names in os.walk(self.temporary):
            for name in names:
                path = Path(directory, name)
                with contextlib.suppress(OSError):
                    self.files[str(path)] = self.files.get(str(path), False) or self.planted in path.read_bytes()

    def _read(self, process: str) -> None:
        # It may end meanwhile.
        with contextlib.suppress(OSError):
            line = Path("/proc", process, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if line not in self.seen:
                self.seen[line] = self.container in Path("/proc", process, "cgroup").read_text()
