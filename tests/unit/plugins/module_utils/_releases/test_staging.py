# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release still needs on a host: one decision, for the comparison and for the deploy."""

from __future__ import annotations

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._releases.staging import Decision, decide

FOUND = {"release": "v2", "live": "v2", "present": True, "built": True, "outdated": ""}
RECORD = {"shared_paths": ["a/"], "static_paths": [], "build": "make", "source": {"revision": "1"}}
PARAMS = {"root": "/srv/x", "shared_paths": ["a/"], "static_paths": [], "build": "make", "source": {"name": "v2"}}


def test_nothing_is_left_to_do():
    assert decide(FOUND, RECORD, PARAMS) == Decision("", "")
    assert not any(decide(FOUND, RECORD, {**PARAMS, "source": {"name": "v2", "source": {"revision": "1"}}}))


@pytest.mark.parametrize(
    ("found", "params", "adoptable", "decision"),
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
def test_what_is_left_is_said(found, params, adoptable, decision):
    assert decide({**FOUND, **found}, RECORD, {**PARAMS, **params}, adoptable) == decision
