# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.flaskops.production.plugins.filter.status_table import status_table


def shop(live: str = "v1", environment: str = "a", **more: Any) -> dict[str, Any]:
    common = {"since": "", "by": "", "outdated": "", "previous": "", "lock": {}}
    return {"shop": {**common, "live": live, "releases": {live: {"environment": environment}}, **more}}


@pytest.mark.parametrize(
    ("hosts", "differs"),
    [
        ([shop(), shop()], False),
        ([shop(), shop(live="v2")], True),
        ([shop(), shop(environment="b")], True),
        # The same packages are another environment on another system.
        ([shop(system="debian 12"), shop(environment="b", system="debian 13")], False),
        ([shop(system="debian 12"), shop(environment="b", system="debian 12"), shop(system="debian 13")], True),
        ([shop(system="debian 12"), shop(live="v2", environment="b", system="debian 13")], True),
    ],
)
def test_hosts_differ_where_releases_do_or_environments_of_one_system(hosts, differs):
    said = status_table({f"web{number}": status for number, status in enumerate(hosts)})
    assert any("differs between hosts" in line for line in said) is differs


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"drained": {"run": "1", "by": "ada", "time": "12:00"}}, "web1: shop is drained since 12:00"),
        ({"replaced": ["/usr/bin/python3.11"]}, "such as /usr/bin/python3.11: restart it."),
        ({"rollout": {"id": "7-x", "release": "v2", "state": "stopped"}}, "the rollout 7-x of v2, which is stopped."),
        ({"rollout": {"id": "7-x", "release": "v2", "state": "done"}}, None),
    ],
)
def test_what_is_left_to_do_is_told(more, words):
    _head, _row, *remarks = status_table({"web1": shop(**more)})
    assert remarks == [] if words is None else words in remarks[0]
