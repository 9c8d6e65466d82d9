# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reasons to stage and to activate a release."""

from __future__ import annotations

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._releases.decision import Decision, decide_release
from ansible_collections.flaskops.production.plugins.module_utils._releases.options import (
    RELEASE_OPTIONS,
    parse_release_options,
)

STATE = {"release": "v2", "live": "v2", "present": True, "built": True, "outdated": ""}
RECORD = {"shared_paths": ["a/"], "static_paths": [], "build": "make", "source": {"revision": "1"}}
OPTIONS = {"root": "/srv/x", "shared_paths": ["a/"], "static_paths": [], "build": "make", "source": {"name": "v2"}}


def parse(**options):
    return parse_release_options({**dict.fromkeys(RELEASE_OPTIONS), **OPTIONS, **options})


def test_nothing_is_left_to_do_for_the_live_release():
    assert decide_release(STATE, RECORD, parse()) == Decision("", "")
    assert not any(decide_release(STATE, RECORD, parse(source={"name": "v2", "source": {"revision": "1"}})))


@pytest.mark.parametrize(
    ("state", "options", "is_adoptable", "decision"),
    [
        ({"present": False, "live": ""}, {}, False, ("v2 is not on the host", "v2 is not live")),
        ({"live": "v1"}, {}, False, ("", "v2 is not live")),
        ({"built": False}, {}, False, ("", "v2 is not built")),
        ({"outdated": "the unit changed"}, {}, False, ("", "the unit changed")),
        ({}, {"shared_paths": []}, False, ("settings of v2 changed", "")),
        ({}, {"build": "other"}, False, ("settings of v2 changed", "")),
        ({}, {"source": {"source": {"revision": "2"}}}, False, ("v2 is recorded with another commit", "")),
        ({}, {}, True, ("the code in /srv/x is to be adopted", "")),
    ],
)
def test_decision_has_the_reasons(state, options, is_adoptable, decision):
    assert decide_release({**STATE, **state}, RECORD, parse(**options), is_adoptable) == decision
