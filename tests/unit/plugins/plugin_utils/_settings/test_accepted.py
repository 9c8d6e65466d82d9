# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every setting is of a type that needs no rule, or has a kind."""

from __future__ import annotations

import pytest

from ansible_collections.flaskops.production.plugins.plugin_utils._settings.accepted import OF_SETTINGS
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.kinds import ANY, Items, Kind
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.specs import NAMES, options_of

OPTIONS = options_of(NAMES)
RESTRICTED = [
    (name, kind) for name, kind in OF_SETTINGS.items() if isinstance(kind, Kind) and kind is not ANY and kind.accepted
]


def needs_no_kind(option: dict) -> bool:
    return option["type"] == "bool" or "choices" in option


def test_every_setting_has_a_kind_unless_its_type_says_all():
    assert len(OPTIONS) > 130
    assert {name for name, option in OPTIONS.items() if not needs_no_kind(option)} == set(OF_SETTINGS)


def test_lists_have_kinds_of_items():
    of_items = {name for name, kind in OF_SETTINGS.items() if isinstance(kind, Items)}
    assert {name for name in of_items if OPTIONS[name]["type"] != "list"} == set()
    # Of those that have none, the whole list is judged.
    others = {name for name, option in OPTIONS.items() if option["type"] == "list"} - of_items
    assert {name for name in others if OF_SETTINGS[name] is not ANY} == {
        "release_health_status",
        "nginx_site_locations",
    }


@pytest.mark.parametrize(("name", "kind"), RESTRICTED)
def test_something_is_refused_with_the_name_and_the_value(name, kind):
    bad = -7 if OPTIONS[name]["type"] in ("int", "float") else "\n"
    value = [bad] if isinstance(kind, Items) else [99] if name == "release_health_status" else bad
    (fault,) = kind.faults(name, value)
    assert fault.startswith(name) and "but must" in fault and fault.endswith(".")
    assert str(value[0] if isinstance(kind, Items) else value) in fault
