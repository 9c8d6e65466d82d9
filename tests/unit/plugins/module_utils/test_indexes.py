# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import http.server
import threading

import pytest

from ansible_collections.flaskops.production.plugins.module_utils import _indexes as indexes


@pytest.fixture
def index():
    """An index that answers as it is told, by package, and notes what it is asked."""

    class Handler(http.server.BaseHTTPRequestHandler):
        asked = []
        answers = {}
        password = "right"

        def do_GET(self):
            self.asked.append((self.path, self.headers.get("Authorization")))
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


def refusal(index, password, *names):
    url = f"http://me:{password}@127.0.0.1:{index.port}/simple/"
    return indexes.check_index(indexes.Index(url, "venv_extra_index_urls"), list(names or ["web"]), {"no_proxy": "*"})


def test_a_wrong_password_is_told_without_being_shown(index):
    fault = refusal(index, "wrong")
    assert fault.startswith(f"The package index http://****@127.0.0.1:{index.port}/simple/ (venv_extra_index_urls)")
    assert "answered 401" in fault and "wrong:" not in fault
    assert refusal(index, "right") is None
    assert {path for path, _sent in index.asked} == {"/simple/web/"}


def test_a_password_with_escapes_is_sent_as_it_is_meant(index):
    index.password = "p@ss/word"
    assert refusal(index, "p%40ss%2Fword") is None


@pytest.mark.parametrize(
    ("answers", "refused"),
    [
        ({"web": 403, "base": 403}, True),
        # As the index of PyTorch answers for packages that it lacks.
        ({"web": 403, "base": 200}, False),
        ({"web": 404}, False),
        ({"web": 500}, False),
        ({"web": 302}, False),
    ],
)
def test_what_counts_as_a_refusal(index, answers, refused):
    index.answers = answers
    assert bool(refusal(index, "right", "web", "base")) is refused


def test_an_index_that_is_not_there_is_the_installers_to_report():
    gone = indexes.Index("http://me:pw@127.0.0.1:9/simple", "venv_index_url")
    assert indexes.check_index(gone, ["web"], {"no_proxy": "*"}) is None


def test_every_place_where_an_index_is_set_is_known(tmp_path, monkeypatch):
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
