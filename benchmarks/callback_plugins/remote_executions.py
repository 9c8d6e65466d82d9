# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count what a run starts on its hosts.

Results of tasks don't tell: an action may start several modules, copy files, or nothing at all. So each connection is
wrapped where its commands and transfers pass. The wrapper is put in place before the workers are forked, which inherit
it and note every call in one file.
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
  - Counts, for each host, the commands that are started on it and the files that are copied to or from it.
  - What happens on the controller (connection C(local)) is not counted.
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
    """Counts remote executions."""

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
    """Let every connection that is made from now on note what passes through it."""
    make = ConnectionBase.__init__

    @functools.wraps(make)
    def make_and_wrap(connection, *arguments, **named) -> None:
        make(connection, *arguments, **named)
        busy: list[str] = []
        for kind in COUNTED:
            setattr(connection, kind, noting(connection, kind, notes, busy))

    ConnectionBase.__init__ = make_and_wrap


def noting(connection: ConnectionBase, kind: str, notes: Path, busy: list[str]):
    """A method of a connection that notes its calls; not those that it makes itself, as a transfer made of commands."""
    method = getattr(connection, kind)

    @functools.wraps(method)
    def call(*arguments, **named):
        if busy or connection.transport == "local":
            return method(*arguments, **named)
        worker = multiprocessing.current_process()
        note = json.dumps([worker._host.name, worker._task.get_name(), kind]) + "\n"
        # One short write at the end of a file is atomic, whichever worker makes it.
        with open(notes, "ab", buffering=0) as out:
            out.write(note.encode())
        busy.append(kind)
        try:
            return method(*arguments, **named)
        finally:
            busy.pop()

    return call
