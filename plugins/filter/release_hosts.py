# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that describe the live releases of a fleet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# Hosts that a sentence lists by name.
MAX_NAMES = 20


def format_hosts(hosts: list[str]) -> str:
    more = len(hosts) - MAX_NAMES
    count = "1 host" if len(hosts) == 1 else f"{len(hosts)} hosts"
    return f"{count}: {', '.join(hosts[:MAX_NAMES])}{f' and {more} more' if more > 0 else ''}"


def release_hosts(
    fleet: Mapping[str, Mapping[str, str | None]],
    app: str | None = None,
    given: Iterable[Mapping[str, Any]] = (),
    ends: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    completing: Iterable[str] = (),
) -> list[str]:
    """Return a sentence for each live release, the most frequent first, of one application or of all.

    fleet: by host, the live release of each application: '' if nothing is live, None if it is unknown. A host without
    applications is unknown. A host that has only other applications is left out.
    given: results of release_rollout, which are newer. ends: by host, the return value `more` of release_rollout for
    each application. completing: hosts whose hooks are about to be completed.
    """
    fleet, ends = _add_results(fleet, given, ends or {})
    if app is None:
        apps = dict.fromkeys(name for live in fleet.values() for name in live)
        return [sentence for name in apps for sentence in release_hosts(fleet, name, (), ends, completing)]
    hosts: dict[str | None, list[str]] = {}
    for host, live in fleet.items():
        if app in live or not live:
            hosts.setdefault(live.get(app), []).append(host)
    known = sorted((release for release in hosts if release), key=lambda release: (-len(hosts[release]), release))
    sentences = [f"{app}: {release} is live on {format_hosts(hosts[release])}." for release in known]
    if "" in hosts:
        sentences.append(f"{app}: nothing is live on {format_hosts(hosts[''])}.")
    if None in hosts:
        sentences.append(f"{app}: the live release is unknown on {format_hosts(hosts[None])}.")
    details = {host: apps[app] for host, apps in ends.items() if app in apps}
    drained = [host for host, more in details.items() if more.get("drained") and host not in completing]
    if drained:
        sentences.append(
            f"{app}: drained on {format_hosts(drained)}. Hooks after the activation have not been completed. Any run "
            "of deploy, site or rollback completes them."
        )
    errors = {host: more["outdated"] for host, more in details.items() if more.get("outdated")}
    sentences += [f"{app}: not healthy on 1 host: {host} ({error})." for host, error in errors.items()]
    return sentences


def _add_results(fleet: Mapping, given: Iterable[Mapping[str, Any]], ends: Mapping) -> tuple[dict, dict]:
    """Return the fleet and its ends, updated with newer results for some of the hosts."""
    live = {host: dict(apps) for host, apps in fleet.items()}
    more = {host: dict(apps) for host, apps in ends.items()}
    for result in given:
        host, app = result["__release_lock"][0]["key"], result["__release_lock"][1]["app"]
        live.setdefault(host, {})[app] = result.get("live")
        more.setdefault(host, {})[app] = result.get("more") or {}
    return live, more


def release_activated(fleet: Mapping[str, Mapping], prepared: Mapping[str, Mapping], app: str) -> list[str]:
    """Return the hosts whose live release of an application has changed in this rollout.

    fleet: as for release_hosts. prepared: by host and application, the release before the rollout as `live`. Hosts
    without a release before are left out, because they cannot be rolled back.
    """
    before = {host: apps[app]["live"] for host, apps in prepared.items() if app in apps}
    return [host for host in fleet if before.get(host) and fleet[host].get(app) and fleet[host][app] != before[host]]


class FilterModule:
    """Filters for the end of a rollout."""

    def filters(self) -> dict:
        return {"release_hosts": release_hosts, "release_activated": release_activated}
