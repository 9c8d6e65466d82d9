# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the running process of an application with its layout."""

from __future__ import annotations

import contextlib
import json
import os

from ansible_collections.flaskops.production.plugins.module_utils._app.health import (
    find_health_failure,
    find_socket_failure,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import hash_stream, replace_file
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import open_file
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import read_unit_properties
from ansible_collections.flaskops.production.plugins.module_utils._systemd.process import (
    compute_start_time,
    read_process_venv,
    read_working_directory,
)


def find_missing_interpreter(venv: str) -> str | None:
    """Return a message if the interpreter of a virtual environment is missing, or None."""
    python = os.path.join(venv, "bin", "python")
    if not os.path.lexists(python) or os.path.exists(python):
        return None
    return f"{python} leads to {os.path.realpath(python)}, which does not exist. Was the distribution upgraded?"


def find_restart_reason(layout: Layout, name: str) -> str | None:
    """Return the reason why the service does not match the layout and needs a restart, or None."""
    unit = read_unit_properties(f"{name}.service")
    if unit["LoadState"] != "loaded":
        return f"{name}.service does not exist"
    if unit["ActiveState"] != "active":
        return f"{name}.service is {unit['ActiveState']}"
    if os.path.lexists(layout.next) or os.path.lexists(layout.former_settings):
        return "an activation was interrupted"
    if read_working_directory(unit["MainPID"]) != os.path.realpath(layout.app):
        return f"{name}.service runs {read_working_directory(unit['MainPID'])}"
    venv = read_process_venv(unit["MainPID"])
    if venv and venv != os.path.realpath(layout.venv):
        return f"{name}.service runs with {venv}"
    missing = find_missing_interpreter(layout.venv)
    if missing:
        return missing
    live, store = layout.find_live(), ReleaseStore(layout)
    if live and live != store.find_recorded():
        return f"the activation of {live} was never recorded"
    if live and store.find_venv(live) not in (None, os.path.basename(os.path.realpath(layout.venv))):
        return f"{live} must run with {store.find_venv(live)}"
    if unit["NeedDaemonReload"] == "yes":
        return f"{name}.service changed on disk"
    failure = find_socket_failure(layout)
    if failure:
        return failure
    path = find_changed_file(unit, list_settings_files(layout), read_process_record(layout))
    if path:
        return f"{path} changed since {name}.service started"
    return (
        "a former user of the application still has access to its data" if os.path.exists(layout.former_user) else None
    )


def list_settings_files(layout: Layout) -> list[str]:
    """Return the files, besides units, that a process of the application reads at its start."""
    return [layout.env_file, layout.gunicorn_config]


def compute_file_digests(unit: dict[str, str], settings: list[str]) -> dict[str, str]:
    """Return the SHA-256 digests of a unit's files and of settings files, by path."""
    paths = [unit.get("FragmentPath", ""), *unit.get("DropInPaths", "").split(), *settings]
    found = {}
    for path in filter(None, paths):
        with contextlib.suppress(OSError), os.fdopen(open_file(path), "rb") as stream:
            found[path] = hash_stream(stream)
    return found


def record_process(layout: Layout, invocation: str, files: dict[str, str]) -> None:
    """Record the digests of the files that a process was started with.

    Only root can read the record, because weak secrets can be guessed from digests.
    """
    text = json.dumps({"invocation": invocation, "files": files}, indent=2, sort_keys=True) + "\n"
    replace_file(layout.process, text.encode(), 0o600)


def read_process_record(layout: Layout) -> dict:
    """Return the record of the last started process, or an empty dict if it is missing or unreadable."""
    with contextlib.suppress(OSError, ValueError), open(layout.process, encoding="utf-8") as file:
        found = json.load(file)
        if isinstance(found, dict) and isinstance(found.get("files"), dict):
            return found
    return {}


def find_changed_file(unit: dict[str, str], settings: list[str], record: dict | None = None) -> str | None:
    """Return the first unit or settings file that changed after the process started, or None.

    Compares contents with the record of the process. If the process has no record, compares change times with its
    start time.
    """
    if record:
        before, now = record["files"], compute_file_digests(unit, settings)
        differing = [path for path in {**now, **before} if before.get(path) != now.get(path)]
        if not differing:
            return None
        if record.get("invocation") == unit.get("InvocationID"):
            return differing[0]
    since = compute_start_time(unit)
    # A removed drop-in changes the time of its directory.
    drop_ins = [unit["FragmentPath"] and f"{unit['FragmentPath']}.d", *unit["DropInPaths"].split()]
    for path in [unit["FragmentPath"], *drop_ins, *settings]:
        if path and os.path.exists(path) and os.stat(path).st_ctime > since:
            return path
    return None


def find_process_failure(layout: Layout, name: str, health: dict | None) -> str:
    """Return why the process of the live release must be replaced, or an empty string. Sends one health request."""
    return find_restart_reason(layout, name) or find_health_failure(layout, health, attempts=1, name=name) or ""


def read_live_state(layout: Layout, name: str, health: dict | None) -> dict[str, str]:
    """Return the live release, the release for a rollback, and the reason for a restart. Each may be empty."""
    live = layout.find_live()
    reason = find_process_failure(layout, name, health) if live else ""
    return {"live": live or "", "previous": ReleaseStore(layout).find_previous() or "", "outdated": reason}
