# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the health check and the socket with real servers."""

from __future__ import annotations

import contextlib
import http.server
import os
import socket
import socketserver
import tempfile
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._app import health, live_process
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout

HEALTH = {
    "path": "/health",
    "status": [200, 204],
    "host": "example.org",
    "headers": {},
    "attempts": 3,
    "interval": 0,
    "timeout": 1,
}


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.path, dict(self.headers)))
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer == "hang":
            time.sleep(0.5)
        elif isinstance(answer, bytes):
            # Repeat until the client closes the connection.
            with contextlib.suppress(OSError):
                self.wfile.write(b"HTTP/1.0 200 OK\r\n")
                for _number in range(200):
                    self.wfile.write(answer)
                    time.sleep(0.02 if len(answer) < 100 else 0)
        elif answer == "garbage":
            self.wfile.write(b"SSH-2.0-OpenSSH\r\n")
        elif answer != "close":
            self.send_response(answer)
            self.end_headers()

    def address_string(self):
        return "unix"

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def layout():
    with tempfile.TemporaryDirectory(prefix="service-") as directory:
        os.mkdir(os.path.join(directory, "run"))
        yield Layout(directory)


@pytest.fixture
def server(layout):
    with socketserver.ThreadingUnixStreamServer(layout.socket, _Handler) as found:
        found.asked, found.answers = [], [200]
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


# The socket


def test_health_request_has_target_and_host(layout, server):
    assert health.send_health_request(layout.socket, "/health?x=1", "example.org", 1) == 200
    ((path, headers),) = server.asked
    assert path == "/health?x=1" and headers["Host"] == "example.org"


def test_health_request_has_the_configured_headers(layout, server):
    headers = {"X-Forwarded-Proto": "https", "X-Tenant": 7, "User-Agent": "probe"}
    assert health.find_health_failure(layout, {**HEALTH, "headers": headers}) is None
    ((_path, asked),) = server.asked
    assert (asked["X-Forwarded-Proto"], asked["X-Tenant"], asked["User-Agent"]) == ("https", "7", "probe")
    assert asked["Host"] == "example.org"


@pytest.mark.parametrize("status", [204, 302, 404, 500, 503])
def test_status_of_the_response_is_returned(layout, server, status):
    server.answers = [status]
    assert health.send_health_request(layout.socket, "/", "localhost", 1) == status


@pytest.mark.parametrize("answer", ["hang", "close", "garbage"])
def test_missing_response_is_described(layout, server, answer):
    server.answers = [answer]
    answer = health.send_health_request(layout.socket, "/", "localhost", 0.1)
    assert isinstance(answer, str) and answer


def test_missing_socket_and_refused_connection_are_described(layout):
    assert "No such file" in str(health.send_health_request(layout.socket, "/", "localhost", 1))
    assert health.check_health(layout, HEALTH).by_host
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(layout.socket)
    assert "refused" in str(health.send_health_request(layout.socket, "/", "localhost", 1))


@pytest.mark.parametrize("piece", [b"\r\n", b"X: y\r\n"], ids=["body", "headers"])
def test_slow_response_ends_at_the_deadline(layout, server, piece):
    server.answers = [piece]
    before = time.monotonic()
    answer = health.send_health_request(layout.socket, "/", "localhost", 0.3)
    assert "timed out" in str(answer)
    assert time.monotonic() - before < 1


def test_at_most_64_kilobytes_of_the_body_are_read(layout, server):
    server.answers = [b"\r\n" + b"x" * (1 << 20)]
    assert health.send_health_request(layout.socket, "/", "localhost", 5) == 200


def test_headers_above_the_limit_are_an_error(layout, server):
    server.answers = [b"X: " + b"y" * 60000 + b"\r\n"]
    assert "64 kB" in str(health.send_health_request(layout.socket, "/", "localhost", 5))


def test_listener_is_checked_before_the_request_is_sent(layout, server):
    answer = health.send_health_request(layout.socket, "/", "localhost", 1, listeners={1})
    assert (
        str(answer)
        == f"process {os.getpid()} of user {os.geteuid()} listens on {layout.socket}, which is not the service"
    )
    assert server.asked == []
    assert health.send_health_request(layout.socket, "/", "localhost", 1, listeners={1, os.getpid()}) == 200


@pytest.mark.parametrize("fault", ["missing", "stale", "regular file", None])
def test_unusable_socket_is_detected_without_a_connection(layout, fault, request):
    if fault is None:
        request.getfixturevalue("server")
        assert health.find_socket_failure(layout) is None
        return
    if fault == "stale":
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(layout.socket)
    elif fault == "regular file":
        Path(layout.socket).touch()
    reason = {"missing": "is missing", "stale": "no process listens on", "regular file": "is not a socket"}[fault]
    assert reason in health.find_socket_failure(layout)


@pytest.mark.parametrize(
    ("answers", "asked", "healthy"),
    [([200], 1, True), ([500, 204], 2, True), ([500, 500, 200], 3, True), ([500], 3, False), (["close", 200], 2, True)],
)
def test_health_check_repeats_until_success_or_the_last_attempt(layout, server, answers, asked, healthy):
    server.answers = answers
    failure = health.find_health_failure(layout, HEALTH)
    assert (failure is None) == healthy
    assert len(server.asked) == asked


def test_health_is_checked_on_another_socket(layout, server):
    other = os.path.join(layout.root, "run", "other.sock")
    os.rename(layout.socket, other)
    assert health.check_health(layout, HEALTH, socket_path=other).failure is None
    failure = health.check_health(layout, HEALTH, socket_path=f"{other}.missing").failure
    assert failure == f"GET /health was not answered: {other}.missing: No such file or directory"


def test_health_failure_names_path_status_and_expected_statuses(layout, server):
    server.answers = [500]
    assert health.find_health_failure(layout, HEALTH) == "GET /health answered 500, expected 200 or 204"


def test_no_request_is_sent_without_a_health_check(layout, server):
    server.answers = [500]
    assert health.find_health_failure(layout, None) is None and server.asked == []


def test_number_of_attempts_can_be_limited(layout, server):
    server.answers = [500, 200]
    assert health.find_health_failure(layout, HEALTH, attempts=1)


def test_health_check_waits_between_attempts(layout, server):
    server.answers = [500]
    before = time.monotonic()
    health.find_health_failure(layout, {**HEALTH, "interval": 0.1})
    assert time.monotonic() - before >= 0.2


@pytest.mark.parametrize(
    ("env", "path", "expected"),
    [
        ("", "/health", "/health"),
        ('A=1\nSCRIPT_NAME="/shop"\n', "/health", "/shop/health"),
        ("SCRIPT_NAME=/shop", "/shop/health?a=b", "/shop/health?a=b"),
        ("SCRIPT_NAME=/shop", "/shop", "/shop"),
        ("SCRIPT_NAME=/shop", "/shopping", "/shop/shopping"),
        ("SCRIPT_NAME=/shop", "/", "/shop/"),
        ("# SCRIPT_NAME=/shop", "/", "/"),
        ("SCRIPT_NAME=/a\nSCRIPT_NAME='/b'", "/", "/b/"),
        ("SCRIPT_NAME=", "/", "/"),
        (None, "/", "/"),
    ],
)
def test_health_path_is_prefixed_with_script_name(tmp_path, env, path, expected):
    env_file = tmp_path / ".env"
    if env is not None:
        env_file.write_text(env)
    assert health.add_script_name(path, str(env_file)) == expected


@pytest.mark.parametrize("planted", ["pipe", "link"])
def test_foreign_environment_file_does_not_block_or_redirect_a_check(tmp_path, as_root, planted):
    env_file = tmp_path / ".env"
    if planted == "pipe":
        os.mkfifo(env_file)
    else:
        (tmp_path / "secret").write_text("SCRIPT_NAME=/secret\n")
        env_file.symlink_to(tmp_path / "secret")
        os.lchown(env_file, 4711, 4711)
    assert health.add_script_name("/health", str(env_file)) == "/health"
    assert live_process.compute_file_digests({}, [str(env_file)]) == {}
