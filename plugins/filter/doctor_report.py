# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Combine the doctor's findings of a fleet, and compare its hosts."""

from __future__ import annotations

import time
from collections.abc import Mapping

from ansible_collections.flaskops.production.plugins.module_utils._core.text import escape_data
from ansible_collections.flaskops.production.plugins.module_utils._doctor.catalog import SEVERITIES, find_worst_severity
from ansible_collections.flaskops.production.plugins.module_utils._doctor.finding import create_finding

# The maximum number of packages in a finding.
MAX_PACKAGES = 5
# The keys of a result in the report. Settings and packages are only compared.
REPORTED_KEYS = ("name", "root", "guesses", "worst", "findings", "release", "environment", "service")


def group_hosts(read: Mapping, key: str) -> dict[str, list[str]]:
    """Group the hosts by their values of a key."""
    found: dict[str, list[str]] = {}
    for host, result in read.items():
        value = result[key]
        found.setdefault(value if isinstance(value, str) else ", ".join(value), []).append(host)
    return found


def find_differences(fleet: Mapping, app: str) -> list[dict]:
    """Return findings on differences between hosts. Packages are compared only if the releases are equal."""
    read = {host: apps[app] for host, apps in fleet.items() if app in apps}
    releases, systems, settings = (group_hosts(read, key) for key in ("release", "system", "settings"))
    found = []
    if len(releases) > 1:
        text = "; ".join(f"{name or 'none'} on {', '.join(hosts)}" for name, hosts in sorted(releases.items()))
        found.append(create_finding("drift-release", text, "the same release on all hosts"))
    else:
        # Requirements may differ between versions of Python, and so between systems.
        texts = [format_package_differences({host: read[host] for host in hosts}) for hosts in systems.values()]
        found += [create_finding("drift-venv", text, "the same packages on all hosts") for text in texts if text]
    if len(settings) > 1:
        # The finding does not show the digests.
        text = "; ".join(" and ".join(hosts) for hosts in settings.values()) + " differ"
        found.append(create_finding("drift-settings", text, "the same settings on all hosts"))
    return [item._asdict() for item in found]


def format_package_differences(read: Mapping) -> str:
    """Return the packages that not all of these hosts have, by host, or an empty string if they have the same."""
    packages = group_hosts(read, "packages")
    if len(packages) == 1:
        return ""
    common = set.intersection(*(set(result["packages"]) for result in read.values()))
    parts = {
        ", ".join(hosts): sorted(set(read[hosts[0]]["packages"]) - common) or ["no other packages"]
        for hosts in packages.values()
    }
    return "; ".join(f"{', '.join(own[:MAX_PACKAGES])} on {hosts}" for hosts, own in parts.items())


def format_counts(counts: Mapping[str, int]) -> dict[str, str]:
    """Return the number of findings of each severity that has any, in words."""
    return {name: f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items() if count}


def doctor_report(fleet: Mapping) -> dict:
    """Return the findings by host and application, with counts. A compromised host may return any text."""
    fleet = escape_data(fleet)
    apps = sorted({app for results in fleet.values() for app in results})
    hosts = {
        host: {app: {key: result[key] for key in REPORTED_KEYS} for app, result in results.items()}
        for host, results in fleet.items()
    }
    across = {app: find_differences(fleet, app) for app in apps}
    unread = {
        host: [
            create_finding(
                "host-unread", f"{host} returned no result", "a reachable host and a successful examination"
            )._asdict()
        ]
        for host, results in fleet.items()
        if not results
    }
    every = [item for found in [*across.values(), *unread.values()] for item in found]
    every += [item for results in hosts.values() for result in results.values() for item in result["findings"]]
    severities = [item["severity"] for item in every]
    counts = {severity: severities.count(severity) for severity in reversed(SEVERITIES[1:])}
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "worst": find_worst_severity(severities),
        "counts": counts,
        "summary": ", ".join(format_counts(counts).values()) or "nothing",
        "hosts": hosts,
        "unread": unread,
        "fleet": {app: found for app, found in across.items() if found},
    }


class FilterModule:
    """Filter of doctor.yml."""

    def filters(self) -> dict:
        return {"doctor_report": doctor_report}
