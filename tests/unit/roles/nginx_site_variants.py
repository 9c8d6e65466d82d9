# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sites that the tests of the role nginx_site render and serve."""

from __future__ import annotations

import re
import subprocess

from ansible_collections.flaskops.production.plugins.module_utils._nginx import config
from ansible_collections.flaskops.production.tests.unit.programs import find

NGINX = find("nginx")

ROOT = "/srv/my-app"
CERTIFICATE, KEY = "/etc/ssl/test/site.crt", "/etc/ssl/test/site.key"

HTTP = {}
TLS = {"nginx_site_tls_certificate": CERTIFICATE, "nginx_site_tls_certificate_key": KEY}
EVERYTHING = {
    **TLS,
    "nginx_site_acme_webroot": "/srv/my-app/acme",
    "nginx_site_tls_stapling": True,
    "nginx_site_tls_trusted_certificate": CERTIFICATE,
    "nginx_site_tls_resolver": ["192.0.2.53", "2001:db8::53"],
    "nginx_site_hsts_max_age": 63072000,
    "nginx_site_hsts_include_subdomains": True,
    "nginx_site_hsts_preload": True,
    "nginx_site_client_header_timeout": "1s",
    "nginx_site_client_body_timeout": "1s",
    "nginx_site_large_client_header_buffers": "4 2k",
    "nginx_site_proxy_connect_timeout": "1s",
    "nginx_site_proxy_buffer_size": "32k",
    "nginx_site_rate_limit": "1000r/s",
    "nginx_site_rate_limit_burst": 5,
    "nginx_site_static_immutable": r"[.-][0-9a-f]{8,}[.]\w+$",
    "nginx_site_gzip_types": ["text/css"],
    "nginx_site_gzip_static": True,
    "nginx_site_websocket_urls": ["/ws", "/live/"],
    "nginx_site_websocket_timeout": "2h",
    "nginx_site_long_poll_urls": ["/events", "/poll/"],
    "nginx_site_long_poll_timeout": "10m",
    "nginx_site_locations": [
        {"path": "/admin/", "allow": ["127.0.0.1", "2001:db8::/32"], "auth_basic_user_file": "/srv/my-app/users"},
        {"path": "/upload", "client_max_body_size": "2k", "proxy_read_timeout": "10m"},
        {"path": "/docs/", "directory": "/srv/my-app/docs"},
        {"path": "/old", "redirect": "https://example.org/new?a=b"},
    ],
    "nginx_site_access_log": "/var/log/nginx/everything.log",
    "nginx_site_access_log_format": "json",
    "nginx_site_unlogged_urls": ["/health", "/status.d/"],
    "nginx_site_extra_http": "map $host $extra {\n    default extra;\n}\n",
    "nginx_site_server_name": "example.org *.example.net",
    "nginx_site_listen": 8080,
    "nginx_site_tls_listen": 8443,
    "nginx_site_ipv6": False,
    "nginx_site_http2": False,
    "nginx_site_client_max_body_size": "1k",
    "nginx_site_proxy_read_timeout": "5m",
    "nginx_site_proxy_send_timeout": "500ms",
    "nginx_site_static_url": "/assets/",
    "nginx_site_media_url": "",
    "nginx_site_static_expires": "30d",
    "nginx_site_error_log": "/var/log/nginx/other.log",
    "nginx_site_extra": "location = /extra {\n    return 200 $extra;\n}\n",
}
NAMED = {
    "nginx_site_server_name": "example.org",
    "nginx_site_client_max_body_size": "1k",
    "nginx_site_listen": 8080,
    "release_static_paths": ["static", "shop/static/"],
    "release_shared_paths": [
        "static/gallery/",
        "shop/static/uploads/",
        "shop/static/x y/",
        "shop/static/a.json",
        "data/",
    ],
}
BALANCED = {
    "nginx_site_listen": 8081,
    "nginx_site_real_ip_from": ["127.0.0.2", "192.0.2.0/24", "2001:db8::/32"],
    "nginx_site_hsts_max_age": 300,
    "nginx_site_rate_limit": "2r/m",
    "nginx_site_rate_limit_burst": 0,
    "nginx_site_gzip": False,
    "nginx_site_access_log": "off",
}
VARIANTS = {"http": HTTP, "tls": TLS, "everything": EVERYTHING, "named": NAMED, "balanced": BALANCED}


def version_of_nginx():
    said = subprocess.run([NGINX, "-v"], check=True, capture_output=True, text=True).stderr if NGINX else "/1.22.1"
    return config.parse_version(re.search(r"/([0-9.]+)", said)[1])
