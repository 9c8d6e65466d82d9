# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Validate settings in this process, as the action plugin does."""

from __future__ import annotations

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.flaskops.production.plugins.plugin_utils._settings.specs import trust_templates
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.validation import find_setting_problems


@pytest.fixture
def find_problems():
    """Return a function that finds the problems of settings. Texts with braces are templates, as in an inventory."""

    def validate(roles: list[str], given: dict) -> list[str]:
        variables = {"flask_app_name": "my-app", **trust_templates(given)}
        variables = {name: value for name, value in variables.items() if value is not None}
        return find_setting_problems(roles, Templar(loader=DataLoader(), variables={}), variables)

    return validate
