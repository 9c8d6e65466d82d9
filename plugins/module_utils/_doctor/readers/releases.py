# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the releases, their records, the deploy lock and files of interrupted runs."""

from __future__ import annotations

import contextlib
import os

from ansible_collections.flaskops.production.plugins.module_utils._app import live_process
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout, list_directory
from ansible_collections.flaskops.production.plugins.module_utils._app.lock import DeployLock
from ansible_collections.flaskops.production.plugins.module_utils._app.pruning import list_leftovers
from ansible_collections.flaskops.production.plugins.module_utils._app.rollout import read_drain
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts, find_venv
from ansible_collections.flaskops.production.plugins.module_utils._doctor.readers.packages import list_packages
from ansible_collections.flaskops.production.plugins.module_utils._files.paths import is_within
from ansible_collections.flaskops.production.plugins.module_utils._python.venv_content import is_complete


def read_releases(facts: Facts) -> None:
    facts.venv = os.path.basename(find_venv(facts))
    facts.missing_interpreter = live_process.find_missing_interpreter(find_venv(facts)) or ""
    facts.packages = list_packages(find_venv(facts)) if find_venv(facts) else []
    facts.release = os.path.basename(facts.code) if facts.releases and is_within(facts.code, facts.releases) else ""
    if not facts.managed:
        return
    layout = Layout(facts.root)
    store = ReleaseStore(layout)
    known = store.read_releases()
    facts.unreadable = sorted(store.damaged)
    facts.release = layout.find_live() or ""
    facts.record = known.get(facts.release)
    facts.last_recorded, facts.previous = (
        store.find_recorded() or "",
        store.find_previous() or "",
    )
    facts.candidate = layout.next if os.path.lexists(layout.next) else ""
    facts.venv = store.find_venv(facts.release) or "" if facts.release else ""
    if facts.venv:
        facts.venv_complete = is_complete(os.path.join(layout.venvs, facts.venv))
    with contextlib.suppress(ReleaseError, KeyError, ValueError):
        facts.restart_reason = (
            live_process.find_restart_reason(layout, facts.name) or "" if facts.unit and facts.release else ""
        )
    for path in list_leftovers(layout):
        unnamed = os.path.dirname(path) == layout.venvs and not os.path.basename(path).startswith(".")
        (facts.unused_venvs if unnamed else facts.unfinished).append(path)
    facts.unrecorded = [
        layout.release(name)
        for name in list_directory(layout.releases)
        if not name.startswith(".")
        and name not in known
        and name != facts.release
        and os.path.join(layout.records, name + ".json") not in facts.unreadable
    ]
    facts.lock = DeployLock(layout, {}).read_holder() or {}
    facts.drained = read_drain(layout)
    with contextlib.suppress(OSError):
        facts.lock_age = facts.now - os.stat(layout.lock).st_mtime
