# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the releases, their records, the deploy lock and files of interrupted runs."""

from __future__ import annotations

import contextlib
import os

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout, Lock, ReleaseError, _listed
from ansible_collections.flaskops.production.plugins.module_utils._app.rollout import read_drain
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts, find_venv
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import is_within
from ansible_collections.flaskops.production.plugins.module_utils._doctor.readers.packages import list_packages
from ansible_collections.flaskops.production.plugins.module_utils._python.venvs import is_complete
from ansible_collections.flaskops.production.plugins.module_utils._systemd import service


def read_releases(facts: Facts) -> None:
    facts.venv = os.path.basename(find_venv(facts))
    facts.missing_interpreter = service.find_missing_interpreter(find_venv(facts)) or ""
    facts.packages = list_packages(find_venv(facts)) if find_venv(facts) else []
    facts.release = os.path.basename(facts.code) if facts.releases and is_within(facts.code, facts.releases) else ""
    if not facts.managed:
        return
    layout = Layout(facts.root)
    known = layout.known()
    facts.unreadable = sorted(layout.damaged)
    facts.release = layout.live() or ""
    facts.record = known.get(facts.release)
    facts.last_recorded, facts.previous = layout.recorded() or "", layout.previous() or ""
    facts.candidate = layout.next if os.path.lexists(layout.next) else ""
    facts.venv = layout.environment(facts.release) or "" if facts.release else ""
    if facts.venv:
        facts.venv_complete = is_complete(os.path.join(layout.venvs, facts.venv))
    with contextlib.suppress(ReleaseError, KeyError, ValueError):
        facts.restart_reason = (
            service.find_restart_reason(layout, facts.name) or "" if facts.unit and facts.release else ""
        )
    for path in layout.leftovers():
        unnamed = os.path.dirname(path) == layout.venvs and not os.path.basename(path).startswith(".")
        (facts.unused_venvs if unnamed else facts.unfinished).append(path)
    facts.unrecorded = [
        layout.release(name)
        for name in _listed(layout.releases)
        if not name.startswith(".")
        and name not in known
        and name != facts.release
        and os.path.join(layout.records, name + ".json") not in facts.unreadable
    ]
    facts.lock = Lock(layout, {}).holder() or {}
    facts.drained = read_drain(layout)
    with contextlib.suppress(OSError):
        facts.lock_age = facts.now - os.stat(layout.lock).st_mtime
