# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the running process, its health, its journal and its listener."""

from __future__ import annotations

import glob
import os
import re

from ansible_collections.flaskops.production.plugins.module_utils._app import live_process
from ansible_collections.flaskops.production.plugins.module_utils._app.health import add_script_name
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._core import secrets
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts, find_venv
from ansible_collections.flaskops.production.plugins.module_utils._doctor.system import HostSystem
from ansible_collections.flaskops.production.plugins.module_utils._systemd import process

PERMISSION_ERRORS = re.compile(r"PermissionError|Permission denied|Read-only file system")


def read_process(facts: Facts, system: HostSystem, health: dict | None, recent: int) -> None:
    unit = facts.unit
    pid = unit.get("MainPID", "0")
    runs = unit.get("ActiveState") == "active" and pid != "0"
    if unit.get("ExecMainStartTimestampMonotonic", "0") != "0":
        facts.started = process.compute_start_time(unit)
    if runs:
        facts.working_directory = process.read_working_directory(pid) or ""
        facts.process_venv = process.read_process_venv(pid) or ""
        facts.replaced_files = process.find_replaced_files(pid)
        settings = [path.lstrip("-") for path in facts.env_files] + [Layout(facts.root).gunicorn_config]
        record = live_process.read_process_record(Layout(facts.root)) if facts.managed else {}
        facts.changed_settings = live_process.find_changed_file(unit, settings, record) or ""
        for packages in glob.glob(os.path.join(find_venv(facts), "lib", "python3*", "site-packages")):
            facts.dependencies_changed = max(facts.dependencies_changed, os.stat(packages).st_mtime)
    since = max(facts.started, facts.now - recent * 60)
    if unit:
        lines = system.read_journal(facts.root, unit["Id"], since)
        refused = [line for line in lines if PERMISSION_ERRORS.search(line)]
        for path in facts.env_files:
            refused = secrets.hide_secrets("\n".join(refused), path.lstrip("-")).splitlines()
        facts.journal_errors = refused
    if facts.listen.startswith("unix:"):
        path = facts.listen.replace("unix:", "", 1)
        item = facts.nodes.get(path)
        if item and item.kind == "socket":
            # A connection would start a stopped service. Look for its socket in /proc instead.
            bound = {path, os.path.basename(path), os.path.relpath(path, facts.working_directory or "/")}
            facts.listening = system.can_connect(path) if runs else bool(bound & system.read_listening_sockets())
            if runs and facts.listening:
                facts.health_failure = system.find_health_failure(path, _add_script_name(facts, health))
                facts.foreign_listener = system.find_foreign_listener(path, facts.name) if facts.managed else ""


def _add_script_name(facts: Facts, health: dict | None) -> dict | None:
    """Return the health check with its path below SCRIPT_NAME of the environment files."""
    path = health["path"] if health else "/"
    mounted = add_script_name(path, *(name.lstrip("-") for name in facts.env_files))
    return health if mounted == path else {**(health or {}), "path": mounted}
