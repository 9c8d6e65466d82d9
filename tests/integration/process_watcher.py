# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record the data of an Ansible run that other users can read."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from pathlib import Path

# Events of callers that wait for a scan.
_waiting: queue.SimpleQueue[threading.Event] = queue.SimpleQueue()
_watched = threading.Event()


def wait_for_scan() -> None:
    """Wait until a running watcher has read all processes once more."""
    done = threading.Event()
    _waiting.put(done)
    while _watched.is_set() and not done.wait(0.1):
        pass


class ProcessWatcher:
    """Record the command lines of all processes, and the files in the temporary directory on the controller."""

    def __init__(self, container: str, temporary: Path, planted: str) -> None:
        self.container = container
        self.temporary = temporary
        self.planted = planted.encode()
        self.lines: dict[str, bool] = {}
        self.files: dict[str, bool] = {}
        self.thread = threading.Thread(target=self._watch)

    def __enter__(self) -> ProcessWatcher:
        _watched.set()
        self.thread.start()
        return self

    def __exit__(self, *_reason) -> None:
        _watched.clear()
        self.thread.join()

    def command_lines(self, on_host: bool) -> list[str]:
        return [line for line, where in self.lines.items() if where == on_host]

    def temporary_files(self, with_secret: bool) -> list[str]:
        return [path for path, holds in self.files.items() if holds == with_secret]

    def _watch(self) -> None:
        since: dict[str, float] = {}
        whole = scanned = 0.0
        while _watched.is_set():
            now = time.monotonic()
            waiting = [_waiting.get() for _done in range(_waiting.qsize())]
            processes = {entry for entry in os.listdir("/proc") if entry.isdigit()}
            since = {process: since.get(process, now) for process in processes}
            # A new process gets its command line after a moment. Older processes are read again at times.
            if waiting or now - whole > 0.5:
                whole = now
            else:
                processes = {process for process in processes if now - since[process] < 1}
            for process in processes:
                self._read(process)
            for done in waiting:
                done.set()
            if now - scanned > 0.2:
                scanned = now
                self._scan_files()
            time.sleep(0.02)

    def _scan_files(self) -> None:
        for directory, _below, names in os.walk(self.temporary):
            for name in names:
                path = Path(directory, name)
                with contextlib.suppress(OSError):
                    self.files[str(path)] = self.files.get(str(path), False) or self.planted in path.read_bytes()

    def _read(self, process: str) -> None:
        # The process may end.
        with contextlib.suppress(OSError):
            line = Path("/proc", process, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if line not in self.lines:
                self.lines[line] = self.container in Path("/proc", process, "cgroup").read_text()
