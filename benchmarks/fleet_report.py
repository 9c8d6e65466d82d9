# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of a fleet as tables, and beside what is asked of this collection."""

from __future__ import annotations

from fleet_results import DONE_BY, FLOOR, JOBS, WAYS, Results, Run, capital, hosts
from page import markdown


def times(value: float, floor: float) -> str:
    return f"{value / floor:.1f} ×"


def row(name: str, way: str, run: Run, floor: Run) -> list[str]:
    def cell(text: str, attribute: str) -> str:
        ratio = times(getattr(run, attribute), getattr(floor, attribute))
        return text if run is floor else f"{text} ({ratio})"

    sent = "–" if run.sent is None else cell(f"{run.sent / 1000:,.0f} kB", "sent")
    executions = cell(f"{run.executions:.3g}", "executions")
    return [name, way, executions, cell(f"{run.wall:.1f} s", "wall"), cell(f"{run.cpu:.1f} s", "cpu"), sent]


def table(runs: dict[str, Run]) -> str:
    floor = runs[FLOOR]
    rows = [["job", "done by", "executions per host", "wall time", "controller CPU", "sent to each host"]]
    rows.append(row("one `ping`", "the floor", floor, floor))
    for job, name in JOBS.items():
        for way in DONE_BY[job]:
            run = runs.get(f"{job}/{way}")
            if run:
                rows.append(row(name, WAYS[way], run, floor))
            elif job != "first":
                rows.append([name, WAYS[way], *["not measured"] * 4])
    return markdown(rows)


def verdicts(sizes: dict[int, dict[str, Run]]) -> list[str]:
    """What is asked of this collection, beside what was measured."""
    count = 10 if 10 in sizes else max(sizes)
    runs = sizes[count]
    asked = [("noop", FLOOR, 5.0), ("noop", "noop/stock", 0.4), ("deploy", "deploy/ansistrano", 0.7)]
    against = {FLOOR: "a play of one `ping`", "noop/stock": "stock modules", "deploy/ansistrano": "Ansistrano"}
    lines = []
    for job, other, limit in asked:
        subject = f"{capital(JOBS[job])}, {hosts(count)}"
        if other not in runs:
            lines.append(f"{subject}: not measured against {against[other]}.")
            continue
        ratio = runs[f"{job}/ours"].wall / runs[other].wall
        verdict = f"the aim is {limit:g} × at most: {'met' if ratio <= limit else '**missed**'}"
        lines.append(f"{subject}: {ratio:.2f} × the time of {against[other]}; {verdict}.")
    return lines


def report(results: Results) -> str:
    parts = [results.machine, "\n".join(f"- {line}" for line in verdicts(results.sizes)), "![](fleet.svg)"]
    for count, runs in sorted(results.sizes.items()):
        parts.append(f"### {capital(hosts(count))}\n\n{table(runs)}")
    return "\n\n".join(parts)
