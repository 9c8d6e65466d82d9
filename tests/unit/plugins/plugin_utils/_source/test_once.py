# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import concurrent.futures
import hashlib
import http.server
import io
import multiprocessing
import tarfile
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.plugins.plugin_utils._source import resolve as resolve_module
from ansible_collections.flaskops.production.plugins.plugin_utils._source.once import run_once
from ansible_collections.flaskops.production.plugins.plugin_utils._source.request import SourceRequest
from ansible_collections.flaskops.production.plugins.plugin_utils._source.tree import SourceError

FORK = multiprocessing.get_context("fork")  # as Ansible's workers


def run_in_processes(work, count: int = 8) -> list:
    """Start `count` processes at the same time, and return their results."""
    start, answers = FORK.Event(), FORK.Queue()

    def one():
        start.wait()
        try:
            answers.put(work())
        except SourceError as error:
            answers.put(str(error))

    processes = [FORK.Process(target=one) for __ in range(count)]
    for process in processes:
        process.start()
    start.set()
    found = [answers.get(timeout=300) for __ in processes]
    for process in processes:
        process.join()
    return found


def test_concurrent_processes_do_the_work_once(tmp_path):
    log = tmp_path / "log"

    def work(inside: Path) -> dict:
        with log.open("a") as out:
            out.write("x")
        return {"inside": str(inside)}

    answers = run_in_processes(lambda: run_once(tmp_path / "run", "key", work))
    assert len({str(answer) for answer in answers}) == 1
    assert log.read_text() == "x"
    assert run_once(tmp_path / "run", "another key", work) != answers[0]


def test_waiting_processes_share_an_error_and_later_ones_try_again(tmp_path):
    log = tmp_path / "log"

    def work(inside: Path) -> dict:
        with log.open("a") as out:
            out.write("x")
        # Wait until the other processes wait for the lock. A later process would try again.
        lock = f":{(inside.parent / 'lock').stat().st_ino} "
        while sum("->" in line and lock in line for line in Path("/proc/locks").read_text().splitlines()) < 7:
            time.sleep(0.01)
        raise SourceError("the server is down")

    assert run_in_processes(lambda: run_once(tmp_path / "run", "key", work)) == ["the server is down"] * 8
    assert log.read_text() == "x"
    assert run_once(tmp_path / "run", "key", lambda _: {"now": "it works"}) == {"now": "it works"}


def test_interrupted_work_leaves_no_files(tmp_path):
    def interrupted(inside: Path) -> dict:
        (inside / "half").write_text("")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_once(tmp_path, "key", interrupted)
    assert run_once(tmp_path, "key", lambda inside: {"there": [p.name for p in inside.iterdir()]}) == {"there": []}


def test_concurrent_processes_resolve_a_directory_once(files, tmp_path):
    root = files(tmp_path / "app", {"wsgi.py": "app = 1\n"})
    request = SourceRequest(directory=str(root))
    releases = run_in_processes(lambda: resolve_module.resolve_source(request, tmp_path / "run"))
    assert [release for release in releases if release != releases[0]] == []
    assert len(list((tmp_path / "run").glob("*/work/release.tar.gz"))) == 1
    (root / "wsgi.py").write_text("app = 2\n")
    assert resolve_module.resolve_source(request, tmp_path / "run") == releases[0]


# URLs


@pytest.fixture
def server(tmp_path):
    """Serve an archive and record requests. /redirect redirects to the archive, /encoded labels it as compressed."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        info = tarfile.TarInfo("app/wsgi.py")
        info.mtime = 1_776_772_800
        archive.addfile(info)
    data = packed.getvalue()
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            path = self.path.partition("?")[0]
            if path == "/redirect":
                self.send_response(302)
                self.send_header("Location", "/app.tar.gz")
                self.end_headers()
                return
            self.send_response(200 if path in ("/app.tar.gz", "/encoded") else 404)
            if path == "/encoded":
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.requests, httpd.sha256 = requests, hashlib.sha256(data).hexdigest()
        httpd.url = f"http://127.0.0.1:{httpd.server_port}"
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield httpd
        httpd.shutdown()


@pytest.mark.parametrize(
    ("path", "spelling"), [("/app.tar.gz", "{}"), ("/redirect", "sha256:{}"), ("/encoded", "SHA256:{}")]
)
def test_archive_is_fetched_from_a_url(resolve, server, path, spelling):
    release = resolve(
        archive=f"{server.url}{path}", archive_checksum=spelling.format(server.sha256), strip_components=1
    )
    assert release["name"] == f"2026-04-21-120000-{release['digest'][:7]}"
    assert release["source"]["location"] == f"{server.url}{path}"


def test_url_is_fetched_once_per_run(resolve, server):
    url, checksum = f"{server.url}/app.tar.gz", server.sha256
    for name in ("one", "two"):
        resolve(archive=url, archive_checksum=checksum, strip_components=1, name=name)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: resolve(archive=url, archive_checksum=checksum, name=f"n{n % 2}"), range(8)))
    assert server.requests == ["/app.tar.gz"]


def test_result_does_not_show_credentials_of_a_url(resolve, server):
    url = server.url.replace("//", "//bob:hunter22@") + "/app.tar.gz?signature=abcdef"
    release = resolve(archive=url, archive_checksum=server.sha256)
    assert release["source"]["location"] == f"{server.url}/app.tar.gz"
    assert server.requests == ["/app.tar.gz?signature=abcdef"]
    assert "hunter22" not in str(release)


REJECTED_URLS = {
    "wrong checksum": ("/app.tar.gz", ["release_archive_checksum", "/app.tar.gz has the SHA-256", "not " + "0" * 64]),
    "no such file": ("/nope", ["release_archive: ", "/nope cannot be fetched", "404"]),
}


@pytest.mark.parametrize(("path", "expected"), REJECTED_URLS.values(), ids=REJECTED_URLS)
def test_rejected_url_is_reported_without_credentials(resolve, server, path, expected):
    url = server.url.replace("//", "//bob:hunter22@") + path + "?signature=abcdef"
    with pytest.raises(SourceError) as refusal:
        resolve(archive=url, archive_checksum="0" * 64)
    message = str(refusal.value)
    assert [word for word in expected if word not in message] == []
    assert [secret for secret in ("bob", "hunter22", "abcdef") if secret in message] == []


def test_unreachable_url_is_rejected(resolve):
    with pytest.raises(SourceError, match=r"release_archive: https://127.0.0.1:1/a.tgz cannot be fetched"):
        resolve(archive="https://127.0.0.1:1/a.tgz", archive_checksum="0" * 64)
