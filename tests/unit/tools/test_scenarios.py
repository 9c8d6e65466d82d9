# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Consistency of the Molecule scenarios, whose files cannot share content."""

from __future__ import annotations

from pathlib import Path

import build
import pytest
import scenario
import yaml
from environment import ROOT

from ansible_collections.flaskops.production.plugins.module_utils._core.platforms import SUPPORTED
from ansible_collections.flaskops.production.tests.scenarios import test_scenarios

BASE = ROOT / ".config/molecule/config.yml"
SCENARIO_FILES = sorted((ROOT / "molecule").glob("*/molecule.yml"))
SCENARIOS = [pytest.param(path, id=path.parent.name) for path in SCENARIO_FILES]


def read_yaml(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("path", [pytest.param(BASE, id="base"), *SCENARIOS])
def test_sequences_do_not_begin_with_create(path):
    """Molecule applies --platform-name after its first step, so `create` would start hosts that are never destroyed."""
    sequence = read_yaml(path).get("scenario", {}).get("test_sequence", ["dependency", "create"])
    assert sequence[:2] == ["dependency", "create"]


@pytest.mark.parametrize("path", SCENARIOS)
def test_platforms_have_the_options_of_the_base_config(path):
    differing = ("name", "image", "groups")
    base = read_yaml(BASE)["platforms"][0]
    for host in read_yaml(path).get("platforms", []):
        assert {key: value for key, value in host.items() if key not in differing} == {
            key: value for key, value in base.items() if key not in differing
        }


def test_each_supported_system_has_a_platform():
    names = {
        f"{system}{version.replace('.', '')}" for system, (_name, versions) in SUPPORTED.items() for version in versions
    }
    assert {*build.SUITES, *build.PULLED} == names


def test_matrix_has_each_scenario_on_each_platform():
    assert {platform for _name, platform in test_scenarios.platforms(everywhere=False)} == {"", *build.SUITES}
    found = test_scenarios.platforms(everywhere=True)
    # Without a platform, a scenario runs on both Debians.
    assert sorted(found) == sorted((name, platform) for name in scenario.NAMES for platform in ("", *build.PULLED))


@pytest.mark.parametrize("name", [name for name in scenario.NAMES if name != "fleet"])
def test_ubuntu_replaces_debian(name):
    """Molecule inserts the platform into the names of the host and of its image."""
    own = read_yaml(ROOT / f"molecule/{name}/molecule.yml").get("platforms") or read_yaml(BASE)["platforms"]
    assert own[0]["name"].endswith("${FLASKOPS_MATRIX}-${FLASKOPS_PLATFORM:-debian12}")
    assert own[0]["image"].startswith("flaskops-target:${FLASKOPS_PLATFORM:-debian12}")
    words, environment = scenario.build_command(name, "test", "ubuntu2404")
    assert environment["FLASKOPS_PLATFORM"] == "ubuntu2404"
    assert ("--platform-name" in words) == (name not in scenario.TWO_HOST_SCENARIOS)
    assert "FLASKOPS_PLATFORM" not in scenario.build_command(name, "test", "debian12")[1]


@pytest.mark.parametrize("is_available", [True, False])
def test_platform_without_an_image_is_skipped_with_the_reason(tmp_path, monkeypatch, is_available):
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\n[ $1 = pull ] && exit {0 if is_available else 1}\nexit 1\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert build.explain_missing("ubuntu2404") == ("" if is_available else "No registry provides ubuntu:24.04")
    assert build.explain_missing("debian12") == ""
    if not is_available:
        with pytest.raises(pytest.skip.Exception, match="No registry provides ubuntu:24.04"):
            test_scenarios.test_scenario(None, "default", "ubuntu2404")
