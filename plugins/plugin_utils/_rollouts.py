# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rollout of one application is, and where a rollback of it leads: decided once for all hosts. Private."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Records = Mapping[str, Mapping[str, Any]]


def last_rollouts(records: Records) -> dict[str, Mapping[str, Any]]:
    """The rollouts with the highest number, by their identities: more than one where hosts were apart."""
    numbers = [record["number"] for record in records.values() if record]
    return {record["id"]: record for record in records.values() if record and record["number"] == max(numbers)}


def next_rollout(records: Records, releases: Mapping[str, str], action: str, run: str) -> dict[str, Any]:
    """The rollout that brings these releases: a new one, or the last one where that has brought them and still counts.

    records: what each host has recorded of its last rollout. releases: the release that each host is to run.
    """
    last = last_rollouts(records)
    for host, record in records.items():
        same = record and record["action"] == action and record["release"] == releases.get(host)
        if same and len(last) == 1 and record["id"] in last and record["state"] != "undone":
            number, identity = record["number"], record["id"]
            break
    else:
        number = max((record["number"] for record in last.values()), default=0) + 1
        identity = f"{number}-{run}"
    return {"id": identity, "number": number, "action": action, "hosts": sorted(releases)}


class Refused(Exception):
    """Why a rollback does not begin, with the ways to choose, as sentences."""


class Returns:
    """Where a rollback leads: the release of each host that takes part, and why others are left out."""

    def __init__(self, said: str, targets: dict[str, str], left_out: dict[str, str]) -> None:
        self.said, self.targets, self.left_out = said, targets, left_out


def find_returns(app: str, statuses: Records, to: str = "", undo: bool = False) -> Returns:
    """Where a rollback of these hosts leads; raises Refused where it cannot be told, or nobody would return.

    statuses: of each host, live, previous, releases and rollout, as release_status has them. to: the release that was
    named. undo: whether the last rollout is to be undone.
    """
    if not statuses:
        raise Refused(f"{app}: no host could be asked.")
    if undo:
        return _undone(app, statuses)
    if to:
        missing = [host for host, status in statuses.items() if to not in status["releases"]]
        if missing:
            raise Refused(
                f"release_rollback_to is {to}, but that release is not complete on {_join(missing)}. "
                f"{_live(statuses)} Complete are {_complete(statuses, missing)}."
            )
        return Returns(f"{app}: back to {to} on {_join(statuses)}.", dict.fromkeys(statuses, to), {})
    return _back(app, statuses)


def _undone(app: str, statuses: Records) -> Returns:
    records = {host: status["rollout"] for host, status in statuses.items() if status["rollout"]}
    last = last_rollouts(records)
    if not last:
        raise Refused(
            f"{app}: no rollout is recorded on {_join(statuses)}. {_live(statuses)} "
            "Name the release to return to: -e release_rollback_to=<release>."
        )
    if len(last) > 1:
        parts = [
            f"{record['release']} on {_join(_hosts_of(records, identity))} "
            f"(--limit {','.join(_hosts_of(records, identity))})"
            for identity, record in sorted(last.items())
        ]
        raise Refused(
            f"{app}: these hosts had different last rollouts: {'; '.join(parts)}. Limit the run to one of them."
        )
    ((identity, rollout),) = last.items()
    members = _hosts_of(records, identity)
    targets, left_out = {}, {}
    for host in members:
        record, status = records[host], statuses[host]
        if record["state"] == "undone":
            targets[host] = status["live"]
        elif not record["before"]:
            left_out[host] = "nothing was live there before"
        elif record["before"] not in status["releases"]:
            left_out[host] = f"{record['before']}, which was live there before, is not complete there"
        else:
            targets[host] = record["before"]
    for host in statuses:
        if host not in members:
            left_out[host] = "it did not take part"
    if not targets:
        raise Refused(
            f"{app}: no host can return to what ran before the last rollout, of {rollout['release']}: "
            f"{_reasons(left_out)}."
        )
    moving = {host: target for host, target in targets.items() if target != statuses[host]["live"]}
    if not moving:
        said = f"{app}: the last rollout, of {rollout['release']}, is undone already."
    else:
        groups = [f"{_join(_with(moving, target))} to {target}" for target in dict.fromkeys(moving.values())]
        said = f"{app}: the last rollout, of {rollout['release']}, is undone: {'; '.join(groups)}."
    return Returns(said, targets, left_out)


def _back(app: str, statuses: Records) -> Returns:
    # Where nothing is live on any host, such as after a release was removed by hand, all of them return.
    served = {host: status for host, status in statuses.items() if status["live"]} or dict(statuses)
    left_out = {host: "nothing is live there" for host in statuses if host not in served}
    begun = _begun_rollback({host: status["rollout"] for host, status in served.items() if status["rollout"]})
    lives = list(dict.fromkeys(status["live"] for status in served.values()))
    candidates = list(dict.fromkeys(status["previous"] for status in served.values() if status["previous"]))
    if begun and (len(lives) > 1 or begun["state"] != "done"):
        target, verb = begun["release"], "the rollback that has begun is completed: "
    elif len(lives) > 1:
        raise Refused(
            f"{app}: hosts differ, so that one step back would be another release on each. {_choices(served)}"
        )
    elif not candidates:
        raise Refused(
            f"{app}: there is no good release to return to on {_join(statuses)}. {_live(statuses)} "
            f"Complete are {_complete(statuses, statuses)}."
        )
    elif len(candidates) > 1:
        raise Refused(f"{app}: hosts ran different releases before {lives[0] or 'now'}. {_choices(served)}")
    else:
        target, verb = candidates[0], ""
    for host, status in served.items():
        if target not in status["releases"]:
            left_out[host] = f"{target} is not complete there"
    targets = {host: target for host in served if host not in left_out}
    if not targets:
        raise Refused(f"{app}: {target} is not complete on any host. {_choices(served)}")
    return Returns(f"{app}: {verb}back to {target} on {_join(targets)}.", targets, left_out)


def _begun_rollback(records: Records) -> Mapping[str, Any] | None:
    """The last rollout, where that is a rollback which has not come to its end on every host."""
    last = last_rollouts(records)
    if len(last) != 1:
        return None
    ((identity, rollout),) = last.items()
    if rollout["action"] != "rollback":
        return None
    states = {records[host]["state"] for host in _hosts_of(records, identity)}
    if "undone" in states:
        return None
    return {**rollout, "state": "done" if states == {"done"} else "stopped"}


def _choices(statuses: Records) -> str:
    names = sorted({release for status in statuses.values() for release in status["releases"]}, reverse=True)
    everywhere = [name for name in names if all(name in status["releases"] for status in statuses.values())]
    named = f" Complete on all of them: {', '.join(everywhere)}." if everywhere else ""
    return (
        f"{_live(statuses)} To undo the last rollout: -e release_rollback_rollout=true. "
        f"To return all hosts to one release: -e release_rollback_to=<release>.{named}"
    )


def _live(statuses: Records) -> str:
    lives = dict.fromkeys(status["live"] for status in statuses.values())
    return (
        "Live is "
        + "; ".join(
            f"{live or 'nothing'} on {_join(host for host, status in statuses.items() if status['live'] == live)}"
            for live in lives
        )
        + "."
    )


def _complete(statuses: Records, hosts: Iterable[str]) -> str:
    names = sorted({release for host in hosts for release in statuses[host]["releases"]})
    return ", ".join(names) or "none"


def _reasons(left_out: Mapping[str, str]) -> str:
    return "; ".join(f"{_join(_with(left_out, why))}: {why}" for why in dict.fromkeys(left_out.values()))


def _with(values: Mapping[str, str], value: str) -> list[str]:
    return [host for host, found in values.items() if found == value]


def _hosts_of(records: Records, identity: str) -> list[str]:
    return [host for host, record in records.items() if record and record["id"] == identity]


def _join(names: Iterable[str]) -> str:
    *more, last = names
    return f"{', '.join(more)} and {last}" if more else last
