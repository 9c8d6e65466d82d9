# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that misspelt settings are distinguished from the user's own variables."""

from __future__ import annotations

import re

import pytest
import yaml

from ansible_collections.flaskops.production.plugins.plugin_utils._settings.names import (
    ROLES,
    compute_distance,
    find_misspelt,
    list_known_names,
    list_role_settings,
)

PLAYBOOKS = ROLES.parent / "playbooks"


def test_every_documented_setting_is_known():
    for path in ROLES.glob("*/meta/argument_specs.yml"):
        options = yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"]
        assert set(options) == set(list_role_settings()[f"{path.parents[1].name}_"]), path


def test_every_variable_that_a_playbook_or_role_reads_is_known():
    prefixes = "|".join(["flask_app", "flask_apps", *(prefix[:-1] for prefix in list_role_settings()), "status"])
    variable = re.compile(rf"(?<![\w./'-])((?:{prefixes})_[a-z0-9_]+|flask_apps)\b(?!\()")
    modules = {
        path.stem for place in ("modules", "filter", "lookup") for path in (ROLES.parent / "plugins" / place).iterdir()
    }
    files = [*PLAYBOOKS.rglob("*.yml"), *ROLES.glob("*/tasks/*.yml")]
    read = {
        name
        for path in files
        for line in path.read_text().splitlines()
        if not line.lstrip().startswith(("#", "- name:"))
        for name in variable.findall(re.sub(r"flaskops\.production\.\w+|'[^' ]*'|tasks/\w+", "", line))
    }
    assert len(read) > 40
    assert sorted(read - list_known_names() - modules) == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("release_helth_path", "release_health_path"),
        ("relese_health_path", "release_health_path"),
        ("release_heatlh_path", "release_health_path"),
        ("release_healthpath", "release_health_path"),
        ("gunicorn_systemd_worker", "gunicorn_systemd_workers"),
        ("gunicron_systemd_workers", "gunicorn_systemd_workers"),
        ("gunicorn_systmd_settngs", "gunicorn_systemd_settings"),
        ("nginx_site_server_names", "nginx_site_server_name"),
        ("nginx_sites_listen", "nginx_site_listen"),
        ("ngnix_site_listen", "nginx_site_listen"),
        ("flask_app_nmae", "flask_app_name"),
        ("flaskapp_env", "flask_app_env"),
        ("flask_app", "flask_apps"),
        ("flask_app_serail", "flask_app_serial"),
        ("venv_requirement", "venv_requirements"),
        ("layout_create_acount", "layout_create_account"),
        ("doctor_fail_no", "doctor_fail_on"),
        ("adopt_form", "adopt_from"),
        ("status_jsn", "status_json"),
    ],
)
def test_misspelt_settings_are_found(name, meant):
    assert find_misspelt([name, "ansible_host", "inventory_hostname"]) == [(name, meant)]


@pytest.mark.parametrize(
    "name",
    [
        *("release_health_path", "flask_app_current", "flask_app_serial", "release_facts", "status_json"),
        # The user's own.
        *(
            "release_tag",
            "release_branch",
            "release_channel",
            "release_version",
            "flask_app_env_common",
            "flask_app_port",
        ),
        *(
            "flask_app_env2",
            "flask_app_env_1",
            "nginx_site_name",
            "nginx_worker_processes",
            "venv_directory",
            "app_name",
        ),
        *("gunicorn_workers", "layout", "flask", "status", "adopted", "realm_name", "vault_flask_app_env", "doctor"),
        *(
            "ansible_facts",
            "groups",
            "hostvars",
            "group_names",
            "omit",
            "environment",
            "play_hosts",
            "__release_comparisons",
        ),
    ],
)
def test_own_variables_of_users_are_accepted(name):
    assert find_misspelt([name]) == []


@pytest.mark.parametrize(
    ("one", "other", "errors"),
    [
        ("", "", 0),
        ("a", "", 1),
        ("abc", "abc", 0),
        ("abc", "acb", 1),
        ("abc", "axc", 1),
        ("abcd", "badc", 2),
        ("x", "abc", 3),
    ],
)
def test_typing_errors_are_counted(one, other, errors):
    assert [compute_distance(*pair) for pair in ((one, other), (other, one))] == [errors, errors]


def test_names_are_listed_once():
    text = (ROLES.parent / "plugins/plugin_utils/_settings/names.py").read_text()
    for name in set().union(*list_role_settings().values()):
        assert f'"{name}"' not in text, name
