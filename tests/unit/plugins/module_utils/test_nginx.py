# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.flaskops.production.plugins.module_utils import _nginx

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


def read(files):
    return _nginx.config(_nginx.tree(files, MAIN))


@pytest.fixture
def config():
    main = """user  www-data;
error_log /var/log/nginx/error.log;
http { upstream backend { server unix:/srv/shop/run/app.sock fail_timeout=0; } include sites-enabled/*; }"""
    return read({MAIN: main, "/etc/nginx/sites-enabled/shop": SITE, "/etc/nginx/sites-available/old": SITE})


def test_includes_are_read_and_nothing_else(config):
    (server,) = config.servers
    assert (config.user, config.error_logs) == ("www-data", ("/var/log/nginx/error.log",))
    assert server.file == "/etc/nginx/sites-enabled/shop"
    assert server.names == ("shop.example.org", "www.shop.example.org")
    assert server.listens == ("80", "[::]:80")


def test_locations_are_told_with_what_they_inherit(config):
    locations = {location.path: location for location in config.servers[0].locations}
    assert locations["/"].proxy == "unix:/srv/shop/run/app.sock"
    assert locations["/"].root == ""
    assert (locations["/static/"].modifier, locations["/static/"].alias) == ("^~", "/srv/shop/shared/static/")
    assert locations["/\\."].root == "/srv/shop/public"
    assert locations["\\.php$"].root == "/srv/shop/public"
    assert "/commented" not in locations


def test_a_root_without_a_location_serves_everything():
    (server,) = read({MAIN: "http { server { root /srv/shop; } }"}).servers
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
def test_a_proxy_leads_to_an_address(target, expected):
    assert _nginx.address(target, {"up": "unix:/x"}) == expected


def test_a_dump_is_taken_apart():
    text = f"# configuration file {MAIN}:\nuser x;\n# configuration file /etc/nginx/mime.types:\ntypes {{ }}\n"
    assert _nginx.dumped(text) == {MAIN: "\nuser x;\n", "/etc/nginx/mime.types": "\ntypes { }\n"}


@pytest.mark.parametrize("text", ["server { listen 80", "server { location / {", "}", "; ; {", "a 'b"])
def test_what_is_cut_off_is_read_as_far_as_it_goes(text):
    assert isinstance(_nginx.parse(text), tuple)


def test_a_file_that_includes_itself_ends():
    assert len(read({MAIN: "http { include nginx.conf; server { } }"}).servers) == 1


def test_conflicts_are_those_that_nginx_ignores():
    said = 'nginx: [warn] conflicting server name "a.org" on 0.0.0.0:80, ignored\nnginx: test is successful'
    assert _nginx.conflicts(said) == [("a.org", "0.0.0.0:80")]
