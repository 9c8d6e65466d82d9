# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role nginx_site: its rules, and its server block as a real Nginx serves it."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import re
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.plugins.module_utils import _nginx_process, _nginx_text
from ansible_collections.flaskops.production.plugins.modules import nginx_site

# Not resolved: the collection must be found under its real name.
COLLECTIONS = Path(nginx_site.__file__).parents[5]
PROGRAMS = os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]
)
NGINX = shutil.which("nginx", path=PROGRAMS)
GIXY = shutil.which("gixy", path=PROGRAMS)
OPENSSL = shutil.which("openssl", path=PROGRAMS)

needs_nginx = pytest.mark.skipif(
    NGINX is None, reason="Nginx is not installed; the Molecule scenarios serve the site, too"
)
needs_gixy = pytest.mark.skipif(GIXY is None, reason="gixy-ng is not installed")
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed; it makes the test's certificate")

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
NAMED = {"nginx_site_server_name": "example.org", "nginx_site_client_max_body_size": "1k", "nginx_site_listen": 8080}
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


def play(directory, hosts, tasks):
    """Run tasks once for several hosts, which are this machine with different variables."""
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "flask_app_name": "my-app"}
    inventory = {"all": {"vars": common, "hosts": hosts}}
    (directory / "inventory.yml").write_text(json.dumps(inventory))
    (directory / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": os.pathsep.join([str(COLLECTIONS), os.environ.get("ANSIBLE_COLLECTIONS_PATH", "")]),
        "ANSIBLE_LOCAL_TEMP": str(directory / "local"),
        "ANSIBLE_INJECT_FACT_VARS": "false",
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_FORKS": "4",
    }
    command = ["ansible-playbook", "-i", "inventory.yml", "--check", "play.yml"]
    return subprocess.run(command, cwd=directory, env=environment, check=False, capture_output=True, text=True)


# The rules


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


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    """What the role says of each case, from one run."""
    hosts = {f"good{number}": case for number, case in enumerate(GOOD)}
    hosts |= {f"bad{number}": {name: value} for number, (name, value) in enumerate(BAD)}
    validate = {
        "block": [{"include_role": {"name": "flaskops.production.nginx_site", "tasks_from": "validate"}}],
        "rescue": [{"debug": {"msg": "FAULT {{ ansible_failed_result.msg }}"}}],
    }
    done = play(tmp_path_factory.mktemp("rules"), hosts, [validate])
    said = re.findall(r'ok: \[(\w+)\] => \{\n\s+"msg": ("FAULT .*")\n\}', done.stdout)
    assert set(re.findall(r"^(\w+) +: ok=", done.stdout, re.M)) == set(hosts), done.stdout + done.stderr
    return {host: json.loads(text).removeprefix("FAULT ") for host, text in said}


@pytest.mark.parametrize("number", range(len(GOOD)))
def test_good_settings_are_accepted(faults, number):
    assert f"good{number}" not in faults


@pytest.mark.parametrize(("number", "name", "value"), [(number, *case) for number, case in enumerate(BAD)])
def test_bad_settings_are_named_with_their_value(faults, number, name, value):
    message = faults[f"bad{number}"]
    assert name in message
    # Of a list, what is wrong with it is named; of a string where a list belongs, that it is one.
    parts = WRONG.get(json.dumps(value), value) if isinstance(value, list) else [value]
    if isinstance(value, str) and LISTS.match(name):
        parts = ["a string is set", "in brackets"]
    for part in parts:
        assert str(part).strip().lower() in message.lower()
    assert not re.search(r"\{[{%]|Traceback|object at 0x", message)


# The text


OLD, NEW = (1, 22, 1), (1, 26, 3)  # Debian 12's Nginx and Debian 13's


def version_of_nginx():
    said = subprocess.run([NGINX, "-v"], check=True, capture_output=True, text=True).stderr if NGINX else "/1.22.1"
    return _nginx_text.version_number(re.search(r"/([0-9.]+)", said)[1])


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    """The server block of each variant, as the role gives it to the module."""
    directory = tmp_path_factory.mktemp("rendered")
    (directory / "templates").symlink_to(Path(nginx_site.__file__).parents[2] / "roles/nginx_site/templates")
    tasks = [
        {"include_role": {"name": "flaskops.production.nginx_site", "tasks_from": "validate", "public": True}},
        {
            "copy": {
                "content": "{{ lookup('ansible.builtin.template', 'etc/nginx/sites-available/app.conf.j2') }}",
                "dest": f"{directory}/{{{{ inventory_hostname }}}}.conf",
            },
            "check_mode": False,
        },
    ]
    done = play(directory, VARIANTS, tasks)
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: (directory / f"{name}.conf").read_text() for name in VARIANTS}


@pytest.fixture(scope="module")
def rendered(templates):
    """The same, as the module writes it for this machine's Nginx."""
    return {name: _nginx_text.lines_for(text, version_of_nginx()) for name, text in templates.items()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_file_is_tidy(rendered, variant):
    text = rendered[variant]
    assert text.startswith("#\n# Ansible managed\n#\n")
    assert text.endswith("}\n")
    assert "\n\n\n" not in text
    assert "\t" not in text
    assert [line for line in text.splitlines() if line != line.rstrip()] == []
    assert [line for line in text.splitlines() if len(line) > 130 and "ssl_ciphers" not in line] == []


def test_a_site_for_every_name_is_the_default_server(rendered):
    assert re.findall(r"listen .*;", rendered["http"]) == [
        "listen 80 default_server;",
        "listen [::]:80 default_server;",
    ]
    assert re.findall(r"listen .*;", rendered["named"]) == ["listen 8080;", "listen [::]:8080;"]
    assert re.findall(r"listen .*;", rendered["everything"]) == ["listen 8080;", "listen 8443 ssl;"]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (OLD, ["listen 443 default_server ssl http2;", "listen [::]:443 default_server ssl http2;"]),
        (NEW, ["listen 443 default_server ssl;", "listen [::]:443 default_server ssl;", "http2 on;"]),
    ],
)
def test_http2_is_spelled_as_the_version_of_nginx_wants_it(templates, version, expected):
    server = _nginx_text.lines_for(templates["tls"], version).split("\nserver {\n")[2]
    assert re.findall(r"^ +(listen .*;|http2 .*;)$", server, re.M) == expected
    assert "# nginx" not in server
    assert "http2" not in templates["everything"]


def test_settings_arrive(rendered):
    text = rendered["everything"]
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
        "proxy_set_header Host $host:8443;",
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


def test_what_is_off_leaves_no_trace(rendered):
    for word in ("acme", "stapling", "Strict-Transport", "real_ip", "limit_req", "Upgrade", "geo", "_json"):
        assert word not in rendered["tls"], word


def test_the_socket_gets_the_request_as_it_came(rendered):
    """A URI behind the socket would make Nginx decode and rewrite the request's own."""
    assert re.findall(r"proxy_pass .*;", rendered["http"]) == [f"proxy_pass http://unix:{ROOT}/run/gunicorn.sock;"]


@needs_gixy
@pytest.mark.parametrize("variant", VARIANTS)
def test_gixy_finds_nothing(rendered, variant, tmp_path):
    (tmp_path / "site.conf").write_text(rendered[variant])
    (tmp_path / "nginx.conf").write_text(f"events {{}}\nhttp {{\n    include {tmp_path}/site.conf;\n}}\n")
    # HSTS binds browsers for months: nothing to turn on unasked.
    skips = [] if "nginx_site_hsts_max_age" in VARIANTS[variant] else ["--skips", "hsts_header"]
    command = [GIXY, *skips, str(tmp_path / "nginx.conf")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert "No issues found" in done.stdout, done.stdout + done.stderr


# The site, served


class Application(http.server.BaseHTTPRequestHandler):
    """Answers with what it was sent, on a Unix socket."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        answer = json.dumps(
            {"target": self.path, "headers": {name.lower(): self.headers[name] for name in self.headers}}
        )
        self.send_response(200)
        self.send_header("X-Application", "yes")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    do_POST = do_GET

    def address_string(self):
        return "socket"

    def log_message(self, *args):
        pass


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def free_ports(count):
    listeners = [socket.socket() for _number in range(count)]
    for listener in listeners:
        listener.bind(("127.0.0.1", 0))
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


# The name of an upload, and the type as which browsers may show it. What has none is downloaded.
UPLOADS = {
    "page.html": None,
    "page.HTML": None,
    "page.svg": None,
    "page.js": None,
    "page.pdf": None,
    "page": None,
    "a.png": "image/png",
    "a.JPG": "image/jpeg",
    "a.txt": "text/plain",
    "sub/a.png": "image/png",
}


FREE = f"location = /free {{\n        proxy_pass http://unix:{ROOT}/run/gunicorn.sock;\n    }}"


class Site:
    """The rendered server blocks behind a real Nginx, with everything below one short directory."""

    def __init__(self, rendered):
        # A socket's path is at most 107 bytes long; pytest's own directories can be longer.
        self.root = Path(tempfile.mkdtemp(prefix="site"))
        self.http, self.tls_redirect, self.tls, self.named, self.balanced = free_ports(5)
        for directory in ("run", "shared/static/sub/.git", "shared/media/sub", "temp", "sites"):
            (self.root / directory).mkdir(parents=True)
        secret = self.root / "shared" / ".env"
        secret.write_text("SECRET")
        for name in ("static/app.css", "static/sub/app.js", "static/.hidden", "static/sub/.git/config"):
            (self.root / "shared" / name).write_text("static file")
        for name in UPLOADS:
            (self.root / "shared/media" / name).write_text("<script>")
        (self.root / "shared/media/.hidden").write_text("hidden")
        (self.root / "shared/media/link.txt").symlink_to(secret)
        (self.root / "shared/media/directory").symlink_to(self.root / "shared")
        (self.root / "shared/static/link.css").symlink_to(secret)
        self.write("http", rendered["http"], {80: self.http})
        self.write("named", rendered["named"], {8080: self.named})
        # Asked more often by the other tests than by the one about its rate.
        balanced = rendered["balanced"].replace("location / {", FREE + "\n    location / {")
        self.write("balanced", balanced, {8081: self.balanced})
        if OPENSSL:
            command = [OPENSSL, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
            command += ["-keyout", str(self.root / "site.key"), "-out", str(self.root / "site.crt")]
            subprocess.run(command, check=True, capture_output=True)
            self.write("tls", rendered["tls"], {80: self.tls_redirect, 443: self.tls})
        user = "user root;\n" if os.geteuid() == 0 else ""
        temporary = "".join(
            f"    {kind}_temp_path {self.root}/temp/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        self.config = self.root / "nginx.conf"
        self.config.write_text(
            f"{user}worker_processes 1;\npid {self.root}/nginx.pid;\nerror_log {self.root}/main.log;\nevents {{}}\n"
            f"http {{\n{temporary}    types {{ text/html html; text/css css; text/javascript js; }}\n"
            f"    autoindex on;\n    include {self.root}/sites/*.conf;\n}}\n"
        )
        self.application = Server(str(self.root / "run/gunicorn.sock"), Application)
        threading.Thread(target=self.application.serve_forever, daemon=True).start()

    def write(self, name, text, ports):
        (self.root / "sites" / f"{name}.conf").write_text(self.local(text, ports))

    def local(self, text, ports):
        """The text with this machine's paths and ports."""
        text = text.replace(ROOT, str(self.root)).replace("/etc/ssl/test", str(self.root))
        text = text.replace("/var/log/nginx", str(self.root))
        text = re.sub(r"\s+listen \[::\].*;", "", text)
        for port, used in ports.items():
            text = re.sub(rf"listen {port}\b", f"listen 127.0.0.1:{used}", text)
        return text

    def start(self):
        subprocess.run([NGINX, "-c", self.config], check=True, capture_output=True)
        deadline = time.monotonic() + 10
        while _nginx_process.running_master(str(self.root / "nginx.pid")) is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def stop(self):
        master = _nginx_process.running_master(str(self.root / "nginx.pid"))
        if master:
            os.kill(master.pid, signal.SIGQUIT)
            while _nginx_process.process(master.pid):
                time.sleep(0.02)
        self.application.shutdown()
        self.application.server_close()
        shutil.rmtree(self.root)

    def ask(self, target, port=None, method="GET", headers=None, body=None, tls=None, source="127.0.0.1"):
        if tls:
            connection = http.client.HTTPSConnection("127.0.0.1", port or self.tls, timeout=10, context=tls)
        else:
            connection = http.client.HTTPConnection(
                "127.0.0.1", port or self.http, timeout=10, source_address=(source, 0)
            )
        connection.request(method, target, body, {"Host": "localhost", **(headers or {})})
        answer = connection.getresponse()
        answer.text = answer.read().decode()
        connection.close()
        return answer


@pytest.fixture(scope="module")
def site(rendered):
    site = Site(rendered)
    try:
        site.start()
        yield site
    finally:
        site.stop()


@needs_nginx
def test_nginx_has_no_complaint(site):
    done = subprocess.run([NGINX, "-t", "-c", site.config], check=False, capture_output=True, text=True)
    complaints = [line for line in done.stderr.splitlines() if "[" in line]
    assert (done.returncode, complaints) == (0, [])


@needs_nginx
@needs_openssl
def test_nginx_accepts_every_setting(site, rendered):
    config = site.root / "everything.conf"
    # A test of Nginx takes the ports, too.
    ports = dict(zip((8080, 8443), free_ports(2), strict=True))
    (site.root / "everything.site").write_text(site.local(rendered["everything"], ports))
    config.write_text(site.config.read_text().replace("sites/*.conf", "everything.site"))
    done = subprocess.run([NGINX, "-t", "-c", config], check=False, capture_output=True, text=True)
    complaints = [line for line in done.stderr.splitlines() if "[" in line]
    assert done.returncode == 0, done.stderr
    # The certificate is this test's own: it names nobody who could be asked about it.
    assert len(complaints) == 1
    assert "no OCSP responder URL in the certificate" in complaints[0]


@needs_nginx
@pytest.mark.parametrize("target", ["/", "/a%2Fb/%20?c=%2F&d", "/staticfile", "/static", "/media", "/.well-known/x"])
def test_requests_reach_the_application_unchanged(site, target):
    answer = site.ask(target)
    assert (answer.status, answer.getheader("X-Application")) == (200, "yes")
    assert json.loads(answer.text)["target"] == target


@needs_nginx
@pytest.mark.parametrize(
    ("target", "status"),
    [
        # Not below /static/ after all: the application's to answer, never a file's.
        ("/static../.env", 200),
        ("/media../.env", 200),
        ("/static/../.env", 200),
        ("/static/%2e%2e/.env", 200),
        ("/static/..%2f.env", 200),
        ("/media/sub/../../.env", 200),
        ("/static//../.env", 200),
        ("/static/../../../etc/passwd", 400),
        ("/static/..%5c.env", 404),
        # Hidden files, links, listings
        ("/static/.hidden", 404),
        ("/static/%2ehidden", 404),
        ("/static/sub/.git/config", 404),
        ("/media/.hidden", 404),
        ("/static/link.css", 403),
        ("/media/link.txt", 403),
        ("/media/directory/.env", 404),
        ("/media/directory/static/app.css", 404),
        ("/media/", 403),
        ("/media/sub/", 403),
        ("/static/", 403),
        ("/static/missing.css", 404),
    ],
)
def test_nothing_outside_is_served(site, target, status):
    answer = site.ask(target)
    assert answer.status == status
    assert (answer.getheader("X-Application") == "yes") == (status == 200)
    assert "SECRET" not in answer.text
    assert "root:" not in answer.text


@needs_nginx
@pytest.mark.parametrize(
    ("target", "kind"), [("/static/app.css", "text/css"), ("/static/sub/app.js", "text/javascript")]
)
def test_static_files_are_served_by_nginx(site, target, kind):
    answer = site.ask(target)
    assert (answer.status, answer.text) == (200, "static file")
    assert answer.getheader("Content-Type") == kind
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert answer.getheader("Cache-Control") == "max-age=0"
    assert answer.getheader("X-Application") is None
    assert site.ask(target, headers={"If-None-Match": answer.getheader("ETag")}).status == 304
    assert site.ask(target, method="POST", body="x").status == 405


@needs_nginx
@pytest.mark.parametrize(("name", "kind"), UPLOADS.items())
def test_an_upload_cannot_run_in_the_site_s_name(site, name, kind):
    answer = site.ask(f"/media/{name}")
    assert answer.status == 200
    assert answer.getheader("Content-Type") == (kind or "application/octet-stream")
    assert answer.getheader("Content-Disposition") == (None if kind else "attachment")
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert answer.getheader("Content-Security-Policy") == "default-src 'none'; sandbox"


@needs_nginx
def test_what_a_client_claims_about_itself_is_replaced(site):
    claims = {
        "X-Forwarded-For": "192.0.2.1",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Protocol": "ssl",
        "X-Forwarded-Ssl": "on",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Port": "1",
        "X-Forwarded-Prefix": "/evil",
        "X-Real-IP": "192.0.2.1",
        "Forwarded": "for=192.0.2.1",
        "X_Forwarded_For": "192.0.2.1",
        "SCRIPT_NAME": "/evil",
    }
    got = json.loads(site.ask("/", headers=claims).text)["headers"]
    seen = {name: got[name] for name in got if "forwarded" in name or name in ("x-real-ip", "host", "script_name")}
    assert seen == {
        "host": "localhost",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-host": "localhost",
        "x-forwarded-port": str(site.http),
        "x-forwarded-proto": "http",
        "x-real-ip": "127.0.0.1",
    }


BALANCER, VISITOR = "127.0.0.2", "127.0.0.3"
CLAIMS = {
    "X-Forwarded-For": "198.51.100.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "www.example.org:8443",
    "X-Forwarded-Port": "8443",
    "X-Forwarded-Prefix": "/evil",
}


@needs_nginx
@pytest.mark.parametrize(
    ("source", "headers", "expected"),
    [
        (BALANCER, CLAIMS, ("198.51.100.7", "https", "www.example.org:8443", "8443")),
        (BALANCER, {}, (BALANCER, "http", "localhost", None)),
        (BALANCER, {"Host": "example.org:444"}, (BALANCER, "http", "example.org:444", None)),
        (BALANCER, {"X-Forwarded-Proto": "ftp", "X-Forwarded-Port": "x"}, (BALANCER, "http", "localhost", None)),
        (BALANCER, {"X-Forwarded-Host": "a b/<c>"}, (BALANCER, "http", "localhost:8081", None)),
        # The visitor's own list, to which the balancer has added the visitor's address.
        (BALANCER, {"X-Forwarded-For": "192.0.3.1, 198.51.100.7"}, ("198.51.100.7", "http", "localhost", None)),
        (BALANCER, {"X-Forwarded-For": "198.51.100.7, 192.0.2.9"}, ("198.51.100.7", "http", "localhost", None)),
        (VISITOR, CLAIMS, (VISITOR, "http", "localhost:8081", "PORT")),
        (VISITOR, {}, (VISITOR, "http", "localhost:8081", "PORT")),
    ],
)
def test_only_the_balancer_is_believed(site, source, headers, expected):
    got = json.loads(site.ask("/free", port=site.balanced, headers=headers, source=source).text)["headers"]
    address, scheme, host, port = expected
    seen = [got.get(f"x-forwarded-{name}") for name in ("for", "proto", "host", "port", "prefix")]
    assert seen == [address, scheme, host, str(site.balanced) if port == "PORT" else port, None]
    assert (got["host"], got["x-real-ip"]) == (host, address)


@needs_nginx
@pytest.mark.parametrize(
    ("source", "scheme", "expected"),
    [(BALANCER, "https", "max-age=300"), (BALANCER, "http", None), (VISITOR, "https", None)],
)
def test_behind_a_balancer_hsts_is_for_those_who_came_over_tls(site, source, scheme, expected):
    for target in ("/free", "/static/app.css"):
        answer = site.ask(target, port=site.balanced, headers={"X-Forwarded-Proto": scheme}, source=source)
        assert (answer.status, answer.getheader("Strict-Transport-Security")) == (200, expected)


@needs_nginx
def test_the_rate_is_counted_for_each_address_behind_the_balancer(site):
    def ask(address, target="/"):
        headers = {"X-Forwarded-For": address}
        return site.ask(target, port=site.balanced, headers=headers, source=BALANCER).status

    assert [ask("198.51.100.1"), ask("198.51.100.1"), ask("198.51.100.2"), ask("198.51.100.2")] == [200, 429, 200, 429]
    assert ask("198.51.100.1", "/static/app.css") == 200


@needs_nginx
def test_the_port_is_part_of_the_host_when_it_is_not_the_usual_one(site):
    got = json.loads(site.ask("/", port=site.named, headers={"Host": "example.org"}).text)["headers"]
    assert got["host"] == "example.org:8080"


@needs_nginx
def test_a_body_that_is_too_large_is_refused(site):
    assert site.ask("/", port=site.named, method="POST", body="x" * 1024).status == 200
    assert site.ask("/", port=site.named, method="POST", body="x" * 1025).status == 413
    assert site.ask("/", method="POST", body="x" * 1025).status == 200


@needs_nginx
def test_nginx_keeps_its_version_to_itself(site):
    assert site.ask("/").getheader("Server") == "nginx"
    assert "nginx/" not in site.ask("/static/missing").text


@needs_nginx
def test_an_application_that_is_down_is_a_502(site):
    sock = site.root / "run/gunicorn.sock"
    sock.rename(sock.with_name("away"))
    try:
        assert site.ask("/").status == 502
        assert site.ask("/static/app.css").status == 200
    finally:
        sock.with_name("away").rename(sock)


@needs_nginx
@needs_openssl
def test_with_tls_http_only_redirects(site):
    answer = site.ask("/a?b=c", port=site.tls_redirect)
    assert (answer.status, answer.getheader("Location")) == (301, "https://localhost/a?b=c")
    assert site.ask("/media/page.html", port=site.tls_redirect).status == 301


@needs_nginx
@needs_openssl
def test_the_application_knows_of_tls(site):
    context = ssl._create_unverified_context()
    got = json.loads(site.ask("/", tls=context).text)["headers"]
    assert (got["x-forwarded-proto"], got["host"]) == ("https", "localhost")
    assert site.ask("/static/app.css", tls=context).status == 200


@needs_nginx
@needs_openssl
@pytest.mark.parametrize(
    ("options", "accepted"),
    [(["-tls1_3"], True), (["-tls1_2"], True), (["-tls1_2", "-cipher", "AES128-SHA"], False), (["-tls1_1"], False)],
)
def test_only_good_tls_is_spoken(site, options, accepted):
    command = [OPENSSL, "s_client", "-connect", f"127.0.0.1:{site.tls}", *options, "-cipher", "ALL:@SECLEVEL=0"]
    if options.count("-cipher"):
        command = command[:-2]
    done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert ("Cipher is (NONE)" not in done.stdout) == accepted


@needs_nginx
@needs_openssl
@pytest.mark.parametrize(("offered", "chosen"), [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1")])
def test_http2_is_offered(site, offered, chosen):
    context = ssl._create_unverified_context()
    context.set_alpn_protocols(offered)
    with socket.create_connection(("127.0.0.1", site.tls)) as plain, context.wrap_socket(plain) as connection:
        assert connection.selected_alpn_protocol() == chosen
