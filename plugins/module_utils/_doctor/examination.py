# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Derive the findings from the facts of an application."""

from __future__ import annotations

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
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.finding import Finding, create_finding

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
