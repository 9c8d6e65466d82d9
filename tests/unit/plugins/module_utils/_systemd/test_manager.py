# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the helpers for systemd with programs in its place."""

from __future__ import annotations

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._systemd import manager


def test_systemctl_returns_the_status_and_both_streams(programs):
    programs("systemctl", 'echo "called with $*"; echo "Job failed" >&2; exit 3')
    code, output = manager.run_systemctl("restart", "myapp.service")
    assert code == 3 and "Job failed" in output and "called with restart myapp.service" in output


@pytest.mark.parametrize("verb", ["show", "stop"])
def test_systemctl_is_ended_after_its_timeout(programs, verb, monkeypatch):
    monkeypatch.setattr(manager, "QUERY_TIMEOUT", 0.2)
    monkeypatch.setattr(manager, "JOB_TIMEOUT", 0.2)
    programs("systemctl", "exec sleep 20")
    assert manager.run_systemctl(verb, "a.service") == (124, f"systemctl {verb} a.service did not end within 0 s")


@pytest.mark.parametrize(
    ("span", "length"),
    [("1min 30s", 90), ("40s", 40), ("500ms", 0.5), ("1h 5min", 3900), ("infinity", float("inf")), ("", 0)],
)
def test_time_spans_of_systemd_are_parsed(span, length):
    assert manager.parse_time_span(span) == length


def test_property_values_may_contain_equals_signs(programs):
    programs("systemctl", "echo FragmentPath=/etc/a=b.service; echo MainPID=7; echo DropInPaths=")
    assert manager.read_unit_properties("a.service") == {
        "FragmentPath": "/etc/a=b.service",
        "MainPID": "7",
        "DropInPaths": "",
    }


def test_failure_to_read_a_unit_names_the_unit(programs):
    programs("systemctl", "echo 'Failed to connect to bus' >&2; exit 1")
    with pytest.raises(ReleaseError, match=r"myapp\.service.*Failed to connect"):
        manager.read_unit_properties("myapp.service")
