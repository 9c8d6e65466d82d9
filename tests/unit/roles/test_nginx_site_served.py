# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The site of the role nginx_site as a real Nginx serves it."""

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
import tempfile
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._nginx import process
from ansible_collections.flaskops.production.tests.unit.ports import hold_port
from ansible_collections.flaskops.production.tests.unit.programs import find, needs
from ansible_collections.flaskops.production.tests.unit.roles.nginx_site_variants import NGINX, ROOT

OPENSSL = find("openssl")
needs_openssl = needs("openssl")
# One Nginx serves all of them.
pytestmark = [needs("nginx"), pytest.mark.xdist_group("nginx_site")]


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

    def __init__(self, nginx_site_texts):
        # A socket's path is at most 107 bytes long; pytest's own directories can be longer.
        self.root = Path(tempfile.mkdtemp(prefix="site"))
        self.held = [hold_port() for _port in range(7)]
        ports = [held.getsockname()[1] for held in self.held]
        self.http, self.tls_redirect, self.tls, self.named, self.balanced, *self.untaken = ports
        for directory in ("app", "run", "shared/static/sub/.git", "shared/media/sub", "temp", "sites"):
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
        self.write("http", nginx_site_texts["http"], {80: self.http})
        self.write("named", nginx_site_texts["named"], {8080: self.named})
        # Asked more often by the other tests than by the one about its rate.
        balanced = nginx_site_texts["balanced"].replace("location / {", FREE + "\n    location / {")
        self.write("balanced", balanced, {8081: self.balanced})
        if OPENSSL:
            command = [OPENSSL, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
            command += ["-keyout", str(self.root / "site.key"), "-out", str(self.root / "site.crt")]
            subprocess.run(command, check=True, capture_output=True)
            self.write("tls", nginx_site_texts["tls"], {80: self.tls_redirect, 443: self.tls})
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
        deadline = time.monotonic() + 60
        while process.find_master(str(self.root / "nginx.pid")) is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def stop(self):
        master = process.find_master(str(self.root / "nginx.pid"))
        if master:
            os.kill(master.pid, signal.SIGQUIT)
            while process.read_process(master.pid):
                time.sleep(0.02)
        self.application.shutdown()
        self.application.server_close()
        for held in self.held:
            held.close()
        shutil.rmtree(self.root)

    def ask(self, target, port=None, method="GET", headers=None, body=None, tls=None, source="127.0.0.1"):
        if tls:
            connection = http.client.HTTPSConnection("127.0.0.1", port or self.tls, timeout=60, context=tls)
        else:
            connection = http.client.HTTPConnection(
                "127.0.0.1", port or self.http, timeout=60, source_address=(source, 0)
            )
        connection.request(method, target, body, {"Host": "localhost", **(headers or {})})
        answer = connection.getresponse()
        answer.text = answer.read().decode()
        connection.close()
        return answer


@pytest.fixture(scope="module")
def site(nginx_site_texts):
    site = Site(nginx_site_texts)
    try:
        site.start()
        yield site
    finally:
        site.stop()


def test_nginx_has_no_complaint(site):
    done = subprocess.run([NGINX, "-t", "-c", site.config], check=False, capture_output=True, text=True)
    complaints = [line for line in done.stderr.splitlines() if "[" in line]
    assert (done.returncode, complaints) == (0, [])


@needs_openssl
def test_nginx_accepts_every_setting(site, nginx_site_texts):
    config = site.root / "everything.conf"
    # A test of Nginx takes the ports, too.
    ports = dict(zip((8080, 8443), site.untaken, strict=True))
    (site.root / "everything.site").write_text(site.local(nginx_site_texts["everything"], ports))
    config.write_text(site.config.read_text().replace("sites/*.conf", "everything.site"))
    done = subprocess.run([NGINX, "-t", "-c", config], check=False, capture_output=True, text=True)
    complaints = [line for line in done.stderr.splitlines() if "[" in line]
    assert done.returncode == 0, done.stderr
    # The certificate is this test's own: it names nobody who could be asked about it.
    assert len(complaints) == 1
    assert "no OCSP responder URL in the certificate" in complaints[0]


@pytest.mark.parametrize("target", ["/", "/a%2Fb/%20?c=%2F&d", "/staticfile", "/static", "/media", "/.well-known/x"])
def test_requests_reach_the_application_unchanged(site, target):
    answer = site.ask(target)
    assert (answer.status, answer.getheader("X-Application")) == (200, "yes")
    assert json.loads(answer.text)["target"] == target


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


@pytest.mark.parametrize(("name", "kind"), UPLOADS.items())
def test_an_upload_cannot_run_in_the_site_s_name(site, name, kind):
    answer = site.ask(f"/media/{name}")
    assert answer.status == 200
    assert answer.getheader("Content-Type") == (kind or "application/octet-stream")
    assert answer.getheader("Content-Disposition") == (None if kind else "attachment")
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert answer.getheader("Content-Security-Policy") == "default-src 'none'; sandbox"


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


@pytest.mark.parametrize(
    ("source", "scheme", "expected"),
    [(BALANCER, "https", "max-age=300"), (BALANCER, "http", None), (VISITOR, "https", None)],
)
def test_behind_a_balancer_hsts_is_for_those_who_came_over_tls(site, source, scheme, expected):
    for target in ("/free", "/static/app.css"):
        answer = site.ask(target, port=site.balanced, headers={"X-Forwarded-Proto": scheme}, source=source)
        assert (answer.status, answer.getheader("Strict-Transport-Security")) == (200, expected)


def test_the_rate_is_counted_for_each_address_behind_the_balancer(site):
    def ask(address, target="/"):
        headers = {"X-Forwarded-For": address}
        return site.ask(target, port=site.balanced, headers=headers, source=BALANCER).status

    assert [ask("198.51.100.1"), ask("198.51.100.1"), ask("198.51.100.2"), ask("198.51.100.2")] == [200, 429, 200, 429]
    assert ask("198.51.100.1", "/static/app.css") == 200


def test_the_port_is_part_of_the_host_when_it_is_not_the_usual_one(site):
    got = json.loads(site.ask("/", port=site.named, headers={"Host": "example.org"}).text)["headers"]
    assert got["host"] == "example.org:8080"


@pytest.mark.parametrize(
    ("target", "asked", "host", "port"),
    [
        # Behind a port forwarding, a visitor asks for another port than this host's.
        ("/", "example.org:18080", "example.org:18080", "18080"),
        ("/", "EXAMPLE.org:80", "example.org:80", "80"),
        ("/", "[::1]:18080", "[::1]:18080", "18080"),
        ("/", "[::1]", "[::1]:8080", "PORT"),
        # The name is the one that has chosen the site, and nothing but a number is a port.
        ("http://example.org/", "evil.example:99", "example.org:99", "99"),
        ("/", "example.org:123456", "example.org:8080", "PORT"),
    ],
)
def test_the_port_is_the_one_that_the_visitor_asks_for(site, target, asked, host, port):
    got = json.loads(site.ask(target, port=site.named, headers={"Host": asked}).text)["headers"]
    assert (got["host"], got["x-forwarded-host"]) == (host, host)
    assert got["x-forwarded-port"] == (str(site.named) if port == "PORT" else port)


def test_a_body_that_is_too_large_is_refused(site):
    assert site.ask("/", port=site.named, method="POST", body="x" * 1024).status == 200
    assert site.ask("/", port=site.named, method="POST", body="x" * 1025).status == 413
    assert site.ask("/", method="POST", body="x" * 1025).status == 200


def test_nginx_keeps_its_version_to_itself(site):
    assert site.ask("/").getheader("Server") == "nginx"
    assert "nginx/" not in site.ask("/static/missing").text


def test_an_application_that_is_down_is_a_502(site):
    sock = site.root / "run/gunicorn.sock"
    sock.rename(sock.with_name("away"))
    try:
        assert site.ask("/").status == 502
        assert site.ask("/static/app.css").status == 200
    finally:
        sock.with_name("away").rename(sock)


def test_without_a_live_release_visitors_get_503_at_once_and_nobody_is_asked(site):
    (site.root / "app").rename(site.root / "gone")
    try:
        assert site.ask("/").status == 503
        assert site.ask("/static/app.css").status == 200
    finally:
        (site.root / "gone").rename(site.root / "app")
    assert site.ask("/").status == 200


@needs_openssl
def test_with_tls_http_only_redirects(site):
    answer = site.ask("/a?b=c", port=site.tls_redirect)
    assert (answer.status, answer.getheader("Location")) == (301, "https://localhost/a?b=c")
    assert site.ask("/media/page.html", port=site.tls_redirect).status == 301


@needs_openssl
def test_the_application_knows_of_tls(site):
    context = ssl._create_unverified_context()
    got = json.loads(site.ask("/", tls=context).text)["headers"]
    assert (got["x-forwarded-proto"], got["host"]) == ("https", "localhost")
    assert site.ask("/static/app.css", tls=context).status == 200


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


@needs_openssl
@pytest.mark.parametrize(("offered", "chosen"), [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1")])
def test_http2_is_offered(site, offered, chosen):
    context = ssl._create_unverified_context()
    context.set_alpn_protocols(offered)
    with socket.create_connection(("127.0.0.1", site.tls)) as plain, context.wrap_socket(plain) as connection:
        assert connection.selected_alpn_protocol() == chosen
