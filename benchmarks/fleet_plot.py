# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw the figures of a fleet as a plot."""

from __future__ import annotations

import math
from collections.abc import Iterable

from fleet_results import FLOOR, JOBS, METHODS, ROUND, Measurement, capitalize

STYLE = """\
text { font-family: sans-serif; font-size: 12px; fill: #24292f }
.title { font-weight: bold }
.grid { stroke: #8884; stroke-width: 1 }
.line { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }"""
# Colours of medium brightness, which are visible on white and on black.
COLOURS = {"ours": "#2f81f7", "stock": "#d9822b", "ansistrano": "#a371f7", FLOOR: "#808890"}
NAMES = METHODS | {FLOOR: "one ping"}
PANEL = (300, 220)
MARGIN = {"left": 44, "right": 14, "top": 30, "bottom": 36}


def compute_ticks(highest: float) -> list[float]:
    """Return about four round numbers from 0 to at least the highest value."""
    step = 10 ** math.floor(math.log10(highest))
    step = next(step * factor for factor in (0.2, 0.5, 1, 2, 2.5) if highest / (step * factor) <= 5)
    return [step * number for number in range(math.ceil(highest / step - 1e-9) + 1)]


def draw_panel(title: str, lines: dict[str, list[tuple[int, float]]]) -> list[str]:
    """Draw a plot of seconds over hosts as SVG elements at the origin."""
    width, height = PANEL
    counts = sorted({count for line in lines.values() for count, __ in line})
    marks = compute_ticks(max(seconds for line in lines.values() for __, seconds in line))

    def x(count: float) -> float:
        return MARGIN["left"] + (width - MARGIN["left"] - MARGIN["right"]) * count / counts[-1]

    def y(seconds: float) -> float:
        return height - MARGIN["bottom"] - (height - MARGIN["top"] - MARGIN["bottom"]) * seconds / marks[-1]

    out = [f'<text class="title" x="{MARGIN["left"]}" y="18">{title}</text>']
    for mark in marks:
        out.append(f'<path class="grid" d="M{x(0):.1f} {y(mark):.1f}H{x(counts[-1]):.1f}"/>')
        out.append(f'<text text-anchor="end" x="{x(0) - 6:.1f}" y="{y(mark) + 4:.1f}">{mark:g}</text>')
    for count in counts:
        out.append(f'<text text-anchor="middle" x="{x(count):.1f}" y="{y(0) + 16:.1f}">{count}</text>')
    for way, line in lines.items():
        points = [(x(count), y(seconds)) for count, seconds in sorted(line)]
        path = "L".join(f"{left:.1f} {top:.1f}" for left, top in points)
        out.append(f'<path class="line" stroke="{COLOURS[way]}"{format_dashes(way)} d="M{path}"/>')
        out += [f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3" fill="{COLOURS[way]}"/>' for left, top in points]
    return out


def format_dashes(way: str) -> str:
    return ' stroke-dasharray="4 3"' if way == FLOOR else ""


def draw_legend(ways: Iterable[str]) -> list[str]:
    out = ['<text x="44" y="40">wall time in seconds over hosts</text>']
    for number, way in enumerate(ways):
        top = 66 + 24 * number
        out.append(f'<path class="line" stroke="{COLOURS[way]}"{format_dashes(way)} d="M44 {top}h28"/>')
        out.append(f'<text x="82" y="{top + 4}">{NAMES[way]}</text>')
    return out


def draw_plot(sizes: dict[int, dict[str, Measurement]]) -> str:
    """Draw a panel for each job of the rounds, and a legend. All scales begin at 0."""

    def line(key: str) -> list[tuple[int, float]]:
        return [(count, runs[key].wall) for count, runs in sizes.items() if key in runs]

    panels, seen = [], []
    for job in ROUND:
        lines = {way: points for way in METHODS if (points := line(f"{job}/{way}"))} | {FLOOR: line(FLOOR)}
        seen += lines
        panels.append(draw_panel(capitalize(JOBS[job]), lines))
    panels.append(draw_legend(way for way in NAMES if way in seen))
    width, height = PANEL
    placed = (
        f'<g transform="translate({number % 3 * width} {number // 3 * height})">\n' + "\n".join(elements) + "\n</g>"
        for number, elements in enumerate(panels)
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {3 * width} {2 * height}" width="{3 * width}">'
    return "\n".join([head, f"<style>\n{STYLE}\n</style>", *placed, "</svg>", ""])
