# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the state of an application on a host looks like on the disk: records of releases, and the log. Private.

Plain JSON, for plain tools. What is read is checked here, so that nobody else has to expect what somebody changed.
"""

from __future__ import annotations

import json
from typing import Any, TypedDict

# Of a record. One without a number is of the first format.
FORMAT = 1
STATES = ("staged", "active", "superseded", "bad")


class ReleaseRecord(TypedDict, total=False):
    """A release on a host. The first five are always there."""

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
    proven_environment: str
    activated: str


class LogEntry(TypedDict):
    """A line of the log."""

    time: str
    release: str
    before: str | None
    action: str
    by: str
    run: str


class FormatError(ValueError):
    """A record of another version of the collection."""


def format_record(record: ReleaseRecord) -> str:
    return json.dumps({**record, "format": FORMAT}, indent=2, sort_keys=True) + "\n"


def parse_record(name: str, text: str) -> ReleaseRecord:
    """The record of a release; raises ValueError with what is wrong."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("it holds no record of a release")
    number = found.pop("format", FORMAT)
    if number != FORMAT:
        raise FormatError(f"it has the format {number!r}, but this version of the collection reads {FORMAT}")
    record: ReleaseRecord = {"staged": "", "built": False, **found, "release": name}
    wrong = [key for key in ("digest", "state", "staged") if not isinstance(record.get(key), str)]
    if wrong:
        raise ValueError(f"its {wrong[0]} is {record.get(wrong[0])!r}, but must be a text")
    if record["state"] not in STATES:
        raise ValueError(f"its state is {record['state']!r}, but must be one of {', '.join(STATES)}")
    return record


def parse_log_entry(line: str) -> LogEntry | None:
    """A line of the log; None for what a power cut or somebody else has left there."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("release"), str):
        return None
    return {"time": "", "before": None, "action": "deploy", "by": "", "run": "", **found}
