# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GitHub's workflows run the same commands as contributors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from environment import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def read_commands(path: Path) -> list[str]:
    jobs = yaml.safe_load(path.read_text())["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


def find_targets(text: str) -> set[str]:
    """Return the make targets in commands, which are lines or Markdown code."""
    return set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_use_existing_targets(path):
    found = find_targets("\n".join(read_commands(path)))
    assert found
    assert found <= TARGETS


def test_pull_requests_run_all_parts_of_the_tests():
    found = find_targets("\n".join(read_commands(ROOT / ".github/workflows/ci.yml")))
    assert found == {"lint", "test-unit", "molecule", "test-integration", "certify", "matrix"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_jobs_have_timeouts_and_minimal_permissions(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert [name for name, job in workflow["jobs"].items() if "timeout-minutes" not in job] == []


def test_help_lists_all_targets():
    described = set(re.findall(r"^([a-z-]+):.*## \S", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert described == TARGETS


def test_contributing_guide_names_existing_targets():
    assert find_targets((ROOT / "CONTRIBUTING.md").read_text()) <= TARGETS
