# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the doctor found on a fleet, with what only a look at all hosts can find."""

from __future__ import annotations

import time
from collections.abc import Mapping

from ansible_collections.flaskops.production.plugins.module_utils._doctor_catalog import SEVERITIES, worst
from ansible_collections.flaskops.production.plugins.module_utils._doctor_finding import finding
from ansible_collections.flaskops.production.plugins.module_utils._text import escape_data

# How many packages of a host are named that not all hosts have.
NAMED = 5
# What is told of an application on a host; its settings and packages have been compared.
TOLD = ("name", "root", "guesses", "worst", "findings", "release", "environment", "service")


def groups(read: Mapping, key: str) -> dict[str, list[str]]:
    """The hosts by what they have there."""
    found: dict[str, list[str]] = {}
    for host, result in read.items():
        value = result[key]
        found.setdefault(value if isinstance(value, str) else ", ".join(value), []).append(host)
    return found


def drift(fleet: Mapping, app: str) -> list[dict]:
    """Where the hosts of an application differ. Other releases have other packages, which is not told again."""
    read = {host: apps[app] for host, apps in fleet.items() if app in apps}
    releases, packages, settings = (groups(read, key) for key in ("release", "packages", "settings"))
    found = []
    if len(releases) > 1:
        seen = "; ".join(f"{name or 'none'} on {', '.join(hosts)}" for name, hosts in sorted(releases.items()))
        found.append(finding("drift-release", seen, "the same release everywhere"))
    elif len(packages) > 1:
        common = set.intersection(*(set(result["packages"]) for result in read.values()))
        parts = {
            ", ".join(hosts): sorted(set(read[hosts[0]]["packages"]) - common) or ["nothing of its own"]
            for hosts in packages.values()
        }
        seen = "; ".join(f"{', '.join(own[:NAMED])} on {hosts}" for hosts, own in parts.items())
        found.append(finding("drift-environment", seen, "the same packages everywhere"))
    if len(settings) > 1:
        # A digest says nothing to a reader.
        seen = "; ".join(" and ".join(hosts) for hosts in settings.values()) + " differ"
        found.append(finding("drift-settings", seen, "the same settings everywhere"))
    return [item._asdict() for item in found]


def summary(counts: Mapping[str, int]) -> str:
    """How many findings of each severity there are."""
    found = [f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items() if count]
    return ", ".join(found) or "nothing"


def doctor_report(fleet: Mapping) -> dict:
    """Everything that was found, by host and application, and counted. A host may lie about what it has found."""
    fleet = escape_data(fleet)
    apps = sorted({app for results in fleet.values() for app in results})
    hosts = {
        host: {app: {key: result[key] for key in TOLD} for app, result in results.items()}
        for host, results in fleet.items()
    }
    across = {app: drift(fleet, app) for app in apps}
    unread = {
        host: [finding("host-unread", f"{host} gave no answer", "a host that can be reached and read")._asdict()]
        for host, results in fleet.items()
        if not results
    }
    every = [item for found in [*across.values(), *unread.values()] for item in found]
    every += [item for results in hosts.values() for result in results.values() for item in result["findings"]]
    severities = [item["severity"] for item in every]
    counts = {severity: severities.count(severity) for severity in reversed(SEVERITIES[1:])}
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "worst": worst(severities),
        "counts": counts,
        "summary": summary(counts),
        "hosts": hosts,
        "unread": unread,
        "fleet": {app: found for app, found in across.items() if found},
    }


class FilterModule:
    """The filter for doctor.yml."""

    def filters(self) -> dict:
        return {"doctor_report": doctor_report}
