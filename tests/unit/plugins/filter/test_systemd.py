# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.flaskops.production.plugins.filter.systemd import (
    FilterModule,
    check_systemd_drop_in,
    check_systemd_settings,
    systemd_drop_in,
    systemd_settings,
)


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        (True, "Directive=yes\n"),
        (False, ""),
        (None, ""),
        ("", ""),
        (0, "Directive=0\n"),
        ("0027", "Directive=0027\n"),
        ("no", "Directive=no\n"),
        ([], "Directive=\n"),
        (["@system-service", "~@privileged"], "Directive=@system-service\nDirective=~@privileged\n"),
    ],
)
def test_values_are_written_in_systemd_syntax(value, lines):
    assert systemd_settings({"Directive": value}) == lines


def test_lines_keep_the_order_of_the_mapping():
    assert systemd_settings({"B": 1, "A": ["x", 2], "C": True}) == "B=1\nA=x\nA=2\nC=yes\n"


@pytest.mark.parametrize("value", [{"a": 1}, [True], [["a"]], "a\nb", ["a\nb"], "a\r", "ends in \\"])
def test_invalid_values_are_rejected(value):
    (error,) = check_systemd_settings({"ProtectHome": value}, "hardening")
    assert error.startswith("hardening.ProtectHome is ") and "true, false, a number, one line of text" in error
    with pytest.raises(AnsibleFilterError, match="ProtectHome"):
        systemd_settings({"ProtectHome": value})


@pytest.mark.parametrize("name", ["protectHome", "Protect Home", "A=B", "A\n", "", 7])
def test_invalid_names_are_rejected(name):
    (error,) = check_systemd_settings({name: True}, "hardening")
    assert error == f"hardening has '{name}', but names of directives are written like ProtectHome."


def test_unknown_sandbox_directive_is_reported_with_the_known_ones():
    (error,) = check_systemd_settings({"PrivateTMP": False, "PrivateTmp": False}, "hardening", ["PrivateTmp", "UMask"])
    assert "hardening has PrivateTMP," in error and ": PrivateTmp, UMask." in error
    assert "gunicorn_systemd_unit_overrides" in error


@pytest.mark.parametrize("settings", [["PrivateTmp"], "PrivateTmp=yes", None, 1])
def test_value_that_is_not_a_mapping_is_rejected(settings):
    (error,) = check_systemd_settings(settings, "hardening")
    assert "hardening is" in error and "a mapping of directives to values" in error


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ({}, ""),
        ("", ""),
        (None, ""),
        ("\n  \n", ""),
        ({"Service": {"Nice": 5}}, "[Service]\nNice=5\n"),
        ({"Unit": {"After": "a b"}, "Service": {"X": [1, 2]}}, "[Unit]\nAfter=a b\n\n[Service]\nX=1\nX=2\n"),
        ("[Service]\nNice=5", "[Service]\nNice=5\n"),
        ("\n# why\n[Service]\nNice=5\n\n[Unit]\nAfter=a\n\n", "# why\n[Service]\nNice=5\n\n[Unit]\nAfter=a\n"),
    ],
)
def test_drop_in_is_a_text_or_a_mapping_of_sections(overrides, text):
    assert check_systemd_drop_in(overrides, "overrides") == []
    assert systemd_drop_in(overrides) == text


@pytest.mark.parametrize(
    ("overrides", "shown"),
    [
        ("Nice=5", "Nice=5"),
        ("[Install]\nWantedBy=a", "[Install]"),
        ("Nice=5\n[Service]", "Nice=5"),
        ({"Install": {"WantedBy": "a"}}, "Install"),
        ({"Nice": 5}, "Nice"),
        (["Nice=5"], "Nice=5"),
        (7, "7"),
    ],
)
def test_drop_in_without_a_valid_section_is_rejected(overrides, shown):
    (error,) = check_systemd_drop_in(overrides, "overrides")
    assert error.startswith("overrides ") and shown in error and "[Service] or [Unit]" in error
    with pytest.raises(AnsibleFilterError):
        systemd_drop_in(overrides)


def test_directives_in_sections_are_checked():
    (error,) = check_systemd_drop_in({"Service": {"nice": 5}}, "overrides")
    assert "overrides.Service has 'nice'" in error


def test_filters_are_registered():
    assert set(FilterModule().filters()) == {"systemd_drop_in", "systemd_settings"}
