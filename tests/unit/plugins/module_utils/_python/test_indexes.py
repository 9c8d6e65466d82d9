# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import http.server
import threading

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._python import indexes


@pytest.fixture
def index():
    """Start an index with configurable responses, which records its requests."""

    class Handler(http.server.BaseHTTPRequestHandler):
        requests = []
        answers = {}
        password = "right"

        def do_GET(self):
            self.requests.append((self.path, self.headers.get("Authorization")))
            expected = base64.b64encode(f"me:{self.password}".encode()).decode()
            status = self.answers.get(self.path.split("/")[-2], 200)
            if self.password and self.headers.get("Authorization") != f"Basic {expected}":
                status = 401
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        Handler.port = server.server_port
        yield Handler
        server.shutdown()


def check_index(index, password, *names):
    url = f"http://me:{password}@127.0.0.1:{index.port}/simple/"
    return indexes.check_index(indexes.Index(url, "venv_extra_index_urls"), list(names or ["web"]), {"no_proxy": "*"})


def test_wrong_password_is_reported_without_showing_it(index):
    message = check_index(index, "wrong")
    assert message.startswith(f"The package index http://****@127.0.0.1:{index.port}/simple/ (venv_extra_index_urls)")
    assert "answered 401" in message and "wrong:" not in message
    assert check_index(index, "right") is None
    assert {path for path, _sent in index.requests} == {"/simple/web/"}


def test_escaped_password_is_decoded(index):
    index.password = "p@ss/word"
    assert check_index(index, "p%40ss%2Fword") is None


@pytest.mark.parametrize(
    ("answers", "refused"),
    [
        ({"web": 403, "base": 403}, True),
        # The index of PyTorch sends 403 for missing packages.
        ({"web": 403, "base": 200}, False),
        ({"web": 404}, False),
        ({"web": 500}, False),
        ({"web": 302}, False),
    ],
)
def test_refusal_statuses_are_recognized(index, answers, refused):
    index.answers = answers
    assert bool(check_index(index, "right", "web", "base")) is refused


def test_unreachable_index_is_ignored():
    unreachable = indexes.Index("http://me:pw@127.0.0.1:9/simple", "venv_index_url")
    assert indexes.check_index(unreachable, ["web"], {"no_proxy": "*"}) is None


def test_all_configured_indexes_are_listed(tmp_path, monkeypatch):
    configuration = tmp_path / "pip.conf"
    configuration.write_text("[global]\nextra-index-url =\n  https://six.example/simple\n  https://seven.example/\n")
    monkeypatch.setattr(indexes, "CONFIGURATION", (str(configuration), "/nonexistent"))
    found = indexes.list_indexes(
        indexes.Index("https://one.example/", "venv_index_url"),
        ["https://two.example/", "file:///srv/wheels"],
        {"PIP_EXTRA_INDEX_URL": "https://three.example/", "UV_INDEX": "own=https://four.example/"},
        {"requirements.txt": "--extra-index-url https://five.example/\nflask\n-i https://one.example"},
    )
    assert [(index.url.split(".")[0].partition("//")[2], index.setting) for index in found] == [
        ("one", "venv_index_url"),
        ("two", "venv_extra_index_urls"),
        ("three", "venv_environment (PIP_EXTRA_INDEX_URL)"),
        ("four", "venv_environment (UV_INDEX)"),
        ("five", "requirements.txt"),
        ("six", str(configuration)),
        ("seven", str(configuration)),
    ]
