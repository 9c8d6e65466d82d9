# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._nginx import parser

MAIN = "/etc/nginx/nginx.conf"
SITE = """
# location /commented { alias /nowhere/; }
server {
    listen 80; listen [::]:80;
    server_name shop.example.org "www.shop.example.org";
    root /srv/shop/public;
    log_format x '{ "status": $status; }';
    location / { proxy_pass http://backend; }
    location ^~ /static/ { alias "/srv/shop/shared/static/"; location ~ /\\. { return 404; } }
    location ~ \\.php$ { if ($host = x) { return 404; } }
    location = /robots.txt {}
}
"""


def build_config(files):
    return parser.build_config(parser.resolve_includes(files, MAIN))


@pytest.fixture
def config():
    main = """user  www-data;
error_log /var/log/nginx/error.log;
http { upstream backend { server unix:/srv/shop/run/app.sock fail_timeout=0; } include sites-enabled/*; }"""
    return build_config({MAIN: main, "/etc/nginx/sites-enabled/shop": SITE, "/etc/nginx/sites-available/old": SITE})


def test_only_included_files_are_read(config):
    (server,) = config.servers
    assert (config.user, config.error_logs) == ("www-data", ("/var/log/nginx/error.log",))
    assert server.file == "/etc/nginx/sites-enabled/shop"
    assert server.names == ("shop.example.org", "www.shop.example.org")
    assert server.listens == ("80", "[::]:80")


def test_locations_inherit_root(config):
    locations = {location.path: location for location in config.servers[0].locations}
    assert locations["/"].proxy == "unix:/srv/shop/run/app.sock"
    assert locations["/"].root == ""
    assert (locations["/static/"].modifier, locations["/static/"].alias) == ("^~", "/srv/shop/shared/static/")
    assert locations["/\\."].root == "/srv/shop/public"
    assert locations["\\.php$"].root == "/srv/shop/public"
    assert "/commented" not in locations


def test_server_with_root_and_no_location_serves_all_paths():
    (server,) = build_config({MAIN: "http { server { root /srv/shop; } }"}).servers
    assert [(item.path, item.root) for item in server.locations] == [("/", "/srv/shop")]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("http://unix:/srv/a/run/a.sock", "unix:/srv/a/run/a.sock"),
        ("http://unix:/srv/a/run/a.sock:/", "unix:/srv/a/run/a.sock"),
        ("http://unix:/srv/a/run/a.sock:/path", "unix:/srv/a/run/a.sock"),
        ("unix:/srv/a.sock", "unix:/srv/a.sock"),
        ("http://127.0.0.1:8000/", "127.0.0.1:8000"),
        ("http://localhost", "localhost:80"),
        ("http://up", "unix:/x"),
        ("http://$backend", ""),
        ("", ""),
    ],
)
def test_proxy_targets_are_resolved_to_addresses(target, expected):
    assert parser.resolve_address(target, {"up": "unix:/x"}) == expected


def test_dump_is_split_into_files():
    text = f"# configuration file {MAIN}:\nuser x;\n# configuration file /etc/nginx/mime.types:\ntypes {{ }}\n"
    assert parser.parse_dump(text) == {MAIN: "\nuser x;\n", "/etc/nginx/mime.types": "\ntypes { }\n"}


@pytest.mark.parametrize("text", ["server { listen 80", "server { location / {", "}", "; ; {", "a 'b"])
def test_incomplete_text_is_parsed(text):
    assert isinstance(parser.parse_directives(text), tuple)


def test_recursive_include_ends():
    assert len(build_config({MAIN: "http { include nginx.conf; server { } }"}).servers) == 1


def test_conflicting_server_names_are_found():
    output = 'nginx: [warn] conflicting server name "a.org" on 0.0.0.0:80, ignored\nnginx: test is successful'
    assert parser.find_conflicts(output) == [("a.org", "0.0.0.0:80")]
