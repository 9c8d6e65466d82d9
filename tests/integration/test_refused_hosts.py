# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that files of other owners and unsupported hosts are refused before any change."""

from __future__ import annotations

import pytest
from environment import docker

pytestmark = pytest.mark.xdist_group("site")
PLANT = """
printf '[Service]\\nExecStart=/bin/sleep 1d\\n' > /etc/systemd/system/by-hand.service
printf '[Service]\\nExecStart=/bin/sleep 1d\\n' > /usr/lib/systemd/system/packaged.service
printf 'server { listen 8099; }\\n' > /etc/nginx/sites-available/neighbour.conf
mkdir -p /srv/filled
touch /srv/filled/notes.txt
useradd --system --home-dir /var/lib/taken --no-create-home taken
"""
# Variables in addition to those of the host's application, and the expected message.
ROWS = {
    "by-hand": ({}, "/etc/systemd/system/by-hand.service exists and was not written by this collection"),
    "packaged": ({}, "packaged.service is a unit of the system (/usr/lib/systemd/system/packaged.service)"),
    "neighbour": ({}, "/etc/nginx/sites-available/neighbour.conf exists and was not written by this collection"),
    "filled": ({}, "/srv/filled holds files that are not part of the layout (notes.txt)"),
    "other": ({"flask_app_root": "/srv/myapp"}, "/srv/myapp belongs to the application myapp"),
    # The default user. None removes a variable.
    "taken": (
        {"flask_app_user": None},
        "the host has an account of that name that is not the application's (home /var/lib/",
    ),
    "grouped": ({"flask_app_web_group": "games"}, "flask_app_web_group is games, but Nginx runs as www-data"),
}


def fingerprint(site) -> str:
    """Return the state of everything that a run may change."""
    command = (
        "find /srv /etc/systemd /usr/lib/systemd/system /etc/nginx /etc/passwd /etc/group /etc/logrotate.d -printf "
        "'%p %T@ %m %u\\n' | sort; systemctl show --property=Id,LoadState,ActiveState,UnitFileState 'myapp*' 'by-*'"
    )
    return docker("exec", site.container, "bash", "-euc", command)


def play(site, cases: dict[str, dict]) -> dict[str, str]:
    """Run site.yml once for several applications on the host. Return the error message of each."""
    result = site.play_cases("site", cases, environment={"ANSIBLE_CALLBACK_RESULT_FORMAT": "json"})
    assert result.changed == 0 and "changed=0" in result.output, result.output
    return result.failures


@pytest.fixture(scope="module")
def refused(site, converged):
    docker("exec", site.container, "bash", "-euc", PLANT)
    before = fingerprint(site)
    own = {"flask_app_user": "www-data", "nginx_site_listen": 8098, "nginx_site_server_name": "x.example.org"}
    hosts = {
        name: {**own, "flask_app_name": name, "flask_app_root": f"/srv/{name}", **variables}
        for name, (variables, _message) in ROWS.items()
    }
    messages = play(site, hosts)
    assert fingerprint(site) == before
    yield messages
    docker("exec", site.container, "rm", "-r", "/etc/systemd/system/by-hand.service", "/srv/filled")
    docker("exec", site.container, "rm", "/usr/lib/systemd/system/packaged.service")
    docker("exec", site.container, "rm", "/etc/nginx/sites-available/neighbour.conf")
    docker("exec", site.container, "userdel", "taken")


@pytest.mark.parametrize("name", ROWS)
def test_files_of_other_owners_are_refused(refused, name):
    assert ROWS[name][1] in refused.get(name, "not refused")


def test_unsupported_system_is_refused(site, converged):
    docker("exec", site.container, "bash", "-euc", "mv /etc/os-release /root/kept; echo ID=rocky > /etc/os-release")
    try:
        before = fingerprint(site)
        message = play(site, {"rocky": {}})["rocky"]
        assert fingerprint(site) == before
    finally:
        docker("exec", site.container, "mv", "/root/kept", "/etc/os-release")
    assert message.startswith("This host runs rocky, but only Debian 12 and 13 and Ubuntu 22.04"), message
