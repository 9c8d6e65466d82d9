# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the facts of an application on a host, and derive findings from them."""

from __future__ import annotations

import time
from typing import Callable, Iterator

from ansible_collections.flaskops.production.plugins.module_utils._doctor.catalog import SEVERITIES
from ansible_collections.flaskops.production.plugins.module_utils._doctor.checks.code import examine_code_and_data
from ansible_collections.flaskops.production.plugins.module_utils._doctor.checks.host import examine_host
from ansible_collections.flaskops.production.plugins.module_utils._doctor.checks.nginx import examine_nginx
from ansible_collections.flaskops.production.plugins.module_utils._doctor.checks.owners import examine_owners
from ansible_collections.flaskops.production.plugins.module_utils._doctor.checks.place import examine_place
from ansible_collections.flaskops.production.plugins.module_utils._doctor.checks.process import examine_process
from ansible_collections.flaskops.production.plugins.module_utils._doctor.checks.releases import examine_releases
from ansible_collections.flaskops.production.plugins.module_utils._doctor.checks.sockets import examine_sockets
from ansible_collections.flaskops.production.plugins.module_utils._doctor.checks.unit import examine_unit
from ansible_collections.flaskops.production.plugins.module_utils._doctor.discovery import detect_application
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import MAX_SCANNED
from ansible_collections.flaskops.production.plugins.module_utils._doctor.finding import Finding, create_finding
from ansible_collections.flaskops.production.plugins.module_utils._doctor.readers.files import read_tree
from ansible_collections.flaskops.production.plugins.module_utils._doctor.readers.host import read_host
from ansible_collections.flaskops.production.plugins.module_utils._doctor.readers.nginx import read_nginx
from ansible_collections.flaskops.production.plugins.module_utils._doctor.readers.process import read_process
from ansible_collections.flaskops.production.plugins.module_utils._doctor.readers.releases import read_releases
from ansible_collections.flaskops.production.plugins.module_utils._doctor.readers.units import read_units
from ansible_collections.flaskops.production.plugins.module_utils._doctor.system import HostSystem

# Findings of an outage, which come first among those of the same severity.
OUTAGES = (
    "nginx-not-running",
    "unit-masked",
    "unit-failed",
    "unit-start-limit",
    "unit-inactive",
    "unit-missing",
    "socket-missing",
    "socket-not-listening",
    "socket-foreign",
    "socket-unreachable",
    "nginx-proxy-mismatch",
    "live-missing",
    "health-failing",
    "disk-full",
    "file-system-read-only",
)
# Findings that explain why a service is outdated.
EXPLAINING_PREFIXES = (
    "unit-",
    "process-",
    "live-",
    "record-",
    "releases-",
    "venv-interpreter-",
    "venv-mismatch",
    "activation-",
    "root-",
    "socket-",
    "parent-",
)

EXAMINATIONS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    examine_place,
    examine_owners,
    examine_code_and_data,
    examine_releases,
    examine_process,
    examine_unit,
    examine_sockets,
    examine_nginx,
    examine_host,
)


def read_facts(
    name: str,
    root: str,
    health: dict | None = None,
    recent: int = 60,
    system: HostSystem | None = None,
    scanned: int = MAX_SCANNED,
) -> Facts:
    """Read the state of an application.

    `recent` is the age of log lines in minutes, `scanned` the maximum number of files below the code.
    """
    system = system or HostSystem()
    name, root, unit, guesses = detect_application(system, name, root)
    facts = Facts(name, root, time.time(), guesses, unit=unit)
    read_units(facts, system)
    read_nginx(facts, system, recent)
    read_tree(facts, scanned)
    read_process(facts, system, health, recent)
    read_releases(facts)
    read_host(facts)
    if facts.managed:
        # The layout of this collection is known.
        facts.guesses = []
    return facts


def examine_facts(facts: Facts) -> list[Finding]:
    """Return the findings, sorted by severity, outages first."""
    found = [item for theme in EXAMINATIONS for item in theme(facts)]
    if facts.restart_reason and not any(item.id.startswith(EXPLAINING_PREFIXES) for item in found):
        found.append(
            create_finding(
                "service-outdated", facts.restart_reason, "a process that matches the layout", name=facts.name
            )
        )
    return sorted(found, key=lambda item: (-SEVERITIES.index(item.severity), not item.id.startswith(OUTAGES)))
