# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The releases of an application on a host: their states, their records and the log of activations.

Everything is read from the files of the application, so it is correct after any interruption. The link app points to
the live release. .deploy/releases/<name>.json is the record of a release, .deploy/activations.log has the order of
activations, and .deploy/environments/<name> points to the virtual environment of a release.
"""

from __future__ import annotations

import json
import os
from typing import Any, Iterable, Mapping, cast

from ansible_collections.flaskops.production.plugins.module_utils._app import record as record_module
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import (
    RELEASE_NAME,
    Layout,
    list_directory,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.record import LogEntry, ReleaseRecord
from ansible_collections.flaskops.production.plugins.module_utils._core import clock
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import replace_file


class ReleaseStore:
    """The releases of one application. damaged holds the records that could not be read, by path."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.damaged: dict[str, Exception] = {}

    # Reading

    def find_live(self) -> str | None:
        """Return the live release, or None."""
        return self.layout.find_live()

    def read_record(self, name: str) -> ReleaseRecord | None:
        """Return the record of a release, or None if it is missing or damaged."""
        path = self.layout.record_file(name)
        try:
            with open(path, encoding="utf-8") as file:
                return record_module.parse_record(name, file.read())
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            self.damaged[path] = error
            return None

    def format_warnings(self) -> list[str]:
        """Return a warning for each damaged record."""
        return [
            f"The record {path} cannot be read and counts as missing: {getattr(error, 'strerror', None) or error}. "
            "Deploy its release again to record it anew; until then it is no target of a rollback."
            for path, error in sorted(self.damaged.items())
        ]

    def read_releases(self) -> dict[str, ReleaseRecord]:
        """Return the records of the complete releases, by name. A directory without a record is not a release."""
        found = {}
        for name in list_directory(self.layout.releases):
            is_release = RELEASE_NAME.match(name) and os.path.isdir(self.layout.release(name))
            record = self.read_record(name) if is_release else None
            if record:
                found[name] = record
        return found

    def find_by_digest(self, digest: str) -> str | None:
        """Return the complete release with this content, preferably the live one, or None."""
        names = [name for name, record in self.read_releases().items() if record["digest"] == digest]
        return self.find_live() if self.find_live() in names else max(names, default=None)

    def find_venv(self, name: str) -> str | None:
        """Return the name of the virtual environment of a release, or None."""
        for link in (
            os.path.join(self.layout.venv_links, name),
            os.path.join(self.layout.release(name), ".venv"),
        ):
            try:
                return os.path.basename(os.readlink(link))
            except OSError:
                continue
        return None

    def find_proven_venv(self, name: str) -> str | None:
        """Return the virtual environment that a release was live with, or None."""
        return (self.read_record(name) or {}).get("proven_venv")

    def read_activations(self) -> list[LogEntry]:
        """Return the activations, oldest first. An incomplete line, as after a power failure, is skipped."""
        try:
            with open(self.layout.log, encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            return []
        found = (record_module.parse_log_entry(line) for line in lines)
        return [entry for entry in found if entry]

    def find_recorded(self) -> str | None:
        """Return the complete release that was activated last according to the log, or None.

        During an activation, the link app already points to the next release.
        """
        releases = self.read_releases()
        last = self.read_activations()[-1:]
        if not last:
            # The log is lost; the records have the states.
            return next((name for name, record in releases.items() if record["state"] == "active"), None)
        return last[0]["release"] if last[0]["release"] in releases else None

    def find_previous(self) -> str | None:
        """Return the release that a rollback activates: the last good one before the live one, or None."""
        releases, live = self.read_releases(), self.find_live()
        activations = self.read_activations()
        before = order_before_live(((entry["release"], entry["action"]) for entry in activations), live)
        good = (name for name in reversed(before) if name in releases and releases[name]["state"] != "bad")
        found = next(good, None)
        if found or before or activations:
            return found
        # The log is lost; the records have the states.
        names = [name for name, record in releases.items() if record["state"] == "superseded" and name != live]
        return max(
            names, key=lambda name: (releases[name].get("activated", ""), releases[name]["staged"]), default=None
        )

    # Writing

    def create_directories(self) -> None:
        """Create the directories for releases and records."""
        layout = self.layout
        for path in (layout.releases, layout.state, layout.records, layout.venv_links):
            os.makedirs(path, 0o755, exist_ok=True)
        os.close(open_guard(layout))

    def write_record(self, name: str, record: ReleaseRecord) -> None:
        """Write the record of a release."""
        replace_file(self.layout.record_file(name), record_module.format_record(record).encode(), mode=0o644)

    def set_state(self, name: str | None, state: str, **details: str) -> None:
        """Change the state of a release in its record. A release without a record is skipped."""
        record = self.read_record(name) if name else None
        if record is None:
            return
        kept: dict[str, Any] = {key: value for key, value in record.items() if key != "reason"}
        changed = {**kept, "state": state, **details}
        if changed != record:
            self.write_record(str(name), cast(ReleaseRecord, changed))

    def record_activation(self, release: str | None, action: str, run: Mapping[str, str]) -> None:
        """Record the live release, unless the log has it as the last one."""
        before = self.find_recorded()
        if release is None:
            return
        if before != release:
            self.append_activation(release=release, before=before, action=action, by=run["by"], run=run["run"])
        for name, record in self.read_releases().items():
            if name != release and record["state"] == "active":
                self.set_state(name, "superseded")
        record = self.read_record(release) or {}
        since = record.get("activated", "") if record.get("state") == "active" else ""
        self.set_state(
            release, "active", proven_venv=self.find_venv(release) or "", activated=since or clock.format_now()
        )

    def append_activation(self, **entry: str | None) -> None:
        """Append a line to the log of activations, and flush it to disk."""
        line = (json.dumps({"time": clock.format_now(), **entry}, sort_keys=True) + "\n").encode()
        fd = os.open(self.layout.log, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                line = b"\n" + line
            os.write(fd, line)
            os.fsync(fd)
        finally:
            os.close(fd)


def order_before_live(activations: Iterable[tuple[str, str]], live: str | None) -> list[str]:
    """Return the releases that were live before the live one, the last one at the end.

    activations holds release and action. A deploy adds its release at the end. A rollback removes the releases after
    its target.
    """
    stack: list[str] = []
    for release, action in activations:
        if action == "rollback" and release in stack:
            del stack[stack.index(release) :]
        elif release in stack:
            stack.remove(release)
        stack.append(release)
    return stack[: stack.index(live)] if live in stack else stack


def open_guard(layout: Layout) -> int:
    """Open the file that is locked during a step. Only root can open it."""
    fd = os.open(layout.guard, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.fchmod(fd, 0o600)
    return fd
