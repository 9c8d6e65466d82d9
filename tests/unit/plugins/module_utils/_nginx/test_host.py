# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the checks whether Nginx can serve a site on a host."""

from __future__ import annotations

import grp
import os
import pwd
import socket

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._nginx import host
from ansible_collections.flaskops.production.plugins.module_utils._nginx.host import (
    check_ipv6,
    check_ports,
    check_web_group,
    find_socket_owner,
    parse_ports,
    read_listening_sockets,
    uses_ipv6,
)

SITE = "server {\n    listen 80 default_server;\n    listen [::]:8443 ssl;\n    # listen 9;\n}\n"


@pytest.fixture
def busy():
    """Return a port in use by this process."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_ports_of_a_site_are_parsed():
    assert parse_ports(SITE) == [80, 8443]
    assert parse_ports("server { listen 127.0.0.1:8080; listen unix:/run/x.sock; }") == [8080]
    assert uses_ipv6(SITE)
    assert not uses_ipv6("server { listen 80; }")


def test_process_that_uses_a_port_is_named(busy):
    assert find_socket_owner(read_listening_sockets()[busy]).endswith(f" (process {os.getpid()})")
    assert find_socket_owner("no such inode") == "another process"


def test_port_of_the_site_in_use_is_reported(busy):
    reason = check_ports(f"server {{ listen {busy}; }}", with_default=False)
    assert f"Port {busy} is in use by " in reason and "set nginx_site_listen" in reason


@pytest.mark.parametrize(("with_default", "expected"), [(True, "nginx_site_remove_default"), (False, "")])
def test_port_of_the_default_site_in_use_is_reported(busy, monkeypatch, with_default, expected):
    monkeypatch.setattr(host, "DEFAULT_SITE_PORT", busy)
    reason = check_ports("server { listen 1; }", with_default)
    assert expected in reason and bool(reason) == with_default


@pytest.mark.parametrize(
    ("text", "with_default", "expected"),
    [
        (SITE, False, "nginx_site_ipv6 is true, but this host has no IPv6"),
        ("server { listen 80; }", True, "set nginx_site_remove_default to true"),
        ("server { listen 80; }", False, ""),
    ],
)
def test_missing_ipv6_is_reported_if_nginx_needs_it(monkeypatch, text, with_default, expected):
    monkeypatch.setattr(host, "has_ipv6", lambda: False)
    reason = check_ipv6(text, with_default)
    assert expected in reason and bool(reason) == bool(expected)
    monkeypatch.setattr(host, "has_ipv6", lambda: True)
    assert check_ipv6(text, with_default) == ""


@pytest.fixture
def accounts(monkeypatch):
    """Replace the account database. Return the supplementary groups by user."""
    users = {
        name: pwd.struct_passwd((name, "x", uid, uid, "", "/", "")) for name, uid in (("nginx", 5), ("www-data", 33))
    }
    groups = {name: grp.struct_group((name, "x", gid, [])) for name, gid in (("nginx", 5), ("www-data", 33))}
    more: dict[str, list[int]] = {}
    monkeypatch.setattr(pwd, "getpwnam", users.__getitem__)
    monkeypatch.setattr(grp, "getgrnam", groups.__getitem__)
    monkeypatch.setattr(grp, "getgrgid", lambda gid: next(group for group in groups.values() if group.gr_gid == gid))
    monkeypatch.setattr(os, "getgrouplist", lambda user, gid: [gid, *more.get(user, [])])
    return more


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user nginx;", "set flask_app_web_group to nginx"),
        ("user  nginx nginx;", "set flask_app_web_group to nginx"),
        ("user nginx www-data;", ""),
        ("user www-data;", ""),
        ("user missing;", ""),
        # The user that Nginx was built with.
        ("worker_processes 1;", "set flask_app_web_group to nginx"),
    ],
)
def test_nginx_outside_of_the_web_group_is_reported(accounts, text, expected):
    reason = check_web_group(text, "/etc/nginx/nginx.conf", "www-data", "nginx")
    assert expected in reason and bool(reason) == bool(expected)


def test_nginx_with_the_supplementary_group_is_accepted(accounts):
    accounts["nginx"] = [33]
    assert check_web_group("user nginx;", "/etc/nginx/nginx.conf", "www-data", "nginx") == ""
