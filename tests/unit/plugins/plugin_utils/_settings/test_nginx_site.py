# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the role nginx_site: what it accepts, and what it says of all else."""

from __future__ import annotations

import json
import re

import pytest

from ansible_collections.flaskops.production.tests.unit.roles.nginx_site_variants import (
    BALANCED,
    CERTIFICATE,
    EVERYTHING,
    KEY,
    TLS,
)

ROLES = ["flask_app", "nginx_site"]
GOOD = [
    {"nginx_site_server_name": "example.org *.example.org .example.net www.example.* _"},
    {"nginx_site_server_name": "192.0.2.1"},
    {"nginx_site_listen": "8080"},
    {"nginx_site_client_max_body_size": 0},
    {"nginx_site_client_max_body_size": "2G"},
    {"nginx_site_static_url": "", "nginx_site_media_url": ""},
    {"nginx_site_static_url": "/my-app/v1.2/static/"},
    {"nginx_site_static_expires": "max"},
    {"nginx_site_static_immutable": r"[.-][0-9a-f]{8,}[.](css|js)$"},
    {"nginx_site_static_immutable": r"^/static/immutable/\."},
    {"nginx_site_real_ip_from": ["192.0.2.1", "10.0.0.0/8", "::1", "2001:db8::/32", "fe80::1"]},
    {"nginx_site_real_ip_from": ["10.0.0.1"], "nginx_site_hsts_max_age": 300},
    {"nginx_site_rate_limit": "300r/m", "nginx_site_rate_limit_burst": 0},
    {"nginx_site_large_client_header_buffers": "8 16384"},
    {"nginx_site_gzip_types": [], "nginx_site_backlog": 0},
    {"nginx_site_locations": [{"path": "/a", "client_max_body_size": 0}, {"path": "/b", "redirect": "/c"}]},
    BALANCED,
    TLS,
    EVERYTHING,
]
BAD = [
    ("nginx_site_server_name", ""),
    ("nginx_site_server_name", "example.org;"),
    ("nginx_site_server_name", "example.org {"),
    ("nginx_site_server_name", "example.org  www.example.org"),
    ("nginx_site_server_name", " example.org"),
    ("nginx_site_server_name", "example.org\n"),
    ("nginx_site_server_name", "a\nlisten"),
    ("nginx_site_server_name", "https://example.org"),
    ("nginx_site_server_name", ["example.org"]),
    ("nginx_site_listen", 0),
    ("nginx_site_listen", 65536),
    ("nginx_site_listen", -1),
    ("nginx_site_listen", "http"),
    ("nginx_site_tls_listen", 70000),
    ("nginx_site_client_max_body_size", "16 m"),
    ("nginx_site_client_max_body_size", "16mb"),
    ("nginx_site_client_max_body_size", "-1"),
    ("nginx_site_proxy_read_timeout", "0"),
    ("nginx_site_proxy_read_timeout", "1 minute"),
    ("nginx_site_proxy_send_timeout", "60s;"),
    ("nginx_site_static_url", "static/"),
    ("nginx_site_static_url", "/static"),
    ("nginx_site_static_url", "/"),
    ("nginx_site_static_url", "//"),
    ("nginx_site_static_url", "/a/../b/"),
    ("nginx_site_static_url", "/a b/"),
    ("nginx_site_media_url", "/media/{"),
    ("nginx_site_media_url", "/static/"),
    ("nginx_site_static_expires", "forever"),
    ("nginx_site_tls_certificate", CERTIFICATE),
    ("nginx_site_tls_certificate_key", KEY),
    ("nginx_site_tls_certificate", "site.crt"),
    ("nginx_site_access_log", "access.log"),
    ("nginx_site_access_log", "/var/log/x.log combined"),
    ("nginx_site_error_log", "off"),
    ("nginx_site_error_log", "/var/log/../x.log"),
    ("nginx_site_install", "perhaps"),
    ("nginx_site_acme_webroot", "acme"),
    ("nginx_site_acme_webroot", "/var/www/"),
    ("nginx_site_acme_webroot", "/var/www;"),
    ("nginx_site_tls_stapling", True),
    ("nginx_site_tls_trusted_certificate", "chain.pem"),
    ("nginx_site_tls_resolver", ["dns.example.org"]),
    ("nginx_site_tls_resolver", "192.0.2.53"),
    ("nginx_site_hsts_max_age", -1),
    ("nginx_site_hsts_max_age", 300),
    ("nginx_site_hsts_max_age", "a year"),
    ("nginx_site_hsts_preload", True),
    ("nginx_site_real_ip_from", ["balancer"]),
    ("nginx_site_real_ip_from", ["10.0.0.0/33"]),
    ("nginx_site_real_ip_from", ["256.0.0.1"]),
    ("nginx_site_real_ip_from", ["10.0.0.1; deny all"]),
    ("nginx_site_real_ip_from", ["10.0.0.1\n"]),
    ("nginx_site_real_ip_from", ["2001:db8::/129"]),
    ("nginx_site_real_ip_from", "10.0.0.1"),
    ("nginx_site_real_ip_header", "X-Forwarded-For;"),
    ("nginx_site_real_ip_header", "proxy_protocol"),
    ("nginx_site_client_header_timeout", "0"),
    ("nginx_site_client_body_timeout", "soon"),
    ("nginx_site_large_client_header_buffers", "8k"),
    ("nginx_site_large_client_header_buffers", "4 8k;"),
    ("nginx_site_proxy_connect_timeout", "5 s"),
    ("nginx_site_proxy_buffer_size", "0"),
    ("nginx_site_proxy_buffer_size", "16K\n"),
    ("nginx_site_backlog", -1),
    ("nginx_site_rate_limit", "10"),
    ("nginx_site_rate_limit", "10r/h"),
    ("nginx_site_rate_limit", "0r/s"),
    ("nginx_site_rate_limit_burst", -1),
    ("nginx_site_static_immutable", 'a"b'),
    ("nginx_site_static_immutable", "a b"),
    ("nginx_site_static_immutable", "a\\"),
    ("nginx_site_gzip", "some"),
    ("nginx_site_gzip_types", ["text"]),
    ("nginx_site_gzip_types", ["text/css;"]),
    ("nginx_site_gzip_types", "text/css"),
    ("nginx_site_websocket_urls", ["ws"]),
    ("nginx_site_websocket_urls", ["/"]),
    ("nginx_site_websocket_urls", "/ws"),
    ("nginx_site_websocket_urls", ["/media/"]),
    ("nginx_site_websocket_timeout", "-1s"),
    ("nginx_site_long_poll_urls", ["/a b"]),
    ("nginx_site_long_poll_urls", "/poll/"),
    ("nginx_site_long_poll_timeout", "long"),
    ("nginx_site_unlogged_urls", ["/health {"]),
    ("nginx_site_unlogged_urls", "/health"),
    ("nginx_site_access_log_format", "xml"),
    ("nginx_site_locations", [{"path": "admin"}]),
    ("nginx_site_locations", [{"path": "/x;"}]),
    ("nginx_site_locations", [{"path": "/static/"}]),
    ("nginx_site_locations", [{"allow": ["10.0.0.1"]}]),
    ("nginx_site_locations", [{"path": "/x", "deny": "all"}]),
    ("nginx_site_locations", [{"path": "/x", "allow": ["office"]}]),
    ("nginx_site_locations", [{"path": "/x", "auth_basic_user_file": "users"}]),
    ("nginx_site_locations", [{"path": "/x", "client_max_body_size": "big"}]),
    ("nginx_site_locations", [{"path": "/x", "proxy_read_timeout": "0"}]),
    ("nginx_site_locations", [{"path": "/x", "directory": "/srv/x"}]),
    ("nginx_site_locations", [{"path": "/x/", "directory": "x"}]),
    ("nginx_site_locations", [{"path": "/x/", "directory": "/srv/x", "client_max_body_size": "1m"}]),
    ("nginx_site_locations", [{"path": "/x", "redirect": "/y $host"}]),
    ("nginx_site_locations", [{"path": "/x", "redirect": "/y", "allow": ["10.0.0.1"]}]),
]


LISTS = re.compile("nginx_site_(tls_resolver|real_ip_from|gzip_types|[a-z_]+_urls)$")
# Of a list of mappings: the parts of the message.
WRONG = {
    json.dumps(locations): parts
    for locations, *parts in [
        ([{"path": "admin"}], "the path 'admin'", "/admin/ for everything below"),
        ([{"path": "/x;"}], "the path '/x;'"),
        ([{"path": "/static/"}], "'/static/' is more than once"),
        ([{"allow": ["10.0.0.1"]}], "missing required arguments: path"),
        ([{"path": "/x", "deny": "all"}], "deny", "Supported parameters include"),
        ([{"path": "/x", "allow": ["office"]}], "allow with 'office'", "192.0.2.10"),
        ([{"path": "/x", "auth_basic_user_file": "users"}], "the auth_basic_user_file 'users'", "absolute path"),
        ([{"path": "/x", "client_max_body_size": "big"}], "the client_max_body_size 'big'", "such as 100m"),
        ([{"path": "/x", "proxy_read_timeout": "0"}], "the proxy_read_timeout '0'", "such as 5m"),
        ([{"path": "/x", "directory": "/srv/x"}], "'/srv/x' for the path '/x'", "must end with one"),
        ([{"path": "/x/", "directory": "x"}], "the directory 'x'", "absolute path"),
        (
            [{"path": "/x/", "directory": "/srv/x", "client_max_body_size": "1m"}],
            *("client_max_body_size beside directory ('/srv/x')", "leave one of them out"),
        ),
        ([{"path": "/x", "redirect": "/y $host"}], "the redirect '/y $host'", "absolute path"),
        (
            [{"path": "/x", "redirect": "/y", "allow": ["10.0.0.1"]}],
            *("allow beside redirect ('/y')", "a redirect is for everyone"),
        ),
    ]
}


@pytest.mark.parametrize("given", GOOD)
def test_valid_settings_are_accepted(find_problems, given):
    assert find_problems(ROLES, given) == []


@pytest.mark.parametrize(("name", "value"), BAD)
def test_messages_name_the_setting_and_the_value(find_problems, name, value):
    problems = [problem for problem in find_problems(ROLES, {name: value}) if name in problem]
    assert problems
    message = " ".join(problems)
    # Of a list, what is wrong with it is named; of a string where a list belongs, that it is one.
    parts = WRONG.get(json.dumps(value), value) if isinstance(value, list) else [value]
    if isinstance(value, str) and LISTS.match(name):
        parts = ["a string is set", "in brackets"]
    for part in parts:
        assert str(part).strip().lower() in message.lower()
    assert not re.search(r"\{[{%]|Traceback|object at 0x", message)
