# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each Molecule scenario on one Debian, alternating; some on both. With --platforms=all, on all Debians and Ubuntus."""

from __future__ import annotations

import itertools
import subprocess

import pytest
from build import PULLED, SUITES, build_images, missing
from environment import CACHE, ROOT
from scenario import NAMES, command

# The scenarios that take longest begin first, so that none of them is left over at the end.
LONGEST = ("interrupted", "fleet", "hostile", "adopt", "default", "lifecycle", "doctor")
# On the hosts of both platforms in one run, which costs the controller less than two; the doctor compares hosts.
ON_BOTH = ("default", "doctor", "lifecycle", "sandbox")
# This one always has hosts of both.
MIXED = ("fleet",)


def platforms(everywhere: bool) -> list[tuple[str, str]]:
    """Each scenario with its platform; with none where it runs on all."""
    turns = itertools.cycle(sorted(SUITES))
    ordered = sorted(NAMES, key=lambda name: (LONGEST.index(name) if name in LONGEST else len(LONGEST), name))
    found = [(name, "" if everywhere or name in ON_BOTH + MIXED else next(turns)) for name in ordered]
    return found + [(name, platform) for platform in sorted(PULLED) if everywhere for name in ordered]


def pytest_generate_tests(metafunc):
    everywhere = metafunc.config.getoption("--platforms") == "all"
    cases = platforms(everywhere)
    metafunc.parametrize(("name", "platform"), cases, ids=["-".join(filter(None, case)) for case in cases])


def test_scenario(docker_answers, name, platform):
    if platform in PULLED:
        if missing(platform):
            pytest.skip(missing(platform))
        build_images(platform)
    words, environment = command(name, "test", platform)
    # Where it can be followed while it runs.
    log = CACHE / "reports" / f"{'-'.join([name, platform] if platform in PULLED else [name])}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        done = subprocess.run(words, check=False, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    assert done.returncode == 0, log.read_text()
    # Molecule passes over a step whose playbook is missing.
    assert "Missing playbook" not in log.read_text(), log.read_text()
