# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One execution tells whether there is anything to do: whatever differs is seen, and mended."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import pytest
from environment import docker

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
# What is planted, what the look says of it, and what takes it back. The first reason counts.
RELEASED = {
    "process": ("systemctl stop myapp.service", "myapp.service is inactive", "systemctl start myapp.service"),
    "dependencies": (
        "mv $(readlink -f /srv/myapp/venv)/.complete /root/kept",
        "are not in place",
        "mv /root/kept $(readlink -f /srv/myapp/venv)/.complete",
    ),
    "socket": (
        "mv /srv/myapp/run/gunicorn.sock /root/kept",
        "/srv/myapp/run/gunicorn.sock is missing",
        "mv /root/kept /srv/myapp/run/gunicorn.sock",
    ),
    "lock": (
        "echo '{}' > /srv/myapp/.deploy/lock",
        "/srv/myapp/.deploy/lock is held",
        "rm /srv/myapp/.deploy/lock",
    ),
    "leftover": (
        "mkdir /srv/myapp/releases/.staging-x",
        "/srv/myapp/releases/.staging-x was left by a run that was interrupted",
        "rmdir /srv/myapp/releases/.staging-x",
    ),
}


def look(site, **variables) -> list[str]:
    """What differs, as a run in check mode says it."""
    played = site.play("site", "--check", "-v", **variables)
    (result,) = re.findall(r"^ok: .*?=> (\{.*\"provisioned\".*\})$", played.output, re.MULTILINE)
    return json.loads(result)["differs"]


def on_host(site, script: str) -> None:
    docker("exec", site.container, "bash", "-euc", script)


def missing(expected: Iterable[str], differs: list[str]) -> list[str]:
    return [text for text in expected if not any(text in said for said in differs)]


@pytest.mark.parametrize("drift", RELEASED)
def test_a_release_that_needs_something(site, converged, drift):
    plant, expected, heal = RELEASED[drift]
    on_host(site, plant)
    try:
        differs = look(site)
    finally:
        on_host(site, heal)
    assert not missing([expected], differs), differs


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"release_shared_paths": ["instance/", "more/"]}, ["settings of "]),
        ({"release_health_path": "/nowhere"}, ["GET /nowhere answered 404"]),
        (
            {
                "gunicorn_systemd_workers": 2,
                "nginx_site_client_max_body_size": "17m",
                "venv_packages": ["gunicorn>=24.1.2"],
            },
            ["/srv/myapp/gunicorn.conf.py", "/etc/nginx/sites-available/myapp.conf", "are not in place"],
        ),
    ],
)
def test_settings_that_changed(site, converged, variables, expected):
    differs = look(site, **variables)
    assert not missing(expected, differs), differs


def test_one_run_mends_all_that_differs(site, converged):
    assert look(site) == []
    for plant in PROVISIONED:
        on_host(site, plant)
    differs = look(site)
    assert not missing(PROVISIONED.values(), differs), differs
    played = site.play("site")
    assert not played.failed, played.output
    assert played.changed > 0
    assert look(site) == []
    assert site.play("site").changed == 0
