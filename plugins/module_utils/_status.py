# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is live on a host, since when and by whom, and what else is there. Private."""

from __future__ import annotations

from typing import Any

from ansible_collections.flaskops.production.plugins.module_utils._platform import get_system
from ansible_collections.flaskops.production.plugins.module_utils._releases import Home, Lock
from ansible_collections.flaskops.production.plugins.module_utils._rollout import read_drain, read_rollout
from ansible_collections.flaskops.production.plugins.module_utils._service import observe, replaced_files, show


def replaced(name: str) -> list[str]:
    """The programs and libraries of the service that were replaced or removed since it was started."""
    return replaced_files(show(f"{name}.service", "MainPID").get("MainPID", "0"))


def status(home: Home, name: str, health: dict | None) -> dict[str, Any]:
    """What is live, since when and by whom, and what else is there."""
    observed = observe(home, name, health)
    activations = home.activations()
    last: Any = next((entry for entry in reversed(activations) if entry["release"] == observed["live"]), {})
    return {
        **observed,
        "since": last.get("time", ""),
        "by": last.get("by") or "",
        "rollout": read_rollout(home),
        "drained": read_drain(home),
        "releases": {
            release: {**record, "environment": home.environment(release)} for release, record in home.known().items()
        },
        "lock": Lock(home, {}).holder() or {},
        "replaced": replaced(name) if observed["live"] else [],
        "system": get_system(),
    }
