# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles want on a host, rendered once for all hosts with the same settings."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.flaskops.production.plugins.plugin_utils._settings import description
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.specs import trust_templates

SECRETS = {
    "flask_app_env": {"KEY": "a secret"},
    "venv_index_url": "https://u:secret@pypi.example.org/simple",
    "venv_environment": {"TOKEN": "a secret"},
}


@pytest.fixture
def describe(tmp_path):
    def of_host(**given) -> dict:
        variables = trust_templates({"flask_app_name": "shop", "release_resolved": {"name": "v1"}, **given})
        return description.build_description(Templar(loader=DataLoader(), variables={}), variables, tmp_path)

    return of_host


@pytest.fixture
def rendered(monkeypatch):
    """Return a list with one item for each time that units and the site are rendered."""
    times = []
    once = description.run_once

    def counted(base, question, work):
        return once(base, question, lambda inside: times.append(1) or work(inside))

    monkeypatch.setattr(description, "run_once", counted)
    return times


def test_the_description_has_all_options_of_host_state(describe):
    found = describe(**SECRETS)
    contents = {entry["path"]: entry.get("content") for entry in found["entries"]}
    assert "User=shop" in contents["/etc/systemd/system/shop.service"]
    assert "/srv/shop/run/gunicorn.sock" in found["site"]["content"]
    assert "KEY=" in found["secret_contents"]["/srv/shop/shared/.env"]
    assert found["release"]["source"] == {"name": "v1"}
    assert found["venv"]["index_url"] == SECRETS["venv_index_url"]
    assert (found["name"], found["root"], found["account"], found["group"]) == ("shop", "/srv/shop", "shop", "shop")
    # An account that was chosen is not compared with the application.
    assert describe(flask_app_user="web")["account"] == ""


def test_hosts_with_equal_settings_share_units_and_site(describe, rendered):
    first = describe(inventory_hostname="web1")
    assert describe(inventory_hostname="web2") == first
    assert len(rendered) == 1
    other = describe(inventory_hostname="web3", nginx_site_server_name="{{ inventory_hostname }}.example.org")
    assert "web3.example.org" in other["site"]["content"]
    assert len(rendered) == 2


def test_each_host_has_its_own_release_and_secrets(describe, rendered):
    found = [describe(release_resolved={"name": name})["release"]["source"]["name"] for name in ("v1", "v2")]
    assert found == ["v1", "v2"] and len(rendered) == 1
    texts = [describe(flask_app_env={"KEY": key})["secret_contents"] for key in ("a", "b")]
    assert texts[0] != texts[1]


def test_no_secret_is_written_on_the_controller(describe, tmp_path):
    describe(**SECRETS)
    kept = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert any("shop.service" in text for text in kept)
    assert "secret" not in "".join(kept)


def test_a_value_is_rendered_once(describe):
    assert "# {{ 1 + 1 }}" in describe(nginx_site_extra="# {{ '{{' }} 1 + 1 {{ '}}' }}")["site"]["content"]


def test_settings_that_cannot_be_rendered_are_named(describe):
    with pytest.raises(AnsibleActionFail, match="nginx_site_listen cannot be evaluated"):
        describe(nginx_site_listen="{{ no_such_variable }}")
