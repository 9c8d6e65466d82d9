# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the settings and the state of the service and its socket unit."""

from __future__ import annotations

import os
from typing import Iterator

from ansible_collections.flaskops.production.plugins.module_utils._doctor.discovery import find_working_directory
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import Account
from ansible_collections.flaskops.production.plugins.module_utils._doctor.finding import (
    Finding,
    create_finding,
    format_paths,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.paths import is_within

MAX_RESTARTS = 3
# Results of units that have reached their start limit: of services, and of their sockets.
START_LIMITS = ("start-limit-hit", "service-start-limit-hit", "trigger-limit-hit")


def examine_unit(facts: Facts) -> Iterator[Finding]:
    """Yield findings on the unit's settings and state."""
    if not facts.unit:
        found = f"no {facts.name}.service, and no unit that names {facts.root}"
        yield create_finding("unit-missing", found, "a service", f"/etc/systemd/system/{facts.name}.service")
        return
    yield from _examine_unit_user(facts)
    yield from _examine_working_directory(facts)
    yield from _examine_program(facts)
    yield from _examine_environment_files(facts)
    yield from _examine_unit_sandbox(facts)
    yield from _examine_unit_state(facts)
    if facts.unit.get("NeedDaemonReload") == "yes":
        found = f"{facts.unit['Id']} changed on disk"
        yield create_finding("unit-reload-needed", found, "a unit that systemd has loaded", name=facts.name)
    if facts.journal_errors:
        found = f"{len(facts.journal_errors)} lines, the last one: {facts.journal_errors[-1].strip()}"
        yield create_finding("journal-permission-errors", found, "none", name=facts.name)


def _examine_unit_user(facts: Facts) -> Iterator[Finding]:
    path, user = facts.unit["FragmentPath"], facts.unit.get("User", "")
    if facts.runtime_user is None:
        yield create_finding("unit-user-missing", f"User={user}", "a user that exists", path, user=user)
    elif facts.runtime_user.uid == 0:
        yield create_finding("unit-user-root", f"User={user}" if user else "no User=", "a user of its own", path)
    else:
        yield from _examine_shared_user(facts, facts.runtime_user, path)


def _examine_shared_user(facts: Facts, account: Account, path: str) -> Iterator[Finding]:
    expected = "a user of its own"
    if facts.web_user and facts.web_user.uid == account.uid:
        found = f"Nginx and {facts.unit['Id']} run as {account.name}"
        yield create_finding("unit-user-web", found, expected, path, name=facts.name)
    if facts.services_of_user:
        found = f"{format_paths(facts.services_of_user)} and {facts.unit['Id']} run as {account.name}"
        yield create_finding("unit-user-shared", found, expected, path)


def _examine_working_directory(facts: Facts) -> Iterator[Finding]:
    name, live = facts.name, facts.live
    directory = find_working_directory(facts.unit)
    is_optional = facts.unit.get("WorkingDirectory", "").startswith(("-", "!"))
    if directory and not is_optional and not os.path.isdir(directory):
        if facts.code in facts.nodes or os.path.normpath(directory) != live:
            yield create_finding("unit-directory-missing", directory, "an existing directory", directory, name=name)
    elif facts.releases and is_within(os.path.normpath(directory), facts.releases):
        found = f"WorkingDirectory={directory}"
        yield create_finding("unit-pins-release", found, live, directory, name=name, live=live)
    elif (
        facts.code in facts.nodes
        and facts.root in facts.nodes
        and not is_within(os.path.realpath(directory or "/"), facts.code)
    ):
        found = f"WorkingDirectory={directory or '/'}"
        yield create_finding("unit-directory-elsewhere", found, live, directory, name=name, live=live)


def _examine_program(facts: Facts) -> Iterator[Finding]:
    name, live, program = facts.name, facts.live, facts.program
    if program and not os.access(program, os.X_OK):
        if facts.code in facts.nodes:
            yield create_finding("unit-exec-missing", program, "an existing program", program, name=name)
    elif program and facts.releases and is_within(program, facts.releases):
        yield create_finding("unit-pins-release", f"ExecStart={program}", live, program, name=name, live=live)
    elif program and not is_within(program, facts.root):
        expected = f"a virtual environment below {facts.root}"
        yield create_finding("unit-exec-elsewhere", f"ExecStart={program}", expected, program, name=name)


def _examine_environment_files(facts: Facts) -> Iterator[Finding]:
    name = facts.name
    missing = [path for path in facts.env_files if path.startswith("/") and not os.path.exists(path)]
    for path in missing:
        found = f"EnvironmentFile={path}"
        yield create_finding("unit-environment-file-missing", found, "an existing file", path, name=name)
    own = [os.path.join(facts.root, *parts) for parts in (("shared", ".env"), (".env",))]
    own = [path for path in own if path in facts.nodes]
    if own and not missing and not any(path.lstrip("-") in own for path in facts.env_files):
        found = ", ".join(f"EnvironmentFile={path}" for path in facts.env_files) or "no EnvironmentFile="
        yield create_finding("unit-environment-file-elsewhere", found, own[0], own[0], name=name)


def _examine_unit_sandbox(facts: Facts) -> Iterator[Finding]:
    values, name = facts.unit, facts.name
    for path in facts.missing_paths:
        yield create_finding(
            "unit-read-write-path-missing",
            f"ReadWritePaths={path}",
            "an existing path",
            path.lstrip("+"),
            name=name,
        )
    writable = [path.lstrip("-+") for path in values.get("ReadWritePaths", "").split()]
    if values.get("ProtectSystem") == "strict":
        for path in facts.media:
            if not any(is_within(path, allowed) for allowed in writable):
                found = f"ProtectSystem=strict without ReadWritePaths={path}"
                yield create_finding("unit-sandbox-blocks", found, f"ReadWritePaths={path}", path, name=name)
    hides = {"ProtectHome": ("/home", "/root"), "PrivateTmp": ("/tmp", "/var/tmp")}
    for setting, directories in hides.items():
        hidden = any(is_within(facts.root, directory) for directory in directories)
        if hidden and values.get(setting, "no") not in ("no", "", "read-only"):
            found = f"{setting}={values[setting]}, and the application is in {facts.root}"
            yield create_finding(
                "unit-sandbox-hides", found, "an application that its process can see", facts.root, name=name
            )


def _examine_unit_state(facts: Facts) -> Iterator[Finding]:
    values = facts.unit
    service = values.get("Id") or f"{facts.name}.service"
    for item in [values] + ([facts.socket_unit] if facts.socket_unit else []):
        name = item.get("Id") or service
        if item.get("UnitFileState", "").startswith("masked") or item.get("LoadState") == "masked":
            yield create_finding("unit-masked", f"{name} is masked", "a unit that is not masked", name, unit=name)
            continue
        if item.get("Result") in START_LIMITS:
            yield create_finding("unit-start-limit", f"{name}: {item['Result']}", "active", name, unit=name)
        elif item.get("ActiveState") == "failed" or item.get("SubState") == "auto-restart":
            yield create_finding("unit-failed", f"{name}: {item.get('Result')}", "active", name, unit=name)
        elif item is values and facts.managed and facts.live not in facts.nodes:
            pass  # no release can be started
        elif item.get("ActiveState") not in ("active", "activating", "reloading"):
            yield create_finding("unit-inactive", f"{name}: {item.get('ActiveState')}", "active", name, unit=name)
        if item.get("UnitFileState") == "disabled":
            yield create_finding("unit-not-enabled", f"{name}: {item['UnitFileState']}", "enabled", name, unit=name)
    if values.get("NRestarts", "0").isdigit() and int(values.get("NRestarts", "0")) >= MAX_RESTARTS:
        yield create_finding(
            "unit-restarts", f"{service}: {values['NRestarts']} restarts", "none", service, unit=service
        )
