# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Estimate times for larger fleets from the figures of small ones."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from fleet_results import JOBS, FleetResults
from page import format_table


@dataclass(frozen=True)
class Cost:
    """The cost of a job in seconds: to start, of controller CPU per host, and of a host's own time."""

    start: float
    cpu: float
    own: float
    processors: int

    def spread(self, hosts: int, forks: int) -> float:
        """Return the seconds from the first host to the last one, without the start."""
        return max(hosts * self.cpu / self.processors, math.ceil(hosts / forks) * self.own)

    def wall(self, hosts: int, forks: int) -> float:
        return self.start + self.spread(hosts, forks)

    def forks(self) -> int:
        """Return the number of concurrent hosts that keeps the processors busy."""
        return max(1, math.ceil(self.processors * self.own / self.cpu))


def fit_line(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Return intercept and slope of a linear regression."""
    slope, intercept = statistics.linear_regression(*zip(*points, strict=True))
    return intercept, slope


def estimate_cost(job: str, results: FleetResults) -> Cost:
    runs = {count: of[f"{job}/ours"] for count, of in results.sizes.items()}
    start, cpu = fit_line([(count, run.cpu) for count, run in runs.items()])
    fewest = min(runs)
    # For cheap jobs, noise may lead to negative costs.
    start, cpu = max(start, 0.0), max(cpu, 0.01)
    # A host's own time is that of the smallest fleet, in which the fewest hosts share the machine.
    return Cost(start, cpu, max(runs[fewest].wall - start, 0.01), results.processors)


def estimate_batches(whole: Cost, last: Cost, hosts: int, forks: int, batch: int) -> float:
    """Return the seconds of a deploy that activates in batches. `last` is the cost of an activation."""
    batches = math.ceil(hosts / batch)
    return whole.wall(hosts, forks) - last.spread(hosts, forks) + batches * last.spread(batch, forks)


def format_duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


SIZES = (10, 100, 1000)
FORKS = (5, 20, 50)
BATCHES = (1.0, 0.25, 0.1)
SIZED = ("noop", "deploy", "live", "rollback")


def format_sizing(results: FleetResults) -> str:
    """Return the tables of docs/sizing.md."""
    costs = {job: estimate_cost(job, results) for job in SIZED}
    of_costs = [["job", "start", "controller CPU per host", "a host's own time", "useful forks"]]
    for job, one in costs.items():
        cells = [f"{one.start:.1f} s", f"{one.cpu:.2f} s", f"{one.own:.1f} s", str(one.forks())]
        of_costs.append([JOBS[job], *cells])
    of_times = [["hosts", "forks", *(JOBS[job] for job in SIZED)]]
    for hosts in SIZES:
        for forks in (number for number in FORKS if number <= max(hosts, FORKS[0])):
            of_times.append(
                [f"{hosts:,}", str(forks), *(format_duration(costs[job].wall(hosts, forks)) for job in SIZED)]
            )
    of_batches = [["hosts", *(f"`flask_app_serial: {share:.0%}`" for share in BATCHES), "`flask_app_serial: 1`"]]
    most = FORKS[-1]
    for hosts in SIZES:
        batches = [*(max(1, int(hosts * share)) for share in BATCHES), 1]
        spent = (estimate_batches(costs["deploy"], costs["rollback"], hosts, most, batch) for batch in batches)
        of_batches.append([f"{hosts:,}", *map(format_duration, spent)])
    fewest = min(results.sizes)
    return "\n\n".join(
        [
            f"Computed by `benchmarks/fleet.py` for a controller with {results.processors} processors, from its own "
            f"figures at {', '.join(map(str, sorted(results.sizes)))} hosts: {results.machine}",
            f"Costs of a job (the host's own time is that of a fleet of {fewest}):\n\n{format_table(of_costs)}",
            f"Expected times:\n\n{format_table(of_times)}",
            f"A new release in batches, with {most} forks:\n\n{format_table(of_batches)}",
        ]
    )
