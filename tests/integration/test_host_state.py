# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One execution tells whether there is anything to do: whatever differs is seen, and mended. Faults: test_faults.py"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import pytest
from environment import docker

pytestmark = pytest.mark.xdist_group("site")

# What is planted, and what the look says of it. All of them are told at once.
PROVISIONED = {
    "chmod 0777 /srv/myapp/run": "/srv/myapp/run",
    "echo MORE=1 >> /srv/myapp/shared/.env": "/srv/myapp/shared/.env",
    "echo '#' >> /etc/systemd/system/myapp.service": "/etc/systemd/system/myapp.service",
    "systemctl --quiet disable myapp.socket": "myapp.socket is not enabled",
    "systemctl stop myapp.socket myapp.service": "myapp.socket does not listen",
    "echo '# more' >> /etc/nginx/sites-available/myapp.conf": "/etc/nginx/sites-available/myapp.conf",
    "systemctl stop nginx": "nginx.service is not running and enabled",
}


def looks(site, cases: dict[str, dict]) -> dict[str, list[str]]:
    """What differs in each case, as one run in check mode says it."""
    played = site.play_cases("site", cases, "--check", "-v")
    found = re.findall(r"^ok: \[(.+?)\] => (\{(?!\"ansible_facts).*\"provisioned\".*\})$", played.output, re.MULTILINE)
    # Each from the task itself, and not from the fact that is made of it.
    assert sorted(case for case, _result in found) == sorted(cases), played.output
    return {case: json.loads(result)["differs"] for case, result in found}


def look(site) -> list[str]:
    return looks(site, {"host": {}})["host"]


def on_host(site, script: str) -> None:
    docker("exec", site.container, "bash", "-euc", script)


def missing(expected: Iterable[str], differs: list[str]) -> list[str]:
    return [text for text in expected if not any(text in said for said in differs)]


# What is set, and what the look says of it.
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


def test_settings_that_changed(site, converged):
    differs = looks(site, {case: variables for case, (variables, _expected) in SETTINGS.items()})
    assert differs.pop("nothing") == []
    for case, said in differs.items():
        assert not missing(SETTINGS[case][1], said), (case, said)


def test_one_run_mends_all_that_differs(site, converged):
    for plant in PROVISIONED:
        on_host(site, plant)
    differs = look(site)
    assert not missing(PROVISIONED.values(), differs), differs
    played = site.play("site")
    assert not played.failed, played.output
    assert played.changed > 0
    assert site.play("site").changed == 0
