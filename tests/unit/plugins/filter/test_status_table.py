# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.flaskops.production.plugins.filter.status_table import status_table


def make_status(live: str = "v1", environment: str = "a", **more: Any) -> dict[str, Any]:
    common = {"since": "", "by": "", "outdated": "", "previous": "", "lock": {}}
    return {"shop": {**common, "live": live, "releases": {live: {"environment": environment}}, **more}}


@pytest.mark.parametrize(
    ("hosts", "differs"),
    [
        ([make_status(), make_status()], False),
        ([make_status(), make_status(live="v2")], True),
        ([make_status(), make_status(environment="b")], True),
        # The same packages have another virtual environment on another system.
        ([make_status(system="debian 12"), make_status(environment="b", system="debian 13")], False),
        (
            [
                make_status(system="debian 12"),
                make_status(environment="b", system="debian 12"),
                make_status(system="debian 13"),
            ],
            True,
        ),
        ([make_status(system="debian 12"), make_status(live="v2", environment="b", system="debian 13")], True),
    ],
)
def test_different_releases_and_virtual_environments_are_reported(hosts, differs):
    lines = status_table({f"web{number}": status for number, status in enumerate(hosts)})
    assert any("differs between hosts" in line for line in lines) is differs


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"drained": {"run": "1", "by": "ada", "time": "12:00"}}, "web1: shop is drained since 12:00"),
        ({"replaced": ["/usr/bin/python3.11"]}, "such as /usr/bin/python3.11: restart it."),
        ({"rollout": {"id": "7-x", "release": "v2", "state": "stopped"}}, "the rollout 7-x of v2, which is stopped."),
        ({"rollout": {"id": "7-x", "release": "v2", "state": "done"}}, None),
    ],
)
def test_remarks_report_unfinished_work(more, words):
    _head, _row, *remarks = status_table({"web1": make_status(**more)})
    assert remarks == [] if words is None else words in remarks[0]
