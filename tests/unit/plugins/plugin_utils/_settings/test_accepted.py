# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that every setting has a kind, unless its type needs none."""

from __future__ import annotations

import pytest

from ansible_collections.flaskops.production.plugins.plugin_utils._settings.accepted import SETTING_KINDS
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.kinds import ANY, Kind, ListKind
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.specs import NAMES, get_options

OPTIONS = get_options(NAMES)
RESTRICTED = [
    (name, kind) for name, kind in SETTING_KINDS.items() if isinstance(kind, Kind) and kind is not ANY and kind.accepted
]


def needs_no_kind(option: dict) -> bool:
    return option["type"] == "bool" or "choices" in option


def test_every_setting_has_a_kind_unless_its_type_needs_none():
    assert len(OPTIONS) > 130
    assert {name for name, option in OPTIONS.items() if not needs_no_kind(option)} == set(SETTING_KINDS)


def test_lists_have_kinds_of_items():
    of_items = {name for name, kind in SETTING_KINDS.items() if isinstance(kind, ListKind)}
    assert {name for name in of_items if OPTIONS[name]["type"] != "list"} == set()
    # These kinds are of the whole list.
    others = {name for name, option in OPTIONS.items() if option["type"] == "list"} - of_items
    assert {name for name in others if SETTING_KINDS[name] is not ANY} == {
        "release_health_status",
        "nginx_site_locations",
    }


@pytest.mark.parametrize(("name", "kind"), RESTRICTED)
def test_messages_name_the_setting_and_the_value(name, kind):
    bad = -7 if OPTIONS[name]["type"] in ("int", "float") else "\n"
    value = [bad] if isinstance(kind, ListKind) else [99] if name == "release_health_status" else bad
    (problem,) = kind.find_problems(name, value)
    assert problem.startswith(name) and "but must" in problem and problem.endswith(".")
    assert str(value[0] if isinstance(kind, ListKind) else value) in problem
