# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmarks write into pages."""

from __future__ import annotations

import re
import subprocess
import time

from environment import tool_environment


def today() -> str:
    return time.strftime("%Y-%m-%d")


def ansible_versions() -> tuple[str, str]:
    """The versions of ansible-core and of its Python."""
    said = subprocess.run(
        ["ansible", "--version"], check=False, env=tool_environment(), capture_output=True, text=True
    ).stdout
    core, python = re.search(r"core ([\d.]+)", said), re.search(r"python version = ([\d.]+)", said)
    return core.group(1) if core else "unknown", python.group(1) if python else "unknown"


def markdown(rows: list[list[str]]) -> str:
    head, *rest = rows
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rest])


def between(text: str, name: str, new: str) -> str:
    """The text with something new between its markers."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, found, rest = text.partition(begin)
    _old, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"There is no {begin} … {end}.")
    return f"{before}{begin}\n{new}\n{end}{after}"
