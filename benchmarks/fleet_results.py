# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs and methods of the fleet benchmark, and the figures of each run."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, fields

# In the order of a round, after the first run.
JOBS = {
    "first": "first run on a bare host",
    "deploy": "new release, known dependencies",
    "live": "release that is live already",
    "noop": "whole site, nothing to do",
    "rollback": "rollback",
}
ROUND = tuple(job for job in JOBS if job != "first")
METHODS = {"ours": "this collection", "stock": "stock modules", "ansistrano": "Ansistrano"}
# Ansistrano does not provision sites. Neither it nor stock modules detect that a release is live.
METHODS_BY_JOB = {
    "first": ("ours", "stock"),
    "deploy": ("ours", "stock", "ansistrano"),
    "live": ("ours",),
    "noop": ("ours", "stock"),
    "rollback": ("ours", "stock", "ansistrano"),
}
FLOOR = "floor"


@dataclass(frozen=True)
class Measurement:
    """The figures of a playbook run: executions and received bytes per host, time and CPU time of the controller."""

    executions: float
    wall: float
    cpu: float
    # Bytes that each host received; None if they include packages.
    sent: float | None


@dataclass(frozen=True)
class FleetResults:
    machine: str
    processors: int
    # By number of hosts: the medians by job and method, such as "deploy/ours", and of the floor.
    sizes: dict[int, dict[str, Measurement]]

    @classmethod
    def read(cls, text: str) -> FleetResults:
        data = json.loads(text)
        sizes = {
            int(count): {key: Measurement(**run) for key, run in runs.items()} for count, runs in data["sizes"].items()
        }
        return cls(data["machine"], data["processors"], sizes)

    def text(self) -> str:
        return json.dumps(asdict(self), indent=2)


def compute_median(runs: list[Measurement]) -> Measurement:
    return Measurement(*(statistics.median(getattr(run, field.name) for run in runs) for field in fields(Measurement)))


def format_hosts(count: int) -> str:
    return f"{count} host{'s' if count > 1 else ''}"


def capitalize(text: str) -> str:
    return text[0].upper() + text[1:]
