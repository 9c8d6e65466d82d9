# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server block that the role nginx_site writes."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._nginx import config
from ansible_collections.flaskops.production.tests.unit.programs import find, needs
from ansible_collections.flaskops.production.tests.unit.roles.nginx_site_variants import ROOT, VARIANTS

GIXY = find("gixy")
pytestmark = pytest.mark.xdist_group("nginx_site")
OLD, NEW = (1, 22, 1), (1, 26, 3)  # Debian 12's Nginx and Debian 13's


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_file_is_tidy(nginx_site_texts, variant):
    text = nginx_site_texts[variant]
    assert text.startswith("# Ansible managed: written by flaskops.production for the application my-app.\n")
    assert text.endswith("}\n")
    assert "\n\n\n" not in text
    assert "\t" not in text
    assert [line for line in text.splitlines() if line != line.rstrip()] == []
    assert [line for line in text.splitlines() if len(line) > 130 and "ssl_ciphers" not in line] == []


def test_a_site_for_every_name_is_the_default_server(nginx_site_texts):
    assert re.findall(r"listen .*;", nginx_site_texts["http"]) == [
        "listen 80 default_server;",
        "listen [::]:80 default_server;",
    ]
    assert re.findall(r"listen .*;", nginx_site_texts["named"]) == ["listen 8080;", "listen [::]:8080;"]
    assert re.findall(r"listen .*;", nginx_site_texts["everything"]) == ["listen 8080;", "listen 8443 ssl;"]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (OLD, ["listen 443 default_server ssl http2;", "listen [::]:443 default_server ssl http2;"]),
        (NEW, ["listen 443 default_server ssl;", "listen [::]:443 default_server ssl;", "http2 on;"]),
    ],
)
def test_http2_is_spelled_as_the_version_of_nginx_wants_it(nginx_site_templates, version, expected):
    server = config.select_lines(nginx_site_templates["tls"], version).split("\nserver {\n")[2]
    assert re.findall(r"^ +(listen .*;|http2 .*;)$", server, re.M) == expected
    assert "# nginx" not in server
    assert "http2" not in nginx_site_templates["everything"]


def test_shared_data_below_static_files_is_served_from_its_place(nginx_site_texts):
    text = nginx_site_texts["named"]
    assert re.findall(r"location \^~ (\S+) \{", text) == ["/static/", "/static/uploads/", "/media/"]
    assert "alias /srv/my-app/shared/shop/static/uploads/;" in text
    assert "/static/uploads/" not in nginx_site_texts["http"]


def test_settings_arrive(nginx_site_texts):
    text = nginx_site_texts["everything"]
    for line in (
        "server_name example.org *.example.net;",
        "client_max_body_size 1k;",
        "proxy_read_timeout 5m;",
        "proxy_send_timeout 500ms;",
        "location ^~ /assets/ {",
        "    default 30d;",
        "access_log /var/log/nginx/everything.log my-app_json if=$logged_my_app;",
        "error_log /var/log/nginx/other.log;",
        "return 301 https://$host:8443$request_uri;",
        'map $http_host $asked_port_my_app_8443 {\n    default ":8443";\n',
        "proxy_set_header Host $host$asked_port_my_app_8443;",
        "    location = /extra {\n        return 200 $extra;\n    }\n}",
        "map $host $extra {\n    default extra;\n}\n\nserver {",
        "root /srv/my-app/acme;",
        "ssl_stapling on;\n    ssl_stapling_verify on;\n    ssl_trusted_certificate /etc/ssl/test/site.crt;",
        "resolver 192.0.2.53 [2001:db8::53];",
        'Strict-Transport-Security "max-age=63072000; includeSubDomains; preload" always;',
        "client_header_timeout 1s;",
        "client_body_timeout 1s;",
        "large_client_header_buffers 4 2k;",
        "proxy_connect_timeout 1s;",
        "proxy_buffer_size 32k;\n    proxy_buffers 8 32k;",
        "limit_req_zone $binary_remote_addr zone=my-app_requests:10m rate=1000r/s;",
        "limit_req zone=my-app_requests burst=5 nodelay;",
        r'"~[.-][0-9a-f]{8,}[.]\w+$" 365d;',
        "gzip_types\n        text/css;",
        "gzip_static on;",
        "location = /ws {\n        proxy_read_timeout 2h;\n        proxy_send_timeout 2h;",
        "location ^~ /live/ {",
        "location = /events {\n        proxy_read_timeout 10m;\n        proxy_buffering off;",
        "location ^~ /poll/ {",
        "location ^~ /admin/ {\n        allow 127.0.0.1;\n        allow 2001:db8::/32;\n        deny all;",
        "auth_basic_user_file /srv/my-app/users;",
        "location = /upload {\n        client_max_body_size 2k;\n        proxy_read_timeout 10m;",
        "location ^~ /docs/ {\n        alias /srv/my-app/docs/;",
        "location = /old {\n        return 301 https://example.org/new?a=b;",
        '"~^[23][0-9][0-9] /health$" 0;',
        '"~^[23][0-9][0-9] /status[.]d/" 0;',
    ):
        assert line in text, line
    assert "/media" not in text


def test_what_is_off_leaves_no_trace(nginx_site_texts):
    for word in ("acme", "stapling", "Strict-Transport", "real_ip", "limit_req", "Upgrade", "geo", "_json"):
        assert word not in nginx_site_texts["tls"], word


def test_the_socket_gets_the_request_as_it_came(nginx_site_texts):
    """A URI behind the socket would make Nginx decode and rewrite the request's own."""
    assert re.findall(r"proxy_pass .*;", nginx_site_texts["http"]) == [
        f"proxy_pass http://unix:{ROOT}/run/gunicorn.sock;"
    ]


@needs("gixy")
@pytest.mark.parametrize("variant", VARIANTS)
def test_gixy_finds_nothing(nginx_site_texts, variant, tmp_path):
    (tmp_path / "site.conf").write_text(nginx_site_texts[variant])
    (tmp_path / "nginx.conf").write_text(f"events {{}}\nhttp {{\n    include {tmp_path}/site.conf;\n}}\n")
    # HSTS binds browsers for months: nothing to turn on unasked.
    skips = [] if "nginx_site_hsts_max_age" in VARIANTS[variant] else ["--skips", "hsts_header"]
    command = [GIXY, *skips, str(tmp_path / "nginx.conf")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert "No issues found" in done.stdout, done.stdout + done.stderr
