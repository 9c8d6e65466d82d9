# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long Nginx waits, how long Gunicorn gives a request at a restart, and how long systemd waits for Gunicorn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from environment import ROOT

from ansible_collections.flaskops.production.plugins.filter.duration import nginx_seconds
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.rendering import render_settings
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.validation import find_setting_problems

ROLES = ["flask_app", "gunicorn_systemd", "nginx_site"]

# Settings, and what Nginx and Gunicorn wait then.
FIT = {
    "default": ({}, "60s", 60),
    "longworker": ({"gunicorn_systemd_timeout": 120}, "120s", 120),
    "shortworker": ({"gunicorn_systemd_timeout": 20}, "60s", 60),
    "longproxy": ({"nginx_site_proxy_read_timeout": "5m"}, "5m", 300),
    "shortproxy": ({"nginx_site_proxy_read_timeout": "10s"}, "10s", 30),
    "location": ({"nginx_site_locations": [{"path": "/export", "proxy_read_timeout": "10m"}]}, "60s", 600),
    "longgrace": ({"gunicorn_systemd_graceful_timeout": 90}, "60s", 90),
    "polls": ({"nginx_site_long_poll_urls": ["/events"]}, "60s", 60),
}
CONTRADICT = {
    "worker": (
        {"gunicorn_systemd_timeout": 120, "nginx_site_proxy_read_timeout": "60s"},
        "gunicorn_systemd_timeout is 120, but Nginx gives up after 60 s (nginx_site_proxy_read_timeout is '60s'): set "
        "nginx_site_proxy_read_timeout to 120s or more, or gunicorn_systemd_timeout to 60 or less.",
    ),
    "grace": (
        {"gunicorn_systemd_graceful_timeout": 30},
        "gunicorn_systemd_graceful_timeout is 30, but Nginx waits 60 s for an answer, so that a deploy would cut off a "
        "longer request: set gunicorn_systemd_graceful_timeout to 60 or more, or let nginx_site_proxy_read_timeout and "
        "those of nginx_site_locations be 30s or less.",
    ),
}


def asked(given: dict) -> tuple[dict, list[str]]:
    """Return the values of settings, including defaults, and the problems."""
    templar, variables = Templar(loader=DataLoader(), variables={}), {"flask_app_name": "my-app", **given}
    return render_settings(ROLES, templar, variables)[0], find_setting_problems(ROLES, templar, variables)


@pytest.mark.parametrize("name", FIT)
def test_gunicorn_waits_at_least_as_long_as_nginx(name):
    settings, proxy, grace = FIT[name]
    values, problems = asked(settings)
    assert (values["nginx_site_proxy_read_timeout"], int(values["gunicorn_systemd_graceful_timeout"])) == (proxy, grace)
    assert problems == []
    assert grace >= nginx_seconds(proxy)


@pytest.mark.parametrize("name", CONTRADICT)
def test_contradictory_settings_are_rejected(name):
    settings, sentence = CONTRADICT[name]
    assert asked(settings)[1] == [sentence]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("60s", 60), ("5m", 300), ("1h", 3600), ("500ms", 1), ("1500ms", 2), (7, 7), ("7", 7), ("soon", 0), ("1.5s", 0)],
)
def test_times_of_nginx_are_read_in_seconds(value, seconds):
    assert nginx_seconds(value) == seconds


def tasks(found: list[dict]) -> Iterator[dict]:
    for task in found:
        yield task
        for part in ("block", "rescue", "always"):
            yield from tasks(task.get(part, []))


def test_no_task_waits_for_systemd_without_a_deadline():
    files = [*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("playbooks/tasks/*.yml")]
    asking = [task for path in files for task in tasks(yaml.safe_load(path.read_text()) or []) if is_asking(task)]
    assert asking and [task["name"] for task in asking if "timeout" not in task] == []


def is_asking(task: dict) -> bool:
    return bool({"ansible.builtin.systemd_service", "ansible.builtin.systemd", "ansible.builtin.service"} & set(task))
