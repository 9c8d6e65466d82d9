# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Format results, and write them into sections of pages."""

from __future__ import annotations

import re
import subprocess
import time

from environment import tool_environment


def today() -> str:
    return time.strftime("%Y-%m-%d")


def read_ansible_versions() -> tuple[str, str]:
    """Return the versions of ansible-core and of its Python."""
    output = subprocess.run(
        ["ansible", "--version"], check=False, env=tool_environment(), capture_output=True, text=True
    ).stdout
    core, python = re.search(r"core ([\d.]+)", output), re.search(r"python version = ([\d.]+)", output)
    return core.group(1) if core else "unknown", python.group(1) if python else "unknown"


def format_table(rows: list[list[str]]) -> str:
    head, *rest = rows
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rest])


def replace_section(text: str, name: str, new: str) -> str:
    """Replace the text between two markers. Raises ValueError if a marker is missing."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, found, rest = text.partition(begin)
    _old, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"There is no {begin} … {end}.")
    return f"{before}{begin}\n{new}\n{end}{after}"
