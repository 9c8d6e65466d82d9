# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rollouts of one application, and the target of a rollback: decided once for all hosts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Records = Mapping[str, Mapping[str, Any]]


def find_last_rollouts(records: Records) -> dict[str, Mapping[str, Any]]:
    """Return the rollouts with the highest number, by their ids. Hosts that were deployed separately have several."""
    numbers = [record["number"] for record in records.values() if record]
    return {record["id"]: record for record in records.values() if record and record["number"] == max(numbers)}


def select_rollout(records: Records, releases: Mapping[str, str], action: str, run: str) -> dict[str, Any]:
    """Return the rollout for these releases: the last one if it has the same releases and is not undone, or a new one.

    records: each host's record of its last rollout. releases: the release that each host is to run.
    """
    last = find_last_rollouts(records)
    for host, record in records.items():
        same = record and record["action"] == action and record["release"] == releases.get(host)
        if same and len(last) == 1 and record["id"] in last and record["state"] != "undone":
            number, identity = record["number"], record["id"]
            break
    else:
        number = max((record["number"] for record in last.values()), default=0) + 1
        identity = f"{number}-{run}"
    return {"id": identity, "number": number, "action": action, "hosts": sorted(releases)}


class RollbackError(Exception):
    """A rollback is not possible. The message lists the choices."""


class RollbackPlan:
    """The target release of each host in a rollback, and the reasons for hosts that are left out."""

    def __init__(self, message: str, targets: dict[str, str], left_out: dict[str, str]) -> None:
        self.message, self.targets, self.left_out = message, targets, left_out


def plan_rollback(app: str, statuses: Records, to: str = "", undo: bool = False) -> RollbackPlan:
    """Find the target release of each host. Raises RollbackError if the target is ambiguous or missing.

    statuses: by host, `live`, `previous`, `releases` and `rollout` as in release_status. to: release_rollback_to.
    undo: whether to undo the last rollout.
    """
    if not statuses:
        raise RollbackError(f"{app}: no host is reachable.")
    if undo:
        return _plan_undo(app, statuses)
    if to:
        missing = [host for host, status in statuses.items() if to not in status["releases"]]
        if missing:
            raise RollbackError(
                f"release_rollback_to is {to}, but that release is not complete on {_join_names(missing)}. "
                f"{_format_live(statuses)} Complete releases: {_format_releases(statuses, missing)}."
            )
        return RollbackPlan(f"{app}: rolling back to {to} on {_join_names(statuses)}.", dict.fromkeys(statuses, to), {})
    return _plan_step_back(app, statuses)


def _plan_undo(app: str, statuses: Records) -> RollbackPlan:
    records = {host: status["rollout"] for host, status in statuses.items() if status["rollout"]}
    last = find_last_rollouts(records)
    if not last:
        raise RollbackError(
            f"{app}: no rollout is recorded on {_join_names(statuses)}. {_format_live(statuses)} "
            "Name the release to roll back to: -e release_rollback_to=<release>."
        )
    if len(last) > 1:
        parts = [
            f"{record['release']} on {_join_names(_find_hosts(records, identity))} "
            f"(--limit {','.join(_find_hosts(records, identity))})"
            for identity, record in sorted(last.items())
        ]
        raise RollbackError(
            f"{app}: the last rollout differs between these hosts: {'; '.join(parts)}. Limit the run to one of them."
        )
    ((identity, rollout),) = last.items()
    members = _find_hosts(records, identity)
    targets, left_out = {}, {}
    for host in members:
        record, status = records[host], statuses[host]
        if record["state"] == "undone":
            targets[host] = status["live"]
        elif not record["before"]:
            left_out[host] = "it had no live release before"
        elif record["before"] not in status["releases"]:
            left_out[host] = f"{record['before']}, its live release before, is not complete on it"
        else:
            targets[host] = record["before"]
    for host in statuses:
        if host not in members:
            left_out[host] = "it did not take part"
    if not targets:
        raise RollbackError(
            f"{app}: the last rollout, of {rollout['release']}, cannot be undone on any host: "
            f"{_format_reasons(left_out)}."
        )
    moving = {host: target for host, target in targets.items() if target != statuses[host]["live"]}
    if not moving:
        message = f"{app}: the last rollout, of {rollout['release']}, is already undone."
    else:
        groups = [f"{_join_names(_find_keys(moving, target))} to {target}" for target in dict.fromkeys(moving.values())]
        message = f"{app}: undoing the last rollout, of {rollout['release']}: {'; '.join(groups)}."
    return RollbackPlan(message, targets, left_out)


def _plan_step_back(app: str, statuses: Records) -> RollbackPlan:
    # If nothing is live on any host, such as after a release was removed by hand, all hosts are rolled back.
    served = {host: status for host, status in statuses.items() if status["live"]} or dict(statuses)
    left_out = {host: "nothing is live on it" for host in statuses if host not in served}
    unfinished = _find_unfinished_rollback(
        {host: status["rollout"] for host, status in served.items() if status["rollout"]}
    )
    lives = list(dict.fromkeys(status["live"] for status in served.values()))
    previous = list(dict.fromkeys(status["previous"] for status in served.values() if status["previous"]))
    if unfinished and (len(lives) > 1 or unfinished["state"] != "done"):
        target, action = unfinished["release"], "completing the unfinished rollback"
    elif len(lives) > 1:
        raise RollbackError(
            f"{app}: the live releases of the hosts differ, so their previous releases do, too. "
            f"{_format_choices(served)}"
        )
    elif not previous:
        raise RollbackError(
            f"{app}: there is no release to roll back to on {_join_names(statuses)}. {_format_live(statuses)} "
            f"Complete releases: {_format_releases(statuses, statuses)}."
        )
    elif len(previous) > 1:
        raise RollbackError(f"{app}: the previous releases of the hosts differ. {_format_choices(served)}")
    else:
        target, action = previous[0], "rolling back"
    for host, status in served.items():
        if target not in status["releases"]:
            left_out[host] = f"{target} is not complete on it"
    targets = {host: target for host in served if host not in left_out}
    if not targets:
        raise RollbackError(f"{app}: {target} is not complete on any host. {_format_choices(served)}")
    return RollbackPlan(f"{app}: {action} to {target} on {_join_names(targets)}.", targets, left_out)


def _find_unfinished_rollback(records: Records) -> Mapping[str, Any] | None:
    """Return the last rollout if it is a rollback that is not undone. Its state is "done" if all hosts are done."""
    last = find_last_rollouts(records)
    if len(last) != 1:
        return None
    ((identity, rollout),) = last.items()
    if rollout["action"] != "rollback":
        return None
    states = {records[host]["state"] for host in _find_hosts(records, identity)}
    if "undone" in states:
        return None
    return {**rollout, "state": "done" if states == {"done"} else "stopped"}


def _format_choices(statuses: Records) -> str:
    names = sorted({release for status in statuses.values() for release in status["releases"]}, reverse=True)
    everywhere = [name for name in names if all(name in status["releases"] for status in statuses.values())]
    named = f" Complete on all hosts: {', '.join(everywhere)}." if everywhere else ""
    return (
        f"{_format_live(statuses)} To undo the last rollout: -e release_rollback_rollout=true. "
        f"To roll back all hosts to one release: -e release_rollback_to=<release>.{named}"
    )


def _format_live(statuses: Records) -> str:
    lives = dict.fromkeys(status["live"] for status in statuses.values())
    return (
        "Live is "
        + "; ".join(
            f"{live or 'nothing'} on {_join_names(host for host, status in statuses.items() if status['live'] == live)}"
            for live in lives
        )
        + "."
    )


def _format_releases(statuses: Records, hosts: Iterable[str]) -> str:
    names = sorted({release for host in hosts for release in statuses[host]["releases"]})
    return ", ".join(names) or "none"


def _format_reasons(left_out: Mapping[str, str]) -> str:
    return "; ".join(f"{_join_names(_find_keys(left_out, why))}: {why}" for why in dict.fromkeys(left_out.values()))


def _find_keys(values: Mapping[str, str], value: str) -> list[str]:
    return [host for host, found in values.items() if found == value]


def _find_hosts(records: Records, identity: str) -> list[str]:
    return [host for host, record in records.items() if record and record["id"] == identity]


def _join_names(names: Iterable[str]) -> str:
    *more, last = names
    return f"{', '.join(more)} and {last}" if more else last
