# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a host's last rollout, and of a drain that is not completed.

The controller gives a rollout its number and identity. The host keeps them in `.deploy/rollout.json`, with the release
that it activates when the rollout is undone. The last rollout is the one with the highest number; clocks are not used.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any, Mapping

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import replace_file

FORMAT = 1
STATES = ("preparing", "activating", "done", "stopped", "undone")
TEXTS = ("id", "action", "release", "before", "state", "by", "run")


def read_rollout(layout: Layout) -> dict[str, Any]:
    """Return the record of the last rollout of this host, or an empty dict if it is missing or damaged."""
    found = _read(_path(layout))
    is_whole = all(isinstance(found.get(key), str) for key in TEXTS) and isinstance(found.get("number"), int)
    return found if is_whole and found.get("format") == FORMAT and found["state"] in STATES else {}


def enter_rollout(layout: Layout, rollout: Mapping[str, Any], run: Mapping[str, str], state: str) -> None:
    """Record that this host takes part in a rollout, and the release that it activates when the rollout is undone.

    That release is kept if the host enters the rollout again, or another rollout of the same release. With `undo`, the
    rollout is the recorded one, and only its state changes.
    """
    found = read_rollout(layout)
    if rollout.get("undo"):
        if found.get("id") == rollout["id"] and state == "undone":
            _write(layout, {**found, "state": state})
        return
    same = found.get("id") == rollout["id"]
    kept = found and found["release"] == rollout["release"] and found["state"] != "undone"
    given = {key: rollout[key] for key in ("id", "number", "action", "release", "hosts")}
    before = found["before"] if kept else (layout.find_live() or "")
    record = {**given, "before": before, "state": state, "by": run["by"], "run": run["run"]}
    if not (same and found == {**record, "format": FORMAT}):
        _write(layout, record)


def read_drain(layout: Layout) -> dict[str, str]:
    """Return the run whose hooks before an activation have not been completed, or an empty dict."""
    found = _read(_drain_path(layout))
    return {key: str(found.get(key, "unknown")) for key in ("run", "by", "time")} if found else {}


def record_drain(layout: Layout, run: Mapping[str, str], time: str) -> None:
    """Record that the hooks before an activation are about to run, so that a later run completes them."""
    _write_json(_drain_path(layout), {"run": run["run"], "by": run["by"], "time": time})


def clear_drain(layout: Layout) -> None:
    """Record that the hooks after the activation have been completed."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_drain_path(layout))


def _path(layout: Layout) -> str:
    return os.path.join(layout.state, "rollout.json")


def _drain_path(layout: Layout) -> str:
    return os.path.join(layout.state, "drained.json")


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        # The existence of a damaged file is significant too.
        return {"damaged": True}
    return found if isinstance(found, dict) else {"damaged": True}


def _write(layout: Layout, record: dict[str, Any]) -> None:
    _write_json(_path(layout), {**record, "format": FORMAT})


def _write_json(path: str, data: dict[str, Any]) -> None:
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    replace_file(path, (json.dumps(data, indent=2, sort_keys=True) + "\n").encode(), mode=0o644)
