# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What GitHub runs is what a contributor can run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from environment import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def commands(path: Path) -> list[str]:
    jobs = yaml.safe_load(path.read_text())["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


def called(text: str) -> set[str]:
    """The targets in commands, as lines or as Markdown's code."""
    return set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_call_targets_that_exist(path):
    found = called("\n".join(commands(path)))
    assert found
    assert found <= TARGETS


def test_a_pull_request_runs_every_part_of_the_tests():
    found = called("\n".join(commands(ROOT / ".github/workflows/ci.yml")))
    assert found == {"lint", "test-unit", "molecule", "test-integration", "certify", "matrix"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_each_job_ends_at_some_time_and_reads_only_what_it_needs(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert [name for name, job in workflow["jobs"].items() if "timeout-minutes" not in job] == []


def test_help_names_every_target():
    described = set(re.findall(r"^([a-z-]+):.*## \S", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert described == TARGETS


def test_the_guide_for_contributors_names_targets_that_exist():
    assert called((ROOT / "CONTRIBUTING.md").read_text()) <= TARGETS
