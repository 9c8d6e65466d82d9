# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of an application on a host: live release, time, user, other releases."""

from __future__ import annotations

from typing import Any

from ansible_collections.flaskops.production.plugins.module_utils._app.live_process import read_live_state
from ansible_collections.flaskops.production.plugins.module_utils._app.lock import DeployLock
from ansible_collections.flaskops.production.plugins.module_utils._app.rollout import read_drain, read_rollout
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._core.platforms import get_system
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import read_unit_properties
from ansible_collections.flaskops.production.plugins.module_utils._systemd.process import find_replaced_files


def find_replaced_service_files(name: str) -> list[str]:
    """Return the programs and libraries of the running service that were replaced or removed since its start."""
    return find_replaced_files(read_unit_properties(f"{name}.service", "MainPID").get("MainPID", "0"))


def read_status(store: ReleaseStore, name: str, health: dict | None) -> dict[str, Any]:
    """Return the live release with its activation, the last rollout, all releases and the deploy lock."""
    layout = store.layout
    state = read_live_state(layout, name, health)
    last: Any = next((entry for entry in reversed(store.read_activations()) if entry["release"] == state["live"]), {})
    return {
        **state,
        "since": last.get("time", ""),
        "by": last.get("by") or "",
        "rollout": read_rollout(layout),
        "drained": read_drain(layout),
        "releases": {
            release: {**record, "environment": store.find_venv(release)}
            for release, record in store.read_releases().items()
        },
        "lock": DeployLock(layout, {}).read_holder() or {},
        "replaced": find_replaced_service_files(name) if state["live"] else [],
        "system": get_system(),
    }
