# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pwd
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.plugins.filter import release_rollout as rollout_filters
from ansible_collections.flaskops.production.plugins.module_utils._app import lock as lock_module
from ansible_collections.flaskops.production.plugins.module_utils._app.health import HealthResult
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._files.links import swap_link
from ansible_collections.flaskops.production.plugins.module_utils._releases import decision, staging, status
from ansible_collections.flaskops.production.plugins.module_utils._releases.failure import RejectedError
from ansible_collections.flaskops.production.plugins.modules import release_activate, release_stage
from ansible_collections.flaskops.production.plugins.plugin_utils._run import identity
from ansible_collections.flaskops.production.tests.unit.fleet.fleet import Fleet


@pytest.fixture
def fleet(run_module, monkeypatch):
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    place = Path(tempfile.mkdtemp(prefix="fleet-", dir=memory))
    me = pwd.getpwuid(os.geteuid())
    found = Fleet(place, run_module)

    def describe_run() -> dict[str, str]:
        return {"run": os.environ["THIS_RUN"], "by": "ada", "controller": "ci", "process": ""}

    def observe(layout, _name, _health):
        return {
            "live": layout.find_live() or "",
            "previous": ReleaseStore(layout).find_previous() or "",
            "outdated": "",
        }

    class Activation:
        """Swaps the link, unless the host does not bear the release."""

        def __init__(self, layout, _name, release, *_more):
            self.layout, self.release = layout, release

        def run(self, record):
            host = Path(self.layout.root).parent.name
            if self.release in found.rejecting.get(host, ()):
                raise RejectedError("candidate", f"{self.release} is not borne here", "shop-next.service", time.time())
            swap_link(self.layout.app, os.path.join("releases", self.release))
            record()

    monkeypatch.setenv("THIS_RUN", "")
    monkeypatch.setattr(identity, "describe_run", describe_run)
    monkeypatch.setattr(rollout_filters, "describe_run", describe_run)
    monkeypatch.setattr(identity, "is_dead", lambda run: run["run"] in found.dead)
    monkeypatch.setattr(identity.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(status, "read_live_state", observe)
    monkeypatch.setattr(status, "find_replaced_service_files", lambda _name: [])
    monkeypatch.setattr(decision, "read_live_state", observe)
    monkeypatch.setattr(release_activate, "Activation", Activation)
    monkeypatch.setattr(release_activate, "check_health", lambda *_arguments, **_named: HealthResult(None))
    monkeypatch.setattr(release_activate, "list_changed_settings", lambda *_arguments: [])
    for name in ("find_process_failure", "recover_settings", "record_settings"):
        monkeypatch.setattr(release_activate, name, lambda *_arguments, **_named: None)
    monkeypatch.setattr(staging, "sync_filesystem", lambda _path: None)
    spec = release_stage.argument_spec
    accounts = {"user": me.pw_name, "group": "root" if me.pw_uid == 0 else me.pw_name, "owner": me.pw_name}

    def with_accounts() -> dict:
        given = {name: {**spec()[name], "required": False, "default": value} for name, value in accounts.items()}
        return {**spec(), **given}

    monkeypatch.setattr(release_stage, "argument_spec", with_accounts)
    monkeypatch.setattr(lock_module, "STEP_TIMEOUT", 5)
    yield found
    shutil.rmtree(place)
