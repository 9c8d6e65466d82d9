# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scenarios of Molecule repeat, because one file cannot refer to another."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from environment import ROOT

BASE = ROOT / ".config/molecule/config.yml"
OWN = sorted((ROOT / "molecule").glob("*/molecule.yml"))
SCENARIOS = [pytest.param(path, id=path.parent.name) for path in OWN]


def read(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("path", [pytest.param(BASE, id="base"), *SCENARIOS])
def test_a_sequence_does_not_begin_with_create(path):
    """Molecule applies --platform-name after its first step: `create` would start hosts that nothing destroys."""
    sequence = read(path).get("scenario", {}).get("test_sequence", ["dependency", "create"])
    assert sequence[:2] == ["dependency", "create"]


@pytest.mark.parametrize("path", SCENARIOS)
def test_hosts_of_a_scenario_are_started_like_those_of_all(path):
    differing = ("name", "image", "groups")
    base = read(BASE)["platforms"][0]
    for host in read(path).get("platforms", []):
        assert {key: value for key, value in host.items() if key not in differing} == {
            key: value for key, value in base.items() if key not in differing
        }
