# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the journal of a unit."""

from __future__ import annotations

import os
import select
import subprocess
import time
from typing import IO, Iterable, cast

from ansible_collections.flaskops.production.plugins.module_utils._core.secrets import (
    hide_secrets,
)
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import (
    QUERY_TIMEOUT,
    read_unit_credentials,
    run_program,
)

# How much of a log is kept in memory.
LOG_BYTES = 1 << 20
# SD_MESSAGE_SPAWN_FAILED of sd-messages.h: systemd's message on a program that it could not execute.
SPAWN_FAILED = "641257651c1b4ec9a8624d7a40a9e1e7"


def build_journal_matches(unit: str) -> list[str]:
    """Return the matches for a unit's messages: those of `journalctl --unit`, and those on a failed execution.

    The process that logs a failed execution ends immediately. A slow journald cannot assign its message to the unit,
    and --unit does not show it.
    """
    by_manager = [f"UNIT={unit}", "_PID=1"]
    spawn_failed = [f"UNIT={unit}", f"MESSAGE_ID={SPAWN_FAILED}"]
    by_root = [f"OBJECT_SYSTEMD_UNIT={unit}", "_UID=0"]
    crashed = [f"COREDUMP_UNIT={unit}", "_UID=0"]
    others = (by_manager, by_root, crashed, spawn_failed)
    return [f"_SYSTEMD_UNIT={unit}", *(word for match in others for word in ("+", *match))]


def read_journal(unit: str, since: float, env_files: Iterable[str], lines: int = 2000) -> str:
    """Return the last lines that a unit has logged since a time, without the values of environment files."""
    run_program("journalctl", "--sync", timeout=10)
    # With --since, old versions of journalctl count --lines from the beginning.
    options = (f"--since=@{since:.6f}", "--output=cat", "--no-pager", "--quiet")
    output = _read_end("journalctl", *options, *build_journal_matches(unit))
    logged = "\n".join(output.decode(errors="replace").strip().splitlines()[-lines:])
    credentials = read_unit_credentials(unit)
    for env_file in env_files:
        logged = hide_secrets(logged, env_file, credentials)
    return logged


def _read_end(*command: str) -> bytes:
    """Return the last lines that a program writes, which may be more than fits into memory."""
    kept, until = Tail(LOG_BYTES), time.monotonic() + QUERY_TIMEOUT
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        stream = cast(IO[bytes], process.stdout)
        while select.select([stream], [], [], max(0.0, until - time.monotonic()))[0]:
            block = os.read(stream.fileno(), 1 << 16)
            if not block:
                break
            kept.add(block)
        process.kill()
    return kept.whole_lines()


class Tail:
    """The end of an output of any size. A truncated line is dropped, because a truncated secret cannot be hidden."""

    def __init__(self, limit: int) -> None:
        self.limit, self.kept, self.truncated = limit, b"", False

    def add(self, block: bytes) -> None:
        self.truncated = self.truncated or len(self.kept) + len(block) > self.limit
        self.kept = (self.kept + block)[-self.limit :]

    def whole_lines(self) -> bytes:
        return self.kept.partition(b"\n")[2] if self.truncated else self.kept
