# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.flaskops.production.plugins.filter.release_hosts import (
    MAX_NAMES,
    release_activated,
    release_hosts,
)


def test_releases_are_sorted_by_number_of_hosts():
    fleet = {"web1": {"shop": "v2"}, "web2": {"shop": "v3"}, "web3": {"shop": "v3"}}
    assert release_hosts(fleet, "shop") == [
        "shop: v3 is live on 2 hosts: web2, web3.",
        "shop: v2 is live on 1 host: web1.",
    ]


def test_hosts_without_a_known_release_come_last():
    fleet = {"web1": {}, "web2": {"shop": None}, "web3": {"shop": ""}, "web4": {"shop": "v1"}}
    assert release_hosts(fleet, "shop") == [
        "shop: v1 is live on 1 host: web4.",
        "shop: nothing is live on 1 host: web3.",
        "shop: the live release is unknown on 2 hosts: web1, web2.",
    ]


def test_hosts_of_other_applications_are_left_out():
    fleet = {"web1": {"blog": "v1"}, "web2": {"shop": "v1"}}
    assert release_hosts(fleet, "shop") == ["shop: v1 is live on 1 host: web2."]


def test_all_applications_are_listed_by_default():
    fleet = {"web1": {"blog": "v1"}, "web2": {"shop": "v1", "blog": "v1"}}
    assert release_hosts(fleet) == [
        "blog: v1 is live on 2 hosts: web1, web2.",
        "shop: v1 is live on 1 host: web2.",
    ]


def test_long_lists_of_hosts_are_shortened():
    (sentence,) = release_hosts({f"web{number}": {"shop": "v1"} for number in range(MAX_NAMES + 3)}, "shop")
    assert sentence.startswith(f"shop: v1 is live on {MAX_NAMES + 3} hosts: web0, web1,")
    assert sentence.endswith(f", web{MAX_NAMES - 1} and 3 more.")


@pytest.mark.parametrize(
    ("before", "live", "expected"),
    [
        # v3 was rejected by the candidate of the first host, so nothing was activated.
        (["v2", "v2"], ["v2", "v2"], []),
        (["v2", "v2"], ["v3", "v2"], ["web0"]),
        # The second host became unreachable during its activation, so its live release is unknown.
        (["v2", "v2"], ["v3", None], ["web0"]),
        # A host without a release before cannot be rolled back.
        (["", "v2"], ["v3", "v3"], ["web1"]),
        (["", ""], ["", ""], []),
        # The processes were replaced, but the release is the same.
        (["v2", "v2"], ["v2", "v2"], []),
    ],
)
def test_hosts_with_another_release_than_before_are_activated(before, live, expected):
    fleet = {f"web{number}": {"shop": release, "blog": "b2"} for number, release in enumerate(live)}
    prepared = {f"web{number}": {"shop": {"live": release}} for number, release in enumerate(before)}
    assert release_activated({**fleet, "db": {}}, {**prepared, "db": {}}, "shop") == expected
    assert release_activated(fleet, prepared, "blog") == []


def make_result(host, live="v1", **more):
    return {"__release_lock": [{"key": host}, {"app": "shop"}], "live": live, "more": more}


def test_given_results_replace_older_ones():
    fleet = {"web1": {"shop": "v1"}, "web2": {"shop": "v1"}, "web3": {"shop": "v1"}}
    unreachable = {"__release_lock": [{"key": "web3"}, {"app": "shop"}], "unreachable": True}
    assert release_hosts(fleet, "shop", [make_result("web2", "v2"), unreachable]) == [
        "shop: v1 is live on 1 host: web1.",
        "shop: v2 is live on 1 host: web2.",
        "shop: the live release is unknown on 1 host: web3.",
    ]


def test_drained_and_unhealthy_hosts_are_reported():
    fleet = {"web1": {"shop": "v1"}, "web2": {"shop": "v1"}}
    drained, unhealthy = {"drained": {"run": "1"}}, {"outdated": "GET / answered 500, expected 200"}
    _live, *sentences = release_hosts(
        fleet, "shop", ends={"web1": {"shop": drained}, "web2": {"shop": {**drained, **unhealthy}}}
    )
    assert sentences[0].startswith(
        "shop: drained on 2 hosts: web1, web2. Hooks after the activation have not been completed"
    )
    assert sentences[1] == "shop: not healthy on 1 host: web2 (GET / answered 500, expected 200)."
    _live, sentences = release_hosts(
        fleet, None, [make_result("web1", **drained), make_result("web2", **drained)], completing=["web2"]
    )
    assert sentences.startswith("shop: drained on 1 host: web1.")
