# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.flaskops.production.plugins.filter.release_hosts import NAMED, release_activated, release_hosts


def test_each_release_has_a_sentence_the_most_frequent_first():
    fleet = {"web1": {"shop": "v2"}, "web2": {"shop": "v3"}, "web3": {"shop": "v3"}}
    assert release_hosts(fleet, "shop") == [
        "shop: v3 is live on 2 hosts: web2, web3.",
        "shop: v2 is live on 1 host: web1.",
    ]


def test_nothing_and_the_unknown_come_last():
    fleet = {"web1": {}, "web2": {"shop": None}, "web3": {"shop": ""}, "web4": {"shop": "v1"}}
    assert release_hosts(fleet, "shop") == [
        "shop: v1 is live on 1 host: web4.",
        "shop: nothing is live on 1 host: web3.",
        "shop: it is not known what is live on 2 hosts: web1, web2.",
    ]


def test_a_host_of_other_applications_is_left_out():
    fleet = {"web1": {"blog": "v1"}, "web2": {"shop": "v1"}}
    assert release_hosts(fleet, "shop") == ["shop: v1 is live on 1 host: web2."]


def test_without_a_name_all_applications_are_told():
    fleet = {"web1": {"blog": "v1"}, "web2": {"shop": "v1", "blog": "v1"}}
    assert release_hosts(fleet) == [
        "blog: v1 is live on 2 hosts: web1, web2.",
        "shop: v1 is live on 1 host: web2.",
    ]


def test_a_large_fleet_stays_readable():
    (sentence,) = release_hosts({f"web{number}": {"shop": "v1"} for number in range(NAMED + 3)}, "shop")
    assert sentence.startswith(f"shop: v1 is live on {NAMED + 3} hosts: web0, web1,")
    assert sentence.endswith(f", web{NAMED - 1} and 3 more.")


@pytest.mark.parametrize(
    ("before", "live", "expected"),
    [
        # v3 was rejected by the candidate of the first host: the rollout before this one stays as it is.
        (["v2", "v2"], ["v2", "v2"], []),
        (["v2", "v2"], ["v3", "v2"], ["web0"]),
        # The second host could not be reached while it activated, and it is not known how that ended.
        (["v2", "v2"], ["v3", None], ["web0"]),
        # What had nothing before has nothing to return to.
        (["", "v2"], ["v3", "v3"], ["web1"]),
        (["", ""], ["", ""], []),
        # A new process of the same release.
        (["v2", "v2"], ["v2", "v2"], []),
    ],
)
def test_what_a_rollback_of_this_rollout_returns(before, live, expected):
    fleet = {f"web{number}": {"shop": release, "blog": "b2"} for number, release in enumerate(live)}
    prepared = {f"web{number}": {"shop": {"live": release}} for number, release in enumerate(before)}
    assert release_activated({**fleet, "db": {}}, {**prepared, "db": {}}, "shop") == expected
    assert release_activated(fleet, prepared, "blog") == []


def given(host, live="v1", **more):
    return {"__release_lock": [{"key": host}, {"app": "shop"}], "live": live, "more": more}


def test_a_look_at_the_end_is_newer_than_what_was_known():
    fleet = {"web1": {"shop": "v1"}, "web2": {"shop": "v1"}, "web3": {"shop": "v1"}}
    unreachable = {"__release_lock": [{"key": "web3"}, {"app": "shop"}], "unreachable": True}
    assert release_hosts(fleet, "shop", [given("web2", "v2"), unreachable]) == [
        "shop: v1 is live on 1 host: web1.",
        "shop: v2 is live on 1 host: web2.",
        "shop: it is not known what is live on 1 host: web3.",
    ]


def test_hosts_that_are_drained_or_not_well_are_named():
    fleet = {"web1": {"shop": "v1"}, "web2": {"shop": "v1"}}
    drained, ill = {"drained": {"run": "1"}}, {"outdated": "GET / answered 500, expected 200"}
    _live, *said = release_hosts(fleet, "shop", ends={"web1": {"shop": drained}, "web2": {"shop": {**drained, **ill}}})
    assert said[0].startswith(
        "shop: drained on 2 hosts: web1, web2. Hooks after the activation have not been completed"
    )
    assert said[1] == "shop: not well on 1 host: web2 (GET / answered 500, expected 200)."
    _live, said = release_hosts(fleet, None, [given("web1", **drained), given("web2", **drained)], completing=["web2"])
    assert said.startswith("shop: drained on 1 host: web1.")
