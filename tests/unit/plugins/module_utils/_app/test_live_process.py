# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the comparison of a process with its layout."""

from __future__ import annotations

import os
import tempfile

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._app import live_process
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout


@pytest.fixture
def layout():
    with tempfile.TemporaryDirectory(prefix="service-") as directory:
        os.mkdir(os.path.join(directory, "run"))
        yield Layout(directory)


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ("LoadState=not-found", "does not exist"),
        ("LoadState=loaded ActiveState=failed", "failed"),
        ("LoadState=loaded ActiveState=activating", "activating"),
    ],
)
def test_service_that_does_not_run_is_outdated(layout, programs, properties, reason):
    programs("systemctl", f"for line in {properties}; do echo $line; done")
    assert reason in live_process.find_restart_reason(layout, "myapp")


def test_service_without_its_interpreter_is_outdated(layout, programs, monkeypatch):
    """As after an upgrade of the distribution: it answers from memory, and could not be started again."""
    programs("systemctl", "for line in LoadState=loaded ActiveState=active MainPID=1; do echo $line; done")
    monkeypatch.setattr(live_process, "read_working_directory", lambda _pid: os.path.realpath(layout.app))
    monkeypatch.setattr(live_process, "read_process_venv", lambda _pid: None)
    os.makedirs(os.path.join(layout.venv, "bin"))
    os.symlink("/usr/bin/python3.4", os.path.join(layout.venv, "bin/python"))
    assert "/usr/bin/python3.4, which does not exist" in live_process.find_restart_reason(layout, "myapp")


def test_missing_interpreter_is_reported(tmp_path):
    assert live_process.find_missing_interpreter(str(tmp_path)) is None
    python = tmp_path / "bin/python"
    python.parent.mkdir()
    python.symlink_to("/usr/bin/python3.4")
    assert "/usr/bin/python3.4, which does not exist" in live_process.find_missing_interpreter(str(tmp_path))
    python.unlink()
    python.touch()
    assert live_process.find_missing_interpreter(str(tmp_path)) is None
