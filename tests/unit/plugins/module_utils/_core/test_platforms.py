# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supported systems, which are listed in several places."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ansible_collections.flaskops.production.plugins.module_utils._core import platforms as platforms_module
from ansible_collections.flaskops.production.plugins.module_utils._core.platforms import (
    SUPPORTED,
    check_os_release,
    check_platform,
    format_supported,
)

COLLECTION = Path(__file__).parents[5]
ROLES = sorted(COLLECTION.glob("roles/*/meta/main.yml"))
# Galaxy uses the code names of releases.
CODE_NAMES = {"12": "bookworm", "13": "trixie", "22.04": "jammy", "24.04": "noble", "26.04": "resolute"}

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux {0} ({1})"\nNAME="Debian GNU/Linux"\nVERSION_ID="{0}"\nID=debian\n'
UBUNTU = 'PRETTY_NAME="Ubuntu {0} LTS"\nNAME="Ubuntu"\nVERSION_ID="{0}"\nID=ubuntu\nID_LIKE=debian\n'
# The content of os-release, and whether the system is supported.
SYSTEMS = {
    "Debian GNU/Linux 11 (bullseye)": (DEBIAN.format("11", "bullseye"), False),
    "Debian GNU/Linux 12 (bookworm)": (DEBIAN.format("12", "bookworm"), True),
    "Debian GNU/Linux 13 (trixie)": (DEBIAN.format("13", "trixie"), True),
    "Debian GNU/Linux 14 (forky)": (DEBIAN.format("14", "forky"), False),
    # Before it is released, it has no VERSION_ID.
    "Debian GNU/Linux forky/sid": ('PRETTY_NAME="Debian GNU/Linux forky/sid"\nID=debian\n', False),
    "Ubuntu 20.04 LTS": (UBUNTU.format("20.04"), False),
    "Ubuntu 22.04 LTS": (UBUNTU.format("22.04"), True),
    "Ubuntu 24.04 LTS": (UBUNTU.format("24.04"), True),
    "Ubuntu 24.10": ('PRETTY_NAME="Ubuntu 24.10"\nID=ubuntu\nVERSION_ID="24.10"\nID_LIKE=debian\n', False),
    "Ubuntu 26.04 LTS": (UBUNTU.format("26.04"), True),
    "Raspbian GNU/Linux 12 (bookworm)": (
        'PRETTY_NAME="Raspbian GNU/Linux 12 (bookworm)"\nID=raspbian\nID_LIKE=debian\nVERSION_ID="12"\n',
        False,
    ),
    "Linux Mint 22": ("NAME='Linux Mint'\nPRETTY_NAME='Linux Mint 22'\nVERSION_ID='22'\nID=linuxmint\n", False),
    "Rocky Linux 9.5 (Blue Onyx)": (
        'NAME="Rocky Linux"\nID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.5"\n'
        'PRETTY_NAME="Rocky Linux 9.5 (Blue Onyx)"\n',
        False,
    ),
    "Alpine Linux v3.21": (
        'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.21.0\nPRETTY_NAME="Alpine Linux v3.21"\n',
        False,
    ),
    "a system without os-release": ("", False),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_unsupported_system_is_named(name):
    text, is_supported = SYSTEMS[name]
    if is_supported:
        assert check_os_release(text) == ""
        return
    assert check_os_release(text) == (
        f"This host runs {name}, but only Debian 12 and 13 and Ubuntu 22.04, 24.04 and 26.04 are supported."
    )


def test_quotes_are_optional():
    for text in ("ID=debian\nVERSION_ID=12\n", "ID='debian'\nVERSION_ID='12'\n", 'ID="debian"\nVERSION_ID="12"\n'):
        assert check_os_release(text) == ""


def test_first_existing_file_is_used(tmp_path, monkeypatch):
    one, two = tmp_path / "one", tmp_path / "two"
    monkeypatch.setattr(platforms_module, "FILES", (str(one), str(two)))
    two.write_text(DEBIAN.format("12", "bookworm"))
    assert check_platform() == ""
    one.write_text(DEBIAN.format("11", "bullseye"))
    assert "bullseye" in check_platform()
    monkeypatch.setattr(platforms_module, "FILES", (str(tmp_path / "none"),))
    assert "without os-release" in check_platform()


@pytest.mark.parametrize("path", ROLES, ids=lambda path: path.parents[1].name)
def test_roles_declare_the_same_systems(path):
    platforms = yaml.safe_load(path.read_text())["galaxy_info"]["platforms"]
    declared = {platform["name"]: platform["versions"] for platform in platforms}
    assert declared == {name: [CODE_NAMES[one] for one in versions] for name, versions in SUPPORTED.values()}


@pytest.mark.parametrize("name", ["README.md", "docs/comparison.md", "docs/getting-started.md"])
def test_documentation_lists_the_same_systems(name):
    text = " ".join((COLLECTION / name).read_text().split())
    assert format_supported() in text


@pytest.mark.parametrize("path", sorted(COLLECTION.glob("roles/*/tasks/*.yml")), ids=lambda path: path.parts[-3:][0])
def test_values_of_distributions_are_variables(path):
    """A path, package or service of a distribution is in vars/main.yml of the role."""
    text = path.read_text()
    assert not re.search(r"(?<![\w.}])/(etc|lib|run|usr|var)/", text)

    def find_names(value):
        if isinstance(value, dict):
            for name in ("ansible.builtin.apt", "ansible.builtin.package", "ansible.builtin.systemd_service"):
                yield from [value[name]["name"]] if "name" in (value.get(name) or {}) else []
            for item in value.values():
                yield from find_names(item)
        elif isinstance(value, list):
            for item in value:
                yield from find_names(item)

    for name in find_names(yaml.safe_load(text)):
        assert "{{" in str(name), f"{path}: {name}"
