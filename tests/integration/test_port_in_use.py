# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the installation of Nginx on a host whose port 80 another program uses."""

from __future__ import annotations

import json

import docker_hosts
import pytest
from build import image
from environment import docker

from ansible_collections.flaskops.production.tests.integration.conftest import Host
from ansible_collections.flaskops.production.tests.unit.programs import require

# The package starts Nginx with Debian's default site, which needs port 80, and fails if it does not start.
PLAY = [{"hosts": "flask", "gather_facts": False, "roles": ["flaskops.production.nginx_site"]}]
ASK = """
import json, sys, urllib.error, urllib.request
found = []
for port in json.load(sys.stdin):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as response:
            found.append([response.status, response.headers["Server"].partition("/")[0]])
    except urllib.error.HTTPError as error:
        found.append([error.code, error.headers["Server"].partition("/")[0]])
print(json.dumps(found))
"""


@pytest.fixture
def host(requires_docker, tmp_path):
    require("docker")
    container = docker_hosts.start(image("debian13"))
    try:
        docker("exec", container, "systemd-run", "--unit=busy", "python3", "-m", "http.server", "80")
        (tmp_path / "play.json").write_text(json.dumps(PLAY))
        yield Host(container, tmp_path, {"flask_app_name": "shop"})
    finally:
        docker_hosts.remove(container)


def test_nginx_is_installed_beside_another_server(host):
    refused = host.play(str(host.place / "play.json"))
    assert refused.failed and refused.changed == 0, refused.output
    assert "Port 80 is in use by python3" in refused.output and "set nginx_site_listen" in refused.output
    result = host.play(str(host.place / "play.json"), nginx_site_listen=8080)
    assert not result.failed, result.output
    # Nothing is live yet.
    assert host.python(ASK, [80, 8080]) == [[200, "SimpleHTTP"], [503, "nginx"]]
