# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks between processes of a host."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import Iterator

from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ModuleError

POLL_SECONDS = 0.2


class LockTimeoutError(ModuleError):
    """Another process still holds the lock at the deadline."""


@contextlib.contextmanager
def hold_lock(path: str, deadline: float) -> Iterator[None]:
    """Hold an exclusive lock on a file, which is created if missing, in a directory of root.

    The deadline is a time of time.monotonic(). Raises LockTimeoutError after it.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LockTimeoutError(path) from None
                time.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(fd)
