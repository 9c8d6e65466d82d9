# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A table of the applications and releases on each host."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.flaskops.production.plugins.module_utils._core.text import escape_data

COLUMNS = ("HOST", "APP", "LIVE", "REVISION", "SINCE", "BY", "HEALTHY", "PREVIOUS", "KEPT")


def format_row(host: str, app: str, status: Mapping) -> tuple[str, ...]:
    releases, live = status["releases"], status["live"]
    revision = (releases.get(live, {}).get("source") or {}).get("revision") or ""
    healthy = "-" if not live else "no" if status["outdated"] else "yes"
    cells = (live, revision[:12], status["since"], status["by"], healthy, status["previous"], str(len(releases)))
    return (host, app, *(cell or "-" for cell in cells))


def list_remarks(fleet: Mapping) -> list[str]:
    """Return sentences on faults and on differences between hosts."""
    found = []
    apps = sorted({app for statuses in fleet.values() for app in statuses})
    for host, statuses in fleet.items():
        if not statuses:
            found.append(f"{host}: could not be read.")
        for app, status in statuses.items():
            if status["outdated"]:
                found.append(f"{host}: {app} is not healthy: {status['outdated']}.")
            if status.get("drained"):
                found.append(
                    f"{host}: {app} is drained since {status['drained']['time']}: hooks after the activation have not "
                    "been completed. Any run of deploy, site or rollback completes them."
                )
            rollout = status.get("rollout") or {}
            if rollout and rollout["state"] not in ("done", "undone"):
                found.append(
                    f"{host}: {app} took part in the rollout {rollout['id']} of {rollout['release']}, which is "
                    f"{rollout['state']}."
                )
            if status.get("replaced"):
                found.append(
                    f"{host}: {app} runs with {len(status['replaced'])} programs or libraries that were replaced or "
                    f"removed after its start, such as {status['replaced'][0]}: restart it."
                )
            if status["lock"]:
                found.append(f"{host}: {app} is locked by {status['lock']['by']} since {status['lock']['time']}.")
    for app in apps:
        by_host = {host: statuses[app] for host, statuses in fleet.items() if app in statuses}
        live = {
            host: (status["live"], status["releases"].get(status["live"], {}).get("environment"))
            for host, status in by_host.items()
        }
        # The same packages have another virtual environment on another system.
        kinds = {(live[host], status.get("system", "")) for host, status in by_host.items()}
        systems = {system for _live, system in kinds}
        if len({release for release, _environment in live.values()}) > 1 or len(kinds) > len(systems):
            parts = [
                f"{release or 'nothing'} ({environment or 'no virtual environment'}) on "
                + ", ".join(host for host in live if live[host] == (release, environment))
                for release, environment in sorted(set(live.values()), key=str)
            ]
            found.append(f"{app} differs between hosts: {'; '.join(parts)}.")
    return found


def status_table(fleet: Mapping) -> list[str]:
    """Return the lines of the table and the remarks below it."""
    fleet = escape_data(fleet)
    rows: list[tuple[str, ...]] = [COLUMNS]
    rows += [format_row(host, app, status) for host, statuses in fleet.items() for app, status in statuses.items()]
    widths = [max(len(line[column]) for line in rows) for column in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in rows]
    return lines + list_remarks(fleet)


class FilterModule:
    """The filter for status.yml."""

    def filters(self) -> dict:
        return {"status_table": status_table}
