# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the check through Nginx with test servers in place of Nginx and Gunicorn."""

from __future__ import annotations

import contextlib
import http.server
import shutil
import socketserver
import ssl
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._releases import site_check
from ansible_collections.flaskops.production.tests.unit.ports import hold_port
from ansible_collections.flaskops.production.tests.unit.programs import find, needs

HEADER = "# Ansible managed: written by flaskops.production for the application {}.\n"
HEALTH = {
    "path": "/health",
    "status": [200],
    "host": "localhost",
    "headers": {"X-Token": "health"},
    "attempts": 2,
    "interval": 0,
    "timeout": 2,
}


def format_site(listen="80", name="example.org", more=""):
    return (
        f"server {{\n    listen {listen};\n    server_name {name};\n    error_log /var/log/nginx/e.log;\n{more}\n}}\n"
    )


# The server names of a site, the name to request if the health check has "localhost", and whether it is exact.
NAMES = [
    ("example.org", "example.org", True),
    ("www.example.org example.org", "www.example.org", True),
    ("_", "localhost", True),
    ("example.org localhost", "localhost", True),
    ("*.example.org example.org", "example.org", True),
    ("*.example.org", "www.example.org", False),
    (".example.org", "example.org", False),
    ("example.*", "example.www", False),
]


@pytest.mark.parametrize(("names", "name", "exact"), NAMES)
def test_request_has_a_server_name_of_the_site(names, name, exact):
    site = site_check.parse_site(format_site(name=names), "localhost")
    assert (site.name, site.exact) == (name, exact)


@pytest.mark.parametrize(
    ("names", "host"),
    [
        ("example.org www.example.org", "www.example.org"),
        ("*.example.org", "a.example.org:8443"),
        (".example.org", "example.org"),
    ],
)
def test_request_has_the_host_of_the_health_check_if_the_site_matches_it(names, host):
    site = site_check.parse_site(format_site(name=names), host)
    assert (site.name, site.exact) == (host.split(":")[0], True)


@pytest.mark.parametrize(
    ("listen", "scheme", "port", "host"),
    [
        ("80", "http", 80, "127.0.0.1"),
        ("8080 default_server", "http", 8080, "127.0.0.1"),
        ("443 ssl", "https", 443, "127.0.0.1"),
        ("8443 default_server ssl http2", "https", 8443, "127.0.0.1"),
        ("*:80", "http", 80, "127.0.0.1"),
        ("192.0.2.1:8080", "http", 8080, "192.0.2.1"),
        ("192.0.2.1", "http", 80, "192.0.2.1"),
        ("[::]:80", "http", 80, "::1"),
        ("[2001:db8::1]:80", "http", 80, "2001:db8::1"),
        # IPv4 is preferred: a host may lack the address ::1.
        ("80;\n    listen [::]:80", "http", 80, "127.0.0.1"),
    ],
)
def test_request_goes_to_an_address_of_the_site(listen, scheme, port, host):
    listeners = site_check.parse_site(format_site(listen), "localhost").listeners
    assert {key: listener.host for key, listener in listeners.items()} == {(scheme, port): host}


def test_site_on_a_unix_socket_is_not_requested():
    assert site_check.parse_site(format_site("unix:/run/site.sock"), "localhost") is None


@pytest.mark.parametrize("text", [HEADER.format("other"), "# handwritten\n", None])
def test_site_of_another_application_is_not_requested(tmp_path, text):
    path = tmp_path / "myapp.conf"
    if text is not None:
        path.write_text(text + format_site("1"))
    assert site_check.find_site(str(path), "myapp", "localhost") is None
    result = site_check.check_site(Layout(str(tmp_path)), "myapp", HEALTH, str(path))
    assert result.failure is None


def test_site_is_found_through_its_link(tmp_path):
    (tmp_path / "available").write_text(HEADER.format("myapp") + format_site())
    (tmp_path / "enabled").symlink_to("available")
    assert site_check.find_site(str(tmp_path / "enabled"), "myapp", "localhost").name == "example.org"


class PlannedHandler(http.server.BaseHTTPRequestHandler):
    """Send the status or redirect that the test has set for a Host and a path."""

    def do_GET(self):
        self.server.asked.append((self.headers["Host"], self.path, dict(self.headers)))
        answer = self.server.answers.get((self.headers["Host"], self.path), self.server.answers.get(self.path, 200))
        if isinstance(answer, bytes):
            # Over and over again, until the other side has had enough.
            with contextlib.suppress(OSError):
                for _number in range(500):
                    self.wfile.write(answer)
                    time.sleep(0.02 if len(answer) < 1000 else 0)
            self.close_connection = True
            return
        if answer is None:
            self.close_connection = True
            return
        status, location = answer if isinstance(answer, tuple) else (answer, "")
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.end_headers()

    def address_string(self):
        return "test"

    def log_message(self, *_arguments):
        pass


class SiteHost:
    """A host with a site and test servers in place of Nginx and Gunicorn."""

    def __init__(self, monkeypatch):
        self.root = Path(tempfile.mkdtemp(prefix="visit"))
        (self.root / "run").mkdir()
        (self.root / "shared").mkdir()
        self.layout = Layout(str(self.root))
        self.servers, self.held = [], []
        self.gunicorn = self.serve(socketserver.ThreadingUnixStreamServer(self.layout.socket, PlannedHandler))
        self.nginx, self.port = self.listen()
        # The process of the tests listens on the socket, instead of systemd.
        monkeypatch.setattr(site_check, "read_listener_pids", lambda _name: None)

    def listen(self, context=None):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), PlannedHandler)
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        return self.serve(server), server.server_address[1]

    def serve(self, server):
        server.answers, server.asked = {}, []
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.servers.append(server)
        return server

    def visit(self, text=None, **health):
        path = self.root / "site.conf"
        path.write_text(HEADER.format("myapp") + (text or format_site(self.port)))
        return site_check.check_site(self.layout, "myapp", {**HEALTH, **health}, str(path))

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()
        shutil.rmtree(self.root)


@pytest.fixture
def site_host(monkeypatch):
    found = SiteHost(monkeypatch)
    yield found
    found.close()


def test_request_has_the_name_of_the_site(site_host):
    assert site_host.visit() == (None, False)
    ((host, path, headers),) = site_host.nginx.asked
    assert (host, path, headers["X-Token"]) == (f"example.org:{site_host.port}", "/health", "health")
    assert site_host.gunicorn.asked == []


def test_request_path_is_prefixed_with_script_name(site_host):
    (site_host.root / "shared/.env").write_text("SCRIPT_NAME=/shop\n")
    assert site_host.visit().failure is None
    assert site_host.nginx.asked[0][1] == "/shop/health"


def test_success_at_the_second_attempt_is_a_success(site_host):
    answers = iter([502, 200])

    class Once(dict):
        def get(self, key, default=None):
            return next(answers) if key == "/health" else default

    site_host.nginx.answers = Once()
    assert site_host.visit().failure is None


@pytest.mark.parametrize("status", [404, 500, 502, 503])
def test_wrong_status_is_not_by_the_release_if_gunicorn_answers_correctly(site_host, status):
    site_host.nginx.answers["/health"] = status
    failure, by_release = site_host.visit()
    url = f"http://example.org:{site_host.port}/health"
    assert failure == (
        f"GET {url} through Nginx answered {status}, expected 200, although Gunicorn answered 200 over its socket "
        "(its log: /var/log/nginx/e.log)"
    )
    assert not by_release
    assert len(site_host.nginx.asked) == 2
    # Gunicorn got the headers that Nginx sends.
    headers = site_host.gunicorn.asked[-1][2]
    assert headers["Host"] == headers["X-Forwarded-Host"] == f"example.org:{site_host.port}"
    assert headers["X-Forwarded-Proto"] == "http"


def test_wrong_status_is_by_the_release_if_gunicorn_returns_it_too(site_host):
    site_host.nginx.answers["/health"] = site_host.gunicorn.answers["/health"] = 400
    failure, by_release = site_host.visit()
    assert failure.endswith(
        f"answered 400, expected 200, and Gunicorn answered 400 to Host example.org:{site_host.port}"
    )
    assert by_release


def test_unknown_subdomain_is_no_failure(site_host):
    site_host.nginx.answers["/health"] = site_host.gunicorn.answers["/health"] = 404
    assert site_host.visit(format_site(site_host.port, "*.example.org")).failure is None
    site_host.nginx.answers["/health"] = 502
    assert "answered 502" in site_host.visit(format_site(site_host.port, "*.example.org")).failure


@pytest.mark.parametrize("kind", ["no listener", "closed connection"])
def test_missing_response_of_nginx_is_a_failure(site_host, kind):
    port = site_host.port
    if kind == "closed connection":
        site_host.nginx.answers["/health"] = None
    else:
        held = hold_port()
        port = held.getsockname()[1]
    failure, by_release = site_host.visit(format_site(port))
    reason = "Connection refused" if kind == "no listener" else "Remote end closed connection without response"
    assert f"through Nginx answered nothing ({reason})" in failure
    assert not by_release


@pytest.mark.parametrize(
    ("more", "status", "passes"),
    [
        ("auth_basic x;", 401, True),
        ("auth_basic off;", 401, False),
        ("deny all;", 403, True),
        ("limit_req zone=x;", 429, True),
        ("deny all;", 502, False),
        ("location /health { deny all; }", 403, True),
        ("location = /admin { deny all; }", 403, False),
        ('location ~ "^/h" { auth_request /auth; }', 401, True),
        ("", 403, False),
    ],
)
def test_site_with_restricted_access_may_refuse_the_request(site_host, more, status, passes):
    site_host.nginx.answers["/health"] = status
    assert (site_host.visit(format_site(site_host.port, more=more)).failure is None) == passes


@pytest.mark.parametrize(
    ("location", "asked"),
    [
        ("https://example.org/health", []),  # the load balancer's
        ("http://elsewhere.example/", []),
        ("http://example.org:{port}/new", ["/new"]),
        ("/new", ["/new"]),
        ("http://www.example.org:{port}/new", ["/new"]),
        ("http://example.org:99999/", []),
    ],
)
def test_redirect_to_this_host_is_followed(site_host, location, asked):
    site_host.nginx.answers["/health"] = (301, location.format(port=site_host.port))
    assert site_host.visit(format_site(site_host.port, "example.org www.example.org")).failure is None
    assert [path for _host, path, _headers in site_host.nginx.asked[1:]] == asked


def test_target_of_a_redirect_must_answer(site_host):
    site_host.nginx.answers.update({"/health": (302, "/new"), "/new": 500})
    assert "/new through Nginx answered 500" in site_host.visit().failure


def test_redirect_loop_is_a_failure(site_host):
    site_host.nginx.answers["/health"] = (302, "/health")
    assert "was redirected 5 times and more" in site_host.visit().failure


@pytest.fixture
def tls(site_host):
    key, certificate = site_host.root / "key.pem", site_host.root / "cert.pem"
    command = [find("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=other"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@needs("openssl")
def test_redirect_to_https_is_followed(site_host, tls):
    names = []
    tls.sni_callback = lambda _socket, name, _context: names.append(name)
    secure, port = site_host.listen(tls)
    site_host.nginx.answers["/health"] = (301, f"https://example.org:{port}/health")
    text = format_site(site_host.port) + format_site(f"{port} ssl")
    assert site_host.visit(text).failure is None
    assert (secure.asked[0][:2], names) == ((f"example.org:{port}", "/health"), ["example.org"])
    secure.answers["/health"] = 502
    assert f"GET https://example.org:{port}/health through Nginx answered 502" in site_host.visit(text).failure
    assert site_host.gunicorn.asked[-1][2]["X-Forwarded-Proto"] == "https"
    # A port without TLS.
    site_host.nginx.answers["/health"] = (301, f"https://example.org:{site_host.port}/health")
    failure = site_host.visit(format_site(f"{site_host.port} ssl")).failure
    assert "through Nginx answered nothing (" in failure


@needs("openssl")
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n", "timed out"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n", "timed out"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, "longer than 64 kB"),
    ],
    ids=["drips", "headers", "flood"],
)
def test_whoever_has_the_port_of_nginx_cannot_hold_up_a_visitor(site_host, tls, secure, answer, reason):
    server, port = site_host.listen(tls if secure else None)
    server.answers["/health"] = answer
    failure, by_release = site_host.visit(format_site(f"{port} ssl" if secure else port), timeout=0.5, attempts=1)
    assert reason in failure and not by_release
