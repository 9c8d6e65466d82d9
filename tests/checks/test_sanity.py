# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ansible-test's sanity tests without exceptions."""

from __future__ import annotations

import subprocess

import ansible_test
from environment import ROOT


def test_sanity():
    tree, environment = ansible_test.prepare_copy("sanity")
    command = [*ansible_test.COMMAND, "sanity", "--color", "no"]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(command, check=False, cwd=tree, env=environment, **output)
    assert done.returncode == 0, done.stdout


def test_no_ignore_files_exist():
    assert list((ROOT / "tests/sanity").glob("ignore*.txt")) == []
