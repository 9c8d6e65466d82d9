# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The deploy lock: a file with its holder, so that at most one run at a time deploys an application to a host."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import weakref
from typing import Mapping

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.store import open_guard
from ansible_collections.flaskops.production.plugins.module_utils._core import clock
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import replace_file

# How many seconds to wait for a step of a killed run. It exceeds the start timeout of a candidate.
STEP_TIMEOUT = 300


class LockedError(ReleaseError):
    """Another run holds the deploy lock."""

    def __init__(self, path: str, holder: dict) -> None:
        super().__init__(
            f"Another deploy holds {path}: {holder['by']} on {holder['controller']} since {holder['time']}, "
            f"run {holder['run']}. Wait until it ends; if it is dead, run again with -e release_unlock=true."
        )
        try:
            # Both times are of the same clock. A file with a time in the future counts as new.
            age = max(0.0, time.time() - os.stat(path).st_mtime)
        except FileNotFoundError:
            age = 0.0
        # For the action plugin.
        self.details = {"lock_holder": holder, "lock_age": age}


class DeployLock:
    """The deploy lock of an application.

    run describes this run, and the run that it replaces, if any. Besides the file with the holder, a guard file is
    locked with flock(2) while this process works.
    """

    def __init__(self, layout: Layout, run: Mapping[str, str]) -> None:
        self.layout, self.run = layout, run
        self.guard: weakref.finalize | None = None

    def read_holder(self) -> dict | None:
        """Return the run that holds the lock, or None."""
        unknown = dict.fromkeys(("run", "by", "controller", "time"), "unknown")
        try:
            with open(self.layout.lock, encoding="utf-8") as file:
                return {**unknown, **json.load(file)}
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return unknown

    def is_held(self) -> bool:
        """Return whether this run holds the lock."""
        holder = self.read_holder()
        return holder is not None and holder["run"] == self.run["run"]

    def check(self, force: bool = False) -> None:
        """Raise LockedError if another run holds the lock. Does not acquire it."""
        holder = self.read_holder()
        if holder and not force and holder["run"] not in (self.run["run"], self.run.get("replaces")):
            raise LockedError(self.layout.lock, holder)

    def acquire(self, force: bool = False) -> None:
        """Acquire the lock, unless this run holds it already. With force, replaces another holder."""
        if self.guard is None:
            self.guard = self._acquire_guard(force)
        try:
            self._create_file(force)
        except BaseException:
            self.release_guard()
            raise

    def _create_file(self, force: bool) -> None:
        """Create the file with its holder in one step."""
        if self._is_replaceable(force):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.layout.lock)
        if self.is_held():
            # Nothing is written, so that a run can release its lock on a full disk.
            return
        temporary = f"{self.layout.lock}.{os.getpid()}"
        text = json.dumps({**self.run, "time": clock.format_now()}, sort_keys=True) + "\n"
        try:
            replace_file(temporary, text.encode(), mode=0o644)
            os.link(temporary, self.layout.lock)
        except FileExistsError:
            holder = self.read_holder()
            if holder and holder["run"] != self.run["run"]:
                raise LockedError(self.layout.lock, holder) from None
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

    def _is_replaceable(self, force: bool) -> bool:
        holder = self.read_holder()
        return holder is not None and (force or holder["run"] == self.run.get("replaces"))

    def _acquire_guard(self, force: bool) -> weakref.finalize:
        """Lock the guard file until this process ends.

        A step of a killed run may still be at work, and ends before this one begins. If two runs find a dead holder,
        only one replaces it.
        """
        fd = open_guard(self.layout)
        guard = weakref.finalize(self, os.close, fd)
        deadline = time.monotonic() + STEP_TIMEOUT
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return guard
            except BlockingIOError:
                holder = self.read_holder()
                if holder and holder["run"] != self.run["run"] and not self._is_replaceable(force):
                    raise LockedError(self.layout.lock, holder) from None
                if time.monotonic() > deadline:
                    raise ReleaseError(
                        f"A step of an earlier run has been at work in {self.layout.root} for {STEP_TIMEOUT} s: wait "
                        "until it ends, or end it, and run again."
                    ) from None
            time.sleep(0.1)

    def release(self) -> None:
        """Release the lock, if this run holds it."""
        if self.is_held():
            os.unlink(self.layout.lock)
        self.release_guard()

    def release_guard(self) -> None:
        """Release the guard file for the next step of this run. The run keeps the lock."""
        if self.guard is not None:
            self.guard()
            self.guard = None

    def end_step(self, keep: bool) -> None:
        """Release the guard file, and the lock too unless it is kept for the next step."""
        if keep:
            self.release_guard()
        else:
            self.release()
