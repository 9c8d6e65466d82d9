# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Format the plan of an adoption for users."""

from __future__ import annotations

import os
import stat

from ansible_collections.flaskops.production.plugins.module_utils._adoption.data import walk_source
from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import (
    ENVIRONMENT,
    AdoptionPlan,
    PlanRequest,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.sources import find_source
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._core.text import one_line

# Labels of lines that the user must act on: points to check by hand, and obstacles.
ATTENTION, OBSTACLE = "CHECK", "OBSTACLE"


def format_size(source: str, tops: list[str]) -> str:
    """Return the number of files at a path and their size, such as `12 files, 3.1 MB`."""
    with find_source(source, tops) as top:
        sizes = [entry.info.st_size for entry in walk_source(top) if stat.S_ISREG(entry.info.st_mode)]
    total = float(sum(sizes))
    unit = "B"
    for unit in ("B", "kB", "MB", "GB"):
        if total < 1000 or unit == "GB":
            break
        total /= 1000
    number = f"{total:.0f}" if unit == "B" else f"{total:.1f}"
    return f"{len(sizes)} {'file' if len(sizes) == 1 else 'files'}, {number} {unit}"


def format_plan(request: PlanRequest, plan: AdoptionPlan, layout: Layout, release: str, name: str) -> list[str]:
    """Return the lines of the plan."""
    unit = request.facts.unit["Id"]
    lines = [f"{plan.code} -> {layout.release(release)} (the code, as the first release)"]
    for move in plan.moves:
        if move.kind != ENVIRONMENT:
            target = os.path.join(layout.shared, move.target)
            line = f"{move.source} -> {target} ({format_size(move.source, request.tops)}; {move.reason})"
            lines.append(line + (f"; the release finds it as {move.link}" if move.link else ""))
    files = [path for path in plan.dotenv + plan.environment if path != layout.env_file]
    if files:
        lines.append(f"{' and '.join(files)} -> {layout.env_file} (root:<group> 0640; no value is shown)")
    if plan.unit_variables:
        names = ", ".join(plan.unit_variables)
        lines.append(f"Environment= of {unit} ({names}) -> {layout.env_file} (no value is shown)")
    lines.append(f"{name}.socket and {name}.service replace {unit} after the health check of the release")
    lines += [f"{path} is removed from Nginx, and {name}.conf replaces it" for path in plan.sites]
    lines += [f"setting: {key}: {value}" for key, value in sorted(plan.variables.items())]
    lines += [f"{ATTENTION}: {text}" for text in plan.attention]
    lines += [f"{OBSTACLE}: {text}" for text in plan.obstacles]
    return [one_line(text) for text in lines]
