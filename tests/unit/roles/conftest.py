# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles write, rendered as the action plugins render it."""

from __future__ import annotations

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.flaskops.production.plugins.module_utils._nginx import config
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.description import build_description
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.specs import trust_templates
from ansible_collections.flaskops.production.tests.unit.roles.nginx_site_variants import VARIANTS, version_of_nginx


@pytest.fixture(scope="session")
def description(tmp_path_factory):
    """What the roles want on a host with these settings, as options of host_state."""
    base = tmp_path_factory.mktemp("descriptions")

    def render(given: dict) -> dict:
        variables = trust_templates({"flask_app_name": "my-app", "release_resolved": {}, **given})
        return build_description(Templar(loader=DataLoader(), variables={}), variables, base)

    return render


@pytest.fixture(scope="session")
def gunicorn_files(description):
    """For each case, by its name, the files by their paths, with nothing for one that is to be absent."""

    def files(given: dict) -> dict[str, str]:
        entries = description(given)["entries"]
        return {entry["path"]: entry.get("content", "") for entry in entries if "content" in entry or "type" in entry}

    return lambda cases: {name: files(given) for name, given in cases.items()}


@pytest.fixture(scope="session")
def nginx_site_templates(description):
    """The server block of each variant, as the role gives it to the module."""
    return {name: description(given)["site"]["content"] for name, given in VARIANTS.items()}


@pytest.fixture(scope="session")
def nginx_site_texts(nginx_site_templates):
    """The same, as the module writes it for this machine's Nginx."""
    return {name: config.select_lines(text, version_of_nginx()) for name, text in nginx_site_templates.items()}
