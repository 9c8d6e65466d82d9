# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test read-only playbooks with unreachable hosts."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from environment import tool_environment

from ansible_collections.flaskops.production.tests.unit.programs import needs

pytestmark = needs("ssh")


def run_playbook(place: Path, playbook: str, report: Path, *options: str) -> subprocess.CompletedProcess:
    """Run a playbook on a host without a listening port."""
    ghost = {"ansible_host": "127.0.0.1", "ansible_port": 1, "flask_app_name": "myapp"}
    (place / "inventory.json").write_text(json.dumps({"flask": {"hosts": {"ghost": ghost}}}))
    named = f"flaskops.production.{playbook}"
    return subprocess.run(
        ["ansible-playbook", "-i", "inventory.json", named, f"-e{playbook}_json={report}", *options],
        check=False,
        cwd=place,
        env=tool_environment(ANSIBLE_NOCOLOR="true"),
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("playbook", "ends", "says"),
    [("status", 0, "ghost"), ("doctor", 2, "ghost returned no result")],
)
def test_unreachable_host_is_reported(tmp_path, playbook, ends, says):
    report = tmp_path / "report.json"
    done = run_playbook(tmp_path, playbook, report)
    assert done.returncode == ends, done.stdout + done.stderr
    assert says in done.stdout
    assert "ghost" in report.read_text()


@pytest.mark.parametrize("playbook", ["status", "doctor"])
def test_unwritable_report_is_a_failure(tmp_path, playbook):
    report = tmp_path / "missing" / "report.json"
    done = run_playbook(tmp_path, playbook, report, "-edoctor_fail_on=never")
    assert done.returncode == 2, done.stdout + done.stderr
    assert str(report.parent) in done.stdout + done.stderr
