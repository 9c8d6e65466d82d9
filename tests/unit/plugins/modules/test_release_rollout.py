# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A full disk leaves no deploy lock behind."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._app import lock as lock_module
from ansible_collections.flaskops.production.plugins.module_utils._app import rollout as rollout_module
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.lock import DeployLock
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._releases import status
from ansible_collections.flaskops.production.plugins.modules import release_rollout

RUN = {"run": "r-1", "by": "ada", "controller": "ci", "process": ""}
ROLLOUT = {"id": "o-1", "number": 1, "action": "deploy", "release": "v1", "hosts": ["web1"]}


def write_on_a_full_disk(path, *_arguments, **_options):
    Path(path).touch()
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def locked(tmp_path, monkeypatch) -> Layout:
    """Return the layout of an application whose lock a run holds on a full disk."""
    layout = Layout(str(tmp_path), RUN)
    ReleaseStore(layout).create_directories()
    lock = DeployLock(layout, RUN)
    lock.acquire()
    lock.release_guard()
    monkeypatch.setattr(status, "read_live_state", lambda *_: {"live": "v0", "previous": "", "outdated": ""})
    monkeypatch.setattr(status, "find_replaced_service_files", lambda _name: [])
    monkeypatch.setattr(lock_module, "replace_file", write_on_a_full_disk)
    monkeypatch.setattr(rollout_module, "replace_file", write_on_a_full_disk)
    return layout


def finish(run_module, layout, **more):
    return run_module(
        release_rollout, {"name": "shop", "root": layout.root, "step": "finish", "run": RUN, "joined": True, **more}
    )


def test_lock_is_released_if_the_end_cannot_be_recorded(run_module, locked):
    result = finish(run_module, locked, rollout=ROLLOUT)
    assert result["msg"] == (
        f"The end of the rollout is not recorded: {locked.root}: No space left on device. "
        "Make room on its file system, and run again."
    )
    assert (result["live"], result["locked"]) == ("v0", False)
    assert not os.path.lexists(locked.lock)


def test_end_without_a_record_needs_no_space(run_module, locked):
    assert "msg" not in finish(run_module, locked)
    assert not os.path.lexists(locked.lock)


def test_lock_that_cannot_be_written_leaves_no_file(locked):
    os.unlink(locked.lock)
    with pytest.raises(OSError, match="No space left"):
        DeployLock(locked, RUN).acquire()
    assert [path.name for path in Path(locked.lock).parent.iterdir() if path.name.startswith("lock")] == []
