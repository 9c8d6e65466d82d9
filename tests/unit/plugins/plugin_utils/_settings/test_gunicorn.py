# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.flaskops.production.plugins.plugin_utils._settings.gunicorn import (
    HOOKS,
    KNOWN,
    OF_UNITS,
    OF_VARIABLES,
    gunicorn_settings_faults,
)

VARIABLE = "gunicorn_systemd_settings"


def faults(settings) -> list[str]:
    return gunicorn_settings_faults(settings, VARIABLE)


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
def test_a_name_that_gunicorn_would_ignore_is_refused_with_the_real_one(name, use):
    assert faults({name: "a secret"}) == [f"{VARIABLE} has {name}, but Gunicorn's setting is {use}"]


def test_a_name_that_is_near_to_none():
    assert faults({"autoscale": 5}) == [
        f"{VARIABLE} has autoscale, which is no setting of Gunicorn and would be ignored: leave it out."
    ]


def test_a_hook_is_a_function():
    (fault,) = faults({"post_fork": "shop.hooks:post_fork"})
    assert fault.startswith(f"{VARIABLE} has post_fork, which has to be a function")


def test_what_the_units_and_variables_decide():
    assert faults({"bind": "x", "workers": 5, "keepalive": 2}) == [
        f"{VARIABLE} has bind, which the units decide: leave out {', '.join(sorted(OF_UNITS))}.",
        f"{VARIABLE} has workers, which a variable of its own sets: use gunicorn_systemd_workers.",
    ]


@pytest.mark.parametrize("name", ["keepalive\n", "Keepalive", "keep alive", 5])
def test_what_is_no_name(name):
    (fault,) = faults({name: 5})
    assert f"has '{name}', but a setting of Gunicorn is named in lower-case letters" in fault


@pytest.mark.parametrize("settings", ["keepalive", ["keepalive"], None])
def test_what_is_no_mapping(settings):
    (fault,) = faults(settings)
    assert "must be a mapping" in fault


def test_what_gunicorn_knows_is_accepted():
    assert faults(dict.fromkeys(KNOWN - OF_UNITS - set(OF_VARIABLES), "x")) == []
    assert not KNOWN & HOOKS
