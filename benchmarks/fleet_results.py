# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured of a fleet: the jobs, who does them, and what each run took."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, fields

# In the order in which one round goes through them, after the first run of all.
JOBS = {
    "first": "first run on a bare host",
    "deploy": "new release, known dependencies",
    "live": "release that is live already",
    "noop": "whole site, nothing to do",
    "rollback": "rollback",
}
ROUND = tuple(job for job in JOBS if job != "first")
WAYS = {"ours": "this collection", "stock": "stock modules", "ansistrano": "Ansistrano"}
# Ansistrano has no site, and neither it nor a guide has a deploy that knows that its release is live.
DONE_BY = {
    "first": ("ours", "stock"),
    "deploy": ("ours", "stock", "ansistrano"),
    "live": ("ours",),
    "noop": ("ours", "stock"),
    "rollback": ("ours", "stock", "ansistrano"),
}
FLOOR = "floor"


@dataclass(frozen=True)
class Run:
    """What one run of a playbook took: for each host, or of the controller."""

    executions: float
    wall: float
    cpu: float
    # Bytes that each host received; None where packages are among them.
    sent: float | None


@dataclass(frozen=True)
class Results:
    machine: str
    processors: int
    # Of each number of hosts: the medians by job and way, "deploy/ours", and of the floor.
    sizes: dict[int, dict[str, Run]]

    @classmethod
    def read(cls, text: str) -> Results:
        data = json.loads(text)
        sizes = {int(count): {key: Run(**run) for key, run in runs.items()} for count, runs in data["sizes"].items()}
        return cls(data["machine"], data["processors"], sizes)

    def text(self) -> str:
        return json.dumps(asdict(self), indent=2)


def median(runs: list[Run]) -> Run:
    return Run(*(statistics.median(getattr(run, field.name) for run in runs) for field in fields(Run)))


def hosts(count: int) -> str:
    return f"{count} host{'s' if count > 1 else ''}"


def capital(text: str) -> str:
    return text[0].upper() + text[1:]
