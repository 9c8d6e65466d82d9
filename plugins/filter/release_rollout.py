# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which rollout a run is, and where a rollback leads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.flaskops.production.plugins.plugin_utils._rollouts import (
    Refused,
    find_returns,
    next_rollout,
)
from ansible_collections.flaskops.production.plugins.plugin_utils._run import describe_run


def release_rollout(looks: Mapping[str, Mapping[str, Any]], action: str = "deploy") -> dict[str, Any]:
    """The rollout of an application, from what each host has recorded and which release it is to run."""
    records = {host: look["rollout"] for host, look in looks.items()}
    releases = {host: look["release"] for host, look in looks.items()}
    return next_rollout(records, releases, action, describe_run()["run"])


def release_returns(
    statuses: Mapping[str, Mapping[str, Any]], app: str, to: str = "", undo: bool = False
) -> dict[str, Any]:
    """Where a rollback of an application leads, for each host, and which rollout it is."""
    nothing: dict[str, Any] = {"targets": {}, "left_out": {}, "rollout": {}, "said": "", "refused": ""}
    try:
        found = find_returns(app, statuses, to, undo)
    except Refused as error:
        return {**nothing, "refused": str(error)}
    said = [found.said] + [f"{app}: {host} is left as it is: {why}." for host, why in found.left_out.items()]
    records = {host: statuses[host]["rollout"] for host in found.targets}
    if undo:
        last = max((record for record in records.values() if record), key=lambda record: record["number"])
        rollout = {key: last[key] for key in ("id", "number", "action", "hosts")}
    else:
        rollout = next_rollout(records, found.targets, "rollback", describe_run()["run"])
    return {
        **nothing,
        "targets": found.targets,
        "left_out": found.left_out,
        "rollout": {**rollout, "undo": undo},
        "said": " ".join(said),
    }


class FilterModule:
    """The filters for the beginning of a rollout."""

    def filters(self) -> dict:
        return {"release_rollout": release_rollout, "release_returns": release_returns}
