# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Format the figures of a fleet as tables, and compare them with the aims of this collection."""

from __future__ import annotations

from fleet_results import FLOOR, JOBS, METHODS, METHODS_BY_JOB, FleetResults, Measurement, capitalize, format_hosts
from page import format_table


def format_ratio(value: float, floor: float) -> str:
    return f"{value / floor:.1f} ×"


def format_row(name: str, way: str, run: Measurement, floor: Measurement) -> list[str]:
    def cell(text: str, attribute: str) -> str:
        ratio = format_ratio(getattr(run, attribute), getattr(floor, attribute))
        return text if run is floor else f"{text} ({ratio})"

    sent = "–" if run.sent is None else cell(f"{run.sent / 1000:,.0f} kB", "sent")
    executions = cell(f"{run.executions:.3g}", "executions")
    return [name, way, executions, cell(f"{run.wall:.1f} s", "wall"), cell(f"{run.cpu:.1f} s", "cpu"), sent]


def tabulate_runs(runs: dict[str, Measurement]) -> str:
    floor = runs[FLOOR]
    rows = [["job", "done by", "executions per host", "wall time", "controller CPU", "sent to each host"]]
    rows.append(format_row("one `ping`", "the floor", floor, floor))
    for job, name in JOBS.items():
        for way in METHODS_BY_JOB[job]:
            run = runs.get(f"{job}/{way}")
            if run:
                rows.append(format_row(name, METHODS[way], run, floor))
            elif job != "first":
                rows.append([name, METHODS[way], *["not measured"] * 4])
    return format_table(rows)


def format_verdicts(sizes: dict[int, dict[str, Measurement]]) -> list[str]:
    """Compare the figures with the aims of this collection."""
    count = 10 if 10 in sizes else max(sizes)
    runs = sizes[count]
    aims = [("noop", FLOOR, 5.0), ("noop", "noop/stock", 0.4), ("deploy", "deploy/ansistrano", 0.7)]
    against = {FLOOR: "a play of one `ping`", "noop/stock": "stock modules", "deploy/ansistrano": "Ansistrano"}
    lines = []
    for job, other, limit in aims:
        subject = f"{capitalize(JOBS[job])}, {format_hosts(count)}"
        if other not in runs:
            lines.append(f"{subject}: not measured against {against[other]}.")
            continue
        ratio = runs[f"{job}/ours"].wall / runs[other].wall
        verdict = f"the aim is {limit:g} × at most: {'met' if ratio <= limit else '**missed**'}"
        lines.append(f"{subject}: {ratio:.2f} × the time of {against[other]}; {verdict}.")
    return lines


def format_report(results: FleetResults) -> str:
    parts = [results.machine, "\n".join(f"- {line}" for line in format_verdicts(results.sizes)), "![](fleet.svg)"]
    for count, runs in sorted(results.sizes.items()):
        parts.append(f"### {capitalize(format_hosts(count))}\n\n{tabulate_runs(runs)}")
    return "\n\n".join(parts)
