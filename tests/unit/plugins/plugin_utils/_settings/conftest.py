# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings, validated in this process as the action plugin validates them."""

from __future__ import annotations

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.flaskops.production.plugins.plugin_utils._settings.specs import trusted
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.validation import find_faults


@pytest.fixture
def faults_of():
    """The faults of settings beside the defaults. A text with braces is a template, as in an inventory."""

    def validate(roles: list[str], given: dict) -> list[str]:
        variables = {"flask_app_name": "my-app", **trusted(given)}
        variables = {name: value for name, value in variables.items() if value is not None}
        return find_faults(roles, Templar(loader=DataLoader(), variables={}), variables)

    return validate
