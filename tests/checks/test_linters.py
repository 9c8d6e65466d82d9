# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the linters of this repository."""

from __future__ import annotations

import subprocess
import sys

import pytest
from environment import ROOT, tool_environment

QUICK = {
    "ruff": ["ruff", "check"],
    "format": ["ruff", "format", "--check"],
    "types": ["mypy"],
    "yamllint": ["yamllint", "--strict", "."],
    "changelog": ["antsibull-changelog", "lint"],
}
SLOW = {
    "ansible-lint": ["ansible-lint"],
    "docs": [sys.executable, "docs/site/docs_site.py"],
    "plugin-docs": ["antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs=self", "."],
}


def run(command: list[str]) -> None:
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(command, check=False, cwd=ROOT, env=tool_environment(), **output)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SLOW)
def test_linter(name):
    run(SLOW[name])


@pytest.mark.parametrize("name", QUICK)
def test_quick_linter(name):
    run(QUICK[name])
