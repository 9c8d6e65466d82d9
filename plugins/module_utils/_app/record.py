# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The format of the records of releases and of the log of activations.

The files are JSON, readable with common tools. Their content is validated here, so callers can rely on it.
"""

from __future__ import annotations

import json
from typing import Any, TypedDict

# The format of a record. A record without a format has the first one.
FORMAT = 1
STATES = ("staged", "active", "superseded", "bad")


class ReleaseRecord(TypedDict, total=False):
    """A release on a host. The first five keys are always present."""

    release: str
    digest: str
    state: str
    staged: str
    built: bool
    migrated: dict[str, str]
    reason: str
    time: str
    by: str
    source: dict[str, Any] | None
    shared_paths: list[str]
    static_paths: list[str]
    build: str
    proven_venv: str
    activated: str


class LogEntry(TypedDict):
    """An activation: one line of the log."""

    time: str
    release: str
    before: str | None
    action: str
    by: str
    run: str


class FormatError(ValueError):
    """A record in the format of another version of the collection."""


def format_record(record: ReleaseRecord) -> str:
    return json.dumps({**record, "format": FORMAT}, indent=2, sort_keys=True) + "\n"


def parse_record(name: str, text: str) -> ReleaseRecord:
    """Parse the record of a release. Raises ValueError for an invalid record, and FormatError for another format."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("it is not a record of a release")
    number = found.pop("format", FORMAT)
    if number != FORMAT:
        raise FormatError(f"it has the format {number!r}, but this version of the collection reads {FORMAT}")
    record: ReleaseRecord = {"staged": "", "built": False, **found, "release": name}
    invalid = [key for key in ("digest", "state", "staged") if not isinstance(record.get(key), str)]
    if invalid:
        raise ValueError(f"its {invalid[0]} is {record.get(invalid[0])!r}, but must be a string")
    if record["state"] not in STATES:
        raise ValueError(f"its state is {record['state']!r}, but must be one of {', '.join(STATES)}")
    return record


def parse_log_entry(line: str) -> LogEntry | None:
    """Parse a line of the log. Returns None for an invalid line, for example after a power failure."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("release"), str):
        return None
    entry: LogEntry = {"time": "", "before": None, "action": "deploy", "by": "", "run": "", "release": "", **found}
    return entry
