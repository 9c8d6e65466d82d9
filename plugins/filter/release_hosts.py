# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts run which release, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# A line for every host of a large fleet would bury what matters.
NAMED = 20


def hosts_named(hosts: list[str]) -> str:
    more = len(hosts) - NAMED
    count = "1 host" if len(hosts) == 1 else f"{len(hosts)} hosts"
    return f"{count}: {', '.join(hosts[:NAMED])}{f' and {more} more' if more > 0 else ''}"


def release_hosts(
    fleet: Mapping[str, Mapping[str, str | None]],
    app: str | None = None,
    given: Iterable[Mapping[str, Any]] = (),
    ends: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    completing: Iterable[str] = (),
) -> list[str]:
    """A sentence for each release that is live somewhere, of one application or of all, the most frequent first.

    fleet: for each host, the live release of each of its applications: '' where nothing is live, None where it is not
    known. Nothing at all is known of a host without applications; one that has only others is left out.
    given: results of looks at these hosts by one of them, which are newer. ends: what else each host said at its end.
    completing: hosts whose hooks are about to be completed.
    """
    fleet, ends = _with_results(fleet, given, ends or {})
    if app is None:
        apps = dict.fromkeys(name for live in fleet.values() for name in live)
        return [sentence for name in apps for sentence in release_hosts(fleet, name, (), ends, completing)]
    hosts: dict[str | None, list[str]] = {}
    for host, live in fleet.items():
        if app in live or not live:
            hosts.setdefault(live.get(app), []).append(host)
    known = sorted((release for release in hosts if release), key=lambda release: (-len(hosts[release]), release))
    sentences = [f"{app}: {release} is live on {hosts_named(hosts[release])}." for release in known]
    if "" in hosts:
        sentences.append(f"{app}: nothing is live on {hosts_named(hosts[''])}.")
    if None in hosts:
        sentences.append(f"{app}: it is not known what is live on {hosts_named(hosts[None])}.")
    said = {host: apps[app] for host, apps in ends.items() if app in apps}
    drained = [host for host, more in said.items() if more.get("drained") and host not in completing]
    if drained:
        sentences.append(
            f"{app}: drained on {hosts_named(drained)}. Hooks after the activation have not been completed; any run of "
            "deploy, site or rollback completes them."
        )
    faults = {host: more["outdated"] for host, more in said.items() if more.get("outdated")}
    sentences += [f"{app}: not well on 1 host: {host} ({fault})." for host, fault in faults.items()]
    return sentences


def _with_results(fleet: Mapping, given: Iterable[Mapping[str, Any]], ends: Mapping) -> tuple[dict, dict]:
    """The fleet and its ends, with the results of looks at some of its hosts."""
    live = {host: dict(apps) for host, apps in fleet.items()}
    more = {host: dict(apps) for host, apps in ends.items()}
    for result in given:
        host, app = result["__release_lock"][0]["key"], result["__release_lock"][1]["app"]
        live.setdefault(host, {})[app] = result.get("live")
        more.setdefault(host, {})[app] = result.get("more") or {}
    return live, more


def release_activated(fleet: Mapping[str, Mapping], prepared: Mapping[str, Mapping], app: str) -> list[str]:
    """The hosts that now run another release of an application than before this rollout.

    fleet: as for release_hosts. prepared: for each host, what its applications ran before, as `live`. A host without a
    release before has nothing to return to.
    """
    before = {host: apps[app]["live"] for host, apps in prepared.items() if app in apps}
    return [host for host in fleet if before.get(host) and fleet[host].get(app) and fleet[host][app] != before[host]]


class FilterModule:
    """The filter for the end of a rollout."""

    def filters(self) -> dict:
        return {"release_hosts": release_hosts, "release_activated": release_activated}
