# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directives of an old unit become settings of the roles, or are reported."""

from __future__ import annotations

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._adoption.unit import parse_unit, read_unit_settings

OWN = {"shop.service", "shop.socket", ""}


def carried(*lines, section="Service"):
    return read_unit_settings("\n".join([f"[{section}]", *lines, ""]), OWN)


def test_a_unit_is_parsed_with_its_drop_ins():
    text = (
        "# /etc/systemd/system/shop.service\n[Unit]\nAfter=a.service\n[Service]\n; a comment\nExecStart=/x \\\n  -w 2\n"
        "LimitNOFILE=1\nNice=3\n# /etc/systemd/system/shop.service.d/x.conf\n[Service]\nNice=\nNice=5\n"
    )
    assert parse_unit(text) == {
        ("Unit", "After"): ["a.service"],
        ("Service", "ExecStart"): ["/x    -w 2"],
        ("Service", "LimitNOFILE"): ["1"],
        ("Service", "Nice"): ["5"],
    }


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("MemoryMax=512M", "gunicorn_systemd_memory_max", "512M"),
        ("TasksMax=200", "gunicorn_systemd_tasks_max", "200"),
        ("LimitNOFILE=65536:131072", "gunicorn_systemd_limit_nofile", "65536:131072"),
        ("CPUQuota=150%", "gunicorn_systemd_cpu_quota", "150%"),
        ("UMask=0007", "gunicorn_systemd_hardening", {"UMask": "0007"}),
    ],
)
def test_directives_with_a_setting_become_that_setting(line, name, value):
    assert carried(line) == ({name: value}, [])


def test_other_directives_become_a_drop_in():
    found = read_unit_settings(
        "[Unit]\nAfter=network.target postgresql.service shop.socket\nWants=redis.service\nRequires=shop.socket\n"
        "[Service]\nSupplementaryGroups=video\nSupplementaryGroups=adm\nNice=5\nLimitCORE=0\n",
        OWN,
    )
    service = {"SupplementaryGroups": ["video", "adm"], "Nice": ["5"], "LimitCORE": ["0"]}
    unit = {"After": ["postgresql.service"], "Wants": ["redis.service"]}
    assert found == ({"gunicorn_systemd_unit_overrides": {"Unit": unit, "Service": service}}, [])


def test_unknown_directives_are_reported():
    found = carried("ExecStartPre=/usr/bin/warm-up", "KeyringMode=shared", "MemoryMax=lots", "Type=simple")
    assert found == ({}, ["ExecStartPre", "KeyringMode", "MemoryMax"])
    assert carried("OnFailure=mail@%n.service", section="Unit").left == ["OnFailure"]
    assert carried("WantedBy=multi-user.target", section="Install") == ({}, [])
