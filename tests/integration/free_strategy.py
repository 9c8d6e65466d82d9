# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy playbooks of the collection with the strategy free, so that one run serves many cases."""

from __future__ import annotations

from pathlib import Path

from environment import ROOT


def copy_with_free_strategy(place: Path, name: str) -> str:
    """Return the path of a copy of a playbook in which a failed host does not stop others."""
    for directory in ("plugins", "roles", "playbooks/tasks"):
        link = place / "free" / directory
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(ROOT / directory)
    playbook = place / f"free/playbooks/{name}.yml"
    playbook.write_text((ROOT / f"playbooks/{name}.yml").read_text().replace("strategy: linear", "strategy: free"))
    return str(playbook)
