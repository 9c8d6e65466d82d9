# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.flaskops.production.plugins.plugin_utils._settings.gunicorn import (
    HOOKS,
    KNOWN,
    SET_BY_UNITS,
    SET_BY_VARIABLES,
    check_gunicorn_settings,
)

VARIABLE = "gunicorn_systemd_settings"


def find_errors(settings) -> list[str]:
    return check_gunicorn_settings(settings, VARIABLE)


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("keep_alive", "keepalive: use keepalive."),
        ("keep-alive", "keepalive: use keepalive."),
        ("worker-tmp-dir", "worker_tmp_dir: use worker_tmp_dir."),
        ("worker_temp_dir", "worker_tmp_dir: use worker_tmp_dir."),
        ("limit_request_fieldsize", "limit_request_field_size: use limit_request_field_size."),
        ("access_logfile", "accesslog: use gunicorn_systemd_access_log."),
        ("worker", "workers: use gunicorn_systemd_workers."),
        ("name", "proc_name: use proc_name."),
        ("forwarded_allow_ip", "forwarded_allow_ips: use forwarded_allow_ips."),
    ],
)
def test_misspelt_name_is_rejected_with_the_correct_one(name, use):
    assert find_errors({name: "a secret"}) == [f"{VARIABLE} has {name}, but Gunicorn's setting is {use}"]


def test_unknown_name_without_a_similar_one_is_rejected():
    assert find_errors({"autoscale": 5}) == [
        f"{VARIABLE} has autoscale, which is not a setting of Gunicorn and would be ignored: remove it."
    ]


def test_hooks_are_rejected():
    (error,) = find_errors({"post_fork": "shop.hooks:post_fork"})
    assert error.startswith(f"{VARIABLE} has post_fork, which must be a function")


def test_settings_of_units_and_variables_are_rejected():
    assert find_errors({"bind": "x", "workers": 5, "keepalive": 2}) == [
        f"{VARIABLE} has bind, which the units decide: remove {', '.join(sorted(SET_BY_UNITS))}.",
        f"{VARIABLE} has workers, which has its own variable: use gunicorn_systemd_workers.",
    ]


@pytest.mark.parametrize("name", ["keepalive\n", "Keepalive", "keep alive", 5])
def test_invalid_names_are_rejected(name):
    (error,) = find_errors({name: 5})
    assert f"has '{name}', but names of Gunicorn's settings have lower-case letters" in error


@pytest.mark.parametrize("settings", ["keepalive", ["keepalive"], None])
def test_value_that_is_not_a_mapping_is_rejected(settings):
    (error,) = find_errors(settings)
    assert "must be a mapping" in error


def test_all_known_settings_are_accepted():
    assert find_errors(dict.fromkeys(KNOWN - SET_BY_UNITS - set(SET_BY_VARIABLES), "x")) == []
    assert not KNOWN & HOOKS
