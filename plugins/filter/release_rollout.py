# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that find the rollout of a run and the targets of a rollback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.flaskops.production.plugins.plugin_utils._run.identity import describe_run
from ansible_collections.flaskops.production.plugins.plugin_utils._run.rollouts import (
    RollbackError,
    plan_rollback,
    select_rollout,
)


def release_rollout(looks: Mapping[str, Mapping[str, Any]], action: str = "deploy") -> dict[str, Any]:
    """Find the rollout of an application from each host's last rollout and the release that it is to run."""
    records = {host: look["rollout"] for host, look in looks.items()}
    releases = {host: look["release"] for host, look in looks.items()}
    return select_rollout(records, releases, action, describe_run()["run"])


def release_returns(
    statuses: Mapping[str, Mapping[str, Any]], app: str, to: str = "", undo: bool = False
) -> dict[str, Any]:
    """Find the target release of each host in a rollback, and its rollout."""
    nothing: dict[str, Any] = {"targets": {}, "left_out": {}, "rollout": {}, "message": "", "error": ""}
    try:
        plan = plan_rollback(app, statuses, to, undo)
    except RollbackError as error:
        return {**nothing, "error": str(error)}
    sentences = [plan.message]
    sentences += [f"{app}: {host} is not rolled back: {reason}." for host, reason in plan.left_out.items()]
    records = {host: statuses[host]["rollout"] for host in plan.targets}
    if undo:
        last = max((record for record in records.values() if record), key=lambda record: record["number"])
        rollout = {key: last[key] for key in ("id", "number", "action", "hosts")}
    else:
        rollout = select_rollout(records, plan.targets, "rollback", describe_run()["run"])
    return {
        **nothing,
        "targets": plan.targets,
        "left_out": plan.left_out,
        "rollout": {**rollout, "undo": undo},
        "message": " ".join(sentences),
    }


class FilterModule:
    """Filters for the start of a rollout."""

    def filters(self) -> dict:
        return {"release_rollout": release_rollout, "release_returns": release_returns}
