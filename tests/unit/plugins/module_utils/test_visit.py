# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last check of an activation, with servers that play Nginx and Gunicorn on real sockets."""

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

from ansible_collections.flaskops.production.plugins.module_utils import _visit
from ansible_collections.flaskops.production.plugins.module_utils._releases import Home
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


def site_of(listen="80", name="example.org", more=""):
    return (
        f"server {{\n    listen {listen};\n    server_name {name};\n    error_log /var/log/nginx/e.log;\n{more}\n}}\n"
    )


# The names of a site, the one that a visitor asks for where the health check has "localhost", and whether it is exact.
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
def test_a_visitor_asks_for_a_name_of_the_site(names, name, exact):
    site = _visit.read_site(site_of(name=names), "localhost")
    assert (site.name, site.exact) == (name, exact)


@pytest.mark.parametrize(
    ("names", "host"),
    [
        ("example.org www.example.org", "www.example.org"),
        ("*.example.org", "a.example.org:8443"),
        (".example.org", "example.org"),
    ],
)
def test_the_host_of_the_health_check_is_asked_for_where_the_site_has_it(names, host):
    site = _visit.read_site(site_of(name=names), host)
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
        # Where both are there, IPv4 is asked: a host may lack the address ::1.
        ("80;\n    listen [::]:80", "http", 80, "127.0.0.1"),
    ],
)
def test_the_address_is_one_that_the_site_listens_on(listen, scheme, port, host):
    doors = _visit.read_site(site_of(listen), "localhost").doors
    assert {key: door.host for key, door in doors.items()} == {(scheme, port): host}


def test_a_site_on_a_unix_socket_has_no_visitors_here():
    assert _visit.read_site(site_of("unix:/run/site.sock"), "localhost") is None


@pytest.mark.parametrize("text", [HEADER.format("other"), "# by hand\n", None])
def test_a_site_that_is_not_the_application_s_is_left_alone(tmp_path, text):
    path = tmp_path / "myapp.conf"
    if text is not None:
        path.write_text(text + site_of("1"))
    assert _visit.find_site(str(path), "myapp", "localhost") is None
    seen = _visit.visit(Home(str(tmp_path)), "myapp", HEALTH, str(path))
    assert seen.fault is None


def test_the_link_that_enables_a_site_leads_to_it(tmp_path):
    (tmp_path / "available").write_text(HEADER.format("myapp") + site_of())
    (tmp_path / "enabled").symlink_to("available")
    assert _visit.find_site(str(tmp_path / "enabled"), "myapp", "localhost").name == "example.org"


class Player(http.server.BaseHTTPRequestHandler):
    """Answers with a status, or a redirect, that the test has planned for a Host and a path."""

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


class Stage:
    """A host with a site, a server that plays its Nginx, and one that plays Gunicorn."""

    def __init__(self, monkeypatch):
        self.root = Path(tempfile.mkdtemp(prefix="visit"))
        (self.root / "run").mkdir()
        (self.root / "shared").mkdir()
        self.home = Home(str(self.root))
        self.servers, self.held = [], []
        self.gunicorn = self.serve(socketserver.ThreadingUnixStreamServer(self.home.socket, Player))
        self.nginx, self.port = self.listen()
        # Whoever runs the tests listens on the socket, instead of systemd.
        monkeypatch.setattr(_visit, "listeners", lambda _name: None)

    def listen(self, context=None):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Player)
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
        path.write_text(HEADER.format("myapp") + (text or site_of(self.port)))
        return _visit.visit(self.home, "myapp", {**HEALTH, **health}, str(path))

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()
        shutil.rmtree(self.root)


@pytest.fixture
def stage(monkeypatch):
    found = Stage(monkeypatch)
    yield found
    found.close()


def test_the_site_is_asked_for_by_its_name(stage):
    assert stage.visit() == (None, False)
    ((host, path, headers),) = stage.nginx.asked
    assert (host, path, headers["X-Token"]) == (f"example.org:{stage.port}", "/health", "health")
    assert stage.gunicorn.asked == []


def test_the_path_below_a_prefix_is_asked_for(stage):
    (stage.root / "shared/.env").write_text("SCRIPT_NAME=/shop\n")
    assert stage.visit().fault is None
    assert stage.nginx.asked[0][1] == "/shop/health"


def test_a_site_that_answers_at_the_second_attempt_is_right(stage):
    answers = iter([502, 200])

    class Once(dict):
        def get(self, key, default=None):
            return next(answers) if key == "/health" else default

    stage.nginx.answers = Once()
    assert stage.visit().fault is None


@pytest.mark.parametrize("status", [404, 500, 502, 503])
def test_nginx_is_at_fault_where_gunicorn_answers_as_it_should(stage, status):
    stage.nginx.answers["/health"] = status
    fault, by_release = stage.visit()
    url = f"http://example.org:{stage.port}/health"
    assert fault == (
        f"GET {url} through Nginx answered {status}, expected 200, although Gunicorn answered 200 over its socket "
        "(its log: /var/log/nginx/e.log)"
    )
    assert not by_release
    assert len(stage.nginx.asked) == 2
    # Gunicorn was asked as Nginx asks it.
    headers = stage.gunicorn.asked[-1][2]
    assert headers["Host"] == headers["X-Forwarded-Host"] == f"example.org:{stage.port}"
    assert headers["X-Forwarded-Proto"] == "http"


def test_the_release_is_at_fault_where_gunicorn_answers_the_site_s_name_wrongly(stage):
    stage.nginx.answers["/health"] = stage.gunicorn.answers["/health"] = 400
    fault, by_release = stage.visit()
    assert fault.endswith(f"answered 400, expected 200, and Gunicorn answered 400 to Host example.org:{stage.port}")
    assert by_release


def test_an_unknown_subdomain_is_no_fault(stage):
    stage.nginx.answers["/health"] = stage.gunicorn.answers["/health"] = 404
    assert stage.visit(site_of(stage.port, "*.example.org")).fault is None
    stage.nginx.answers["/health"] = 502
    assert "answered 502" in stage.visit(site_of(stage.port, "*.example.org")).fault


@pytest.mark.parametrize("kind", ["nobody listens", "hangs up"])
def test_an_nginx_that_does_not_answer_is_at_fault(stage, kind):
    port = stage.port
    if kind == "hangs up":
        stage.nginx.answers["/health"] = None
    else:
        held = hold_port()
        port = held.getsockname()[1]
    fault, by_release = stage.visit(site_of(port))
    said = "Connection refused" if kind == "nobody listens" else "Remote end closed connection without response"
    assert f"through Nginx answered nothing ({said})" in fault
    assert not by_release


@pytest.mark.parametrize(
    ("more", "status", "right"),
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
def test_a_site_that_restricts_access_may_answer_so(stage, more, status, right):
    stage.nginx.answers["/health"] = status
    assert (stage.visit(site_of(stage.port, more=more)).fault is None) == right


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
def test_a_redirect_is_followed_on_this_host(stage, location, asked):
    stage.nginx.answers["/health"] = (301, location.format(port=stage.port))
    assert stage.visit(site_of(stage.port, "example.org www.example.org")).fault is None
    assert [path for _host, path, _headers in stage.nginx.asked[1:]] == asked


def test_where_a_redirect_leads_has_to_answer(stage):
    stage.nginx.answers.update({"/health": (302, "/new"), "/new": 500})
    assert "/new through Nginx answered 500" in stage.visit().fault


def test_redirects_in_a_circle_are_a_fault(stage):
    stage.nginx.answers["/health"] = (302, "/health")
    assert "was redirected 5 times and more" in stage.visit().fault


@pytest.fixture
def tls(stage):
    key, certificate = stage.root / "key.pem", stage.root / "cert.pem"
    command = [find("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=other"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@needs("openssl")
def test_a_visitor_is_led_to_https_and_asks_there(stage, tls):
    names = []
    tls.sni_callback = lambda _socket, name, _context: names.append(name)
    secure, port = stage.listen(tls)
    stage.nginx.answers["/health"] = (301, f"https://example.org:{port}/health")
    text = site_of(stage.port) + site_of(f"{port} ssl")
    assert stage.visit(text).fault is None
    assert (secure.asked[0][:2], names) == ((f"example.org:{port}", "/health"), ["example.org"])
    secure.answers["/health"] = 502
    assert f"GET https://example.org:{port}/health through Nginx answered 502" in stage.visit(text).fault
    assert stage.gunicorn.asked[-1][2]["X-Forwarded-Proto"] == "https"
    # What speaks no TLS there.
    stage.nginx.answers["/health"] = (301, f"https://example.org:{stage.port}/health")
    fault = stage.visit(site_of(f"{stage.port} ssl")).fault
    assert "through Nginx answered nothing (" in fault


@needs("openssl")
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n", "timed out"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n", "timed out"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, "longer than 64 kB"),
    ],
    ids=["drips", "headers", "flood"],
)
def test_whoever_has_the_port_of_nginx_cannot_hold_up_a_visitor(stage, tls, secure, answer, said):
    server, port = stage.listen(tls if secure else None)
    server.answers["/health"] = answer
    fault, by_release = stage.visit(site_of(f"{port} ssl" if secure else port), timeout=0.5, attempts=1)
    assert said in fault and not by_release
