# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the service and the socket unit of an application, and find its live code."""

from __future__ import annotations

import os
import re

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._doctor.discovery import (
    LIVE_NAMES,
    find_listen_address,
    find_working_directory,
    names_path,
    parse_exec_start,
)
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import find_account, resolve_safely
from ansible_collections.flaskops.production.plugins.module_utils._doctor.system import HostSystem, read_process_account
from ansible_collections.flaskops.production.plugins.module_utils._files.paths import is_within


def read_units(facts: Facts, system: HostSystem) -> None:
    unit = facts.unit
    directory = find_working_directory(unit)
    sockets = f"{unit.get('Sockets', '')} {unit.get('TriggeredBy', '')}".split()
    for name in [*sockets, f"{facts.name}.socket"]:
        found = system.read_unit(name) if name.endswith(".socket") else {}
        if found.get("LoadState") == "loaded":
            facts.socket_unit = found
            break
    if unit:
        facts.program = (parse_exec_start(unit) or [""])[0]
        facts.runtime_user = find_account(
            unit.get("User") or "root", unit.get("Group", ""), unit.get("SupplementaryGroups", "")
        )
        if facts.runtime_user is None and unit.get("DynamicUser") == "yes":
            facts.runtime_user = read_process_account(unit.get("MainPID", "0"))
        facts.missing_paths = [
            path
            for path in unit.get("ReadWritePaths", "").split()
            if path.startswith(("/", "+/")) and not os.path.lexists(path.lstrip("+"))
        ]
        facts.services_of_user = _find_services_of_user(facts, system)
        own = re.findall(r"^(\S+) \(ignore_errors=(yes|no)\)", unit.get("EnvironmentFiles", ""), re.M)
        facts.env_files = [path if ignored == "no" else f"-{path}" for path, ignored in own]
    # The directory of the live code
    links = [os.path.join(facts.root, link) for link in LIVE_NAMES]
    live = next((path for path in links if _is_live(path, directory)), "")
    releases = os.path.join(facts.root, "releases")
    facts.releases = releases if os.path.isdir(releases) else ""
    if not live and not facts.releases:
        live = directory if is_within(directory, facts.root) else facts.root
    facts.live = live or links[0]
    facts.code = resolve_safely(facts.live)
    facts.managed = os.path.isdir(Layout(facts.root).records)
    facts.listen = find_listen_address(unit, facts.socket_unit, directory)


def _find_services_of_user(facts: Facts, system: HostSystem) -> list[str]:
    """Return other services of the same user. Services that name the application's directory belong to it."""
    user = facts.unit.get("User") or "root"
    return [
        name
        for name, text in system.read_service_files().items()
        if re.findall(r"(?m)^\s*User\s*=\s*(\S+)", text)[-1:] == [user]
        and name not in (facts.unit.get("Id"), f"{facts.name}.service", f"{facts.name}-next.service")
        and not names_path(text, facts.root)
    ]


def _is_live(link: str, served: str) -> bool:
    """Return whether a path is the live code. A package in the code may have the same name."""
    return os.path.islink(link) or os.path.isdir(link) and (not served or is_within(served, link))
