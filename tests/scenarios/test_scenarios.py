# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each Molecule scenario on one platform, alternating; some on each, and with --platforms=all all of them."""

from __future__ import annotations

import itertools
import subprocess

from build import SUITES
from environment import ROOT
from scenario import NAMES, command

PLATFORMS = sorted(SUITES)
# The scenarios that take longest begin first, so that none of them is left over at the end.
LONGEST = ("adopt", "interrupted", "fleet", "lifecycle", "doctor")
ON_EACH = ("default", "lifecycle", "sandbox")
# This one has hosts of both.
MIXED = ("fleet",)


def platforms(everywhere: bool) -> list[tuple[str, str]]:
    turns = itertools.cycle(PLATFORMS)
    ordered = sorted(NAMES, key=lambda name: (LONGEST.index(name) if name in LONGEST else len(LONGEST), name))
    found = []
    for name in ordered:
        if name in MIXED:
            found.append((name, ""))
        else:
            found += [(name, one) for one in (PLATFORMS if everywhere or name in ON_EACH else [next(turns)])]
    return found


def pytest_generate_tests(metafunc):
    everywhere = metafunc.config.getoption("--platforms") == "all"
    cases = platforms(everywhere)
    metafunc.parametrize(("name", "platform"), cases, ids=["-".join(filter(None, case)) for case in cases])


def test_scenario(docker, name, platform):
    words, environment = command(name, "test", platform)
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(words, check=False, cwd=ROOT, env=environment, **output)
    assert done.returncode == 0, done.stdout
    # Molecule passes over a step whose playbook is missing.
    assert "Missing playbook" not in done.stdout, done.stdout
