# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count the remote executions of a run.

The results of tasks do not show them: an action may execute several modules, copy files, or do nothing. So the methods
of connections that execute commands and transfer files are wrapped. The workers inherit the wrappers and append each
call to one file.
"""

from __future__ import annotations

import collections
import functools
import json
import multiprocessing
import os
import tempfile
from pathlib import Path

from ansible.plugins.callback import CallbackBase
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = r"""
name: remote_executions
type: aggregate
short_description: Count the remote executions of a run
description:
  - Counts the commands that are executed on each host, and the files that are copied to or from it.
  - Commands on the controller (connection C(local)) are not counted.
requirements:
  - enable in configuration
options:
  report:
    description: Write the counts of each host, by task, to this file as JSON, too.
    type: path
    env:
      - name: REMOTE_EXECUTIONS_REPORT
    ini:
      - section: callback_remote_executions
        key: report
"""

COUNTED = ("exec_command", "put_file", "fetch_file")


class CallbackModule(CallbackBase):
    """Count remote executions."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "remote_executions"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *arguments, **named) -> None:
        super().__init__(*arguments, **named)
        handle, path = tempfile.mkstemp(prefix="remote-executions-")
        os.close(handle)
        self.notes = Path(path)
        wrap_connections(self.notes)

    def v2_playbook_on_stats(self, stats) -> None:
        counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
        for line in self.notes.read_text(encoding="utf-8").splitlines():
            host, task, kind = json.loads(line)
            counts[host][f"{task} ({kind})"] += 1
        self.notes.unlink()
        self._display.banner("REMOTE EXECUTIONS")
        for host in sorted(stats.processed):
            self._display.display(f"{host:<26} : {sum(counts[host].values())}")
            for task, count in counts[host].items():
                self._display.display(f"{count:>4}  {task}")
        if report := self.get_option("report"):
            Path(report).write_text(json.dumps({host: counts[host] for host in stats.processed}), encoding="utf-8")


def wrap_connections(notes: Path) -> None:
    """Make all new connections record their commands and transfers."""
    original = ConnectionBase.__init__

    @functools.wraps(original)
    def create_and_wrap(connection, *arguments, **named) -> None:
        original(connection, *arguments, **named)
        busy: list[str] = []
        for kind in COUNTED:
            setattr(connection, kind, wrap_method(connection, kind, notes, busy))

    ConnectionBase.__init__ = create_and_wrap


def wrap_method(connection: ConnectionBase, kind: str, notes: Path, busy: list[str]):
    """Wrap a method of a connection to record its calls, except calls within another recorded method."""
    method = getattr(connection, kind)

    @functools.wraps(method)
    def call(*arguments, **named):
        if busy or connection.transport == "local":
            return method(*arguments, **named)
        worker = multiprocessing.current_process()
        note = json.dumps([worker._host.name, worker._task.get_name(), kind]) + "\n"
        # Workers append concurrently. A short write in append mode is atomic.
        with open(notes, "ab", buffering=0) as out:
            out.write(note.encode())
        busy.append(kind)
        try:
            return method(*arguments, **named)
        finally:
            busy.pop()

    return call
