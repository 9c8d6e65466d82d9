# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that one execution detects all differences, and that a run corrects them. Faults are in test_faults.py."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import pytest
from environment import docker

pytestmark = pytest.mark.xdist_group("site")

# Changes on the host and the differences that are reported, all of them at once.
PROVISIONED = {
    "chmod 0777 /srv/myapp/run": "/srv/myapp/run",
    "echo MORE=1 >> /srv/myapp/shared/.env": "/srv/myapp/shared/.env",
    "echo '#' >> /etc/systemd/system/myapp.service": "/etc/systemd/system/myapp.service",
    "systemctl --quiet disable myapp.socket": "myapp.socket is not enabled",
    "systemctl stop myapp.socket myapp.service": "myapp.socket does not listen",
    "echo '# more' >> /etc/nginx/sites-available/myapp.conf": "/etc/nginx/sites-available/myapp.conf",
    "systemctl stop nginx": "nginx.service is not running and enabled",
}


def find_differences(site, cases: dict[str, dict]) -> dict[str, list[str]]:
    """Return the differences of each case from one run in check mode."""
    result = site.play_cases("site", cases, "--check", "-v")
    found = re.findall(r"^ok: \[(.+?)\] => (\{(?!\"ansible_facts).*\"provisioned\".*\})$", result.output, re.MULTILINE)
    # Use the results of the task, and not the facts derived from them.
    assert sorted(case for case, _result in found) == sorted(cases), result.output
    return {case: json.loads(result)["differs"] for case, result in found}


def find_host_differences(site) -> list[str]:
    return find_differences(site, {"host": {}})["host"]


def on_host(site, script: str) -> None:
    docker("exec", site.container, "bash", "-euc", script)


def find_missing(expected: Iterable[str], differs: list[str]) -> list[str]:
    return [text for text in expected if not any(text in difference for difference in differs)]


# Changed settings and the differences that are reported.
SETTINGS = {
    "nothing": ({}, []),
    "shared-paths": ({"release_shared_paths": ["instance/", "more/"]}, ["settings of "]),
    "health": ({"release_health_path": "/nowhere"}, ["GET /nowhere answered 404"]),
    "several": (
        {
            "gunicorn_systemd_workers": 2,
            "nginx_site_client_max_body_size": "17m",
            "venv_packages": ["gunicorn>=24.1.2"],
        },
        ["/srv/myapp/gunicorn.conf.py", "/etc/nginx/sites-available/myapp.conf", "are not in place"],
    ),
}


def test_changed_settings_are_detected(site, converged):
    differs = find_differences(site, {case: variables for case, (variables, _expected) in SETTINGS.items()})
    assert differs.pop("nothing") == []
    for case, found in differs.items():
        assert not find_missing(SETTINGS[case][1], found), (case, found)


def test_one_run_corrects_all_differences(site, converged):
    for plant in PROVISIONED:
        on_host(site, plant)
    differs = find_host_differences(site)
    assert not find_missing(PROVISIONED.values(), differs), differs
    result = site.play("site")
    assert not result.failed, result.output
    assert result.changed > 0
    assert site.play("site").changed == 0
