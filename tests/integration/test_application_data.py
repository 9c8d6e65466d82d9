# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test an application below a path that writes uploads and a database, and reads a file of its release by its path.

The tests are in order: the last one rolls back.
"""

from __future__ import annotations

import docker_hosts
import pytest
from build import image
from environment import CONTAINER_UV, docker, find_uv

from ansible_collections.flaskops.production.tests.integration.conftest import Host, PlaybookResult
from ansible_collections.flaskops.production.tests.unit.programs import require

pytestmark = pytest.mark.xdist_group("application_data")

WSGI = '''\
import os
import sqlite3
from pathlib import Path

OWN, CONFIG = Path("settings.cfg").read_text(), Path(os.environ["SHOP_CONFIG"]).read_text()
if CONFIG != OWN:
    raise RuntimeError(f"{os.environ['SHOP_CONFIG']} is that of {CONFIG}, but this is {OWN}")


def application(environ, start_response):
    """POST /upload writes a file, and POST /entry a row; other requests return the path, the release and the rows."""
    with sqlite3.connect("data/shop.db") as database:
        database.execute("CREATE TABLE IF NOT EXISTS entry (number INTEGER PRIMARY KEY)")
        if environ["PATH_INFO"] == "/upload":
            Path("static/uploads/cat.txt").write_text("purr")
            print("uploaded a cat")
        if environ["PATH_INFO"] == "/entry":
            database.execute("INSERT INTO entry DEFAULT VALUES")
        rows = database.execute("SELECT count(*) FROM entry").fetchone()[0]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['SCRIPT_NAME']} {CONFIG} {rows}".encode()]
'''
ASK = """
import json, sys, urllib.error, urllib.request
method, path = json.load(sys.stdin)
request = urllib.request.Request("http://127.0.0.1" + path, method=method)
try:
    with urllib.request.urlopen(request, timeout=30) as response:
        print(json.dumps([response.status, response.read().decode()]))
except urllib.error.HTTPError as error:
    print(json.dumps([error.code, error.read().decode()]))
"""
SHARED_PATHS = ["static/uploads/", "data/"]


class ShopHost(Host):
    """A host with a release of the application, each of which has its own settings.cfg."""

    def deploy(self, playbook: str, release: str, **variables) -> PlaybookResult:
        place = self.place / release
        for name in ("static", "vendor/dist"):
            (place / name).mkdir(parents=True, exist_ok=True)
        files = {"wsgi.py": WSGI, "requirements.txt": "", "settings.cfg": release, "vendor/dist/vendor.js": "// vendor"}
        for name, text in files.items():
            (place / name).write_text(text)
        if not (place / "static/vendor").is_symlink():
            (place / "static/vendor").symlink_to("../vendor/dist")
        return self.play(playbook, release_name=release, release_directory=str(place), **variables)

    def ask(self, method: str, path: str) -> tuple[int, str]:
        """Send a request through Nginx, and return the status and the body."""
        status, body = self.python(ASK, [method, path])
        return status, body


@pytest.fixture(scope="module")
def host(requires_docker, tmp_path_factory):
    require("docker")
    variables = {
        "flask_app_name": "shop",
        "flask_app_wsgi": "wsgi:application",
        "flask_app_env": {"SCRIPT_NAME": "/shop", "SHOP_CONFIG": "/srv/shop/app/settings.cfg"},
        "nginx_site_static_url": "/shop/static/",
        "release_health_path": "/health",
        "release_shared_paths": SHARED_PATHS,
        **({"venv_installer": "uv", "venv_uv": CONTAINER_UV} if find_uv() else {}),
    }
    container = docker_hosts.start(image("debian13", ready=True))
    try:
        host = ShopHost(container, tmp_path_factory.mktemp("shop"), variables)
        for playbook, release in (("site", "one"), ("deploy", "two")):
            result = host.deploy(playbook, release)
            assert not result.failed, result.output
        yield host
    finally:
        docker_hosts.remove(container)


def test_application_below_a_path_goes_live(host):
    assert host.ask("GET", "/shop/page") == (200, "/shop two 0")


def test_upload_below_static_files_is_served_by_nginx(host):
    """The application has its own user, whose files Nginx can read only by their group."""
    assert host.ask("POST", "/shop/upload")[0] == 200
    assert host.ask("GET", "/shop/static/uploads/cat.txt") == (200, "purr")
    owner = docker("exec", host.container, "stat", "--format=%U %G %a", "/srv/shop/shared/static/uploads/cat.txt")
    assert owner == "shop www-data 640"


def test_printed_lines_are_in_the_journal_at_once(host):
    assert host.ask("POST", "/shop/upload")[0] == 200
    command = "journalctl --sync; journalctl --quiet --unit=shop.service --output=cat"
    assert "uploaded a cat" in docker("exec", host.container, "sh", "-c", command)


def test_directory_link_below_static_files_is_served(host):
    assert host.ask("GET", "/shop/static/vendor/vendor.js") == (200, "// vendor")


def test_database_in_a_shared_directory_is_written(host):
    rows = [host.ask("POST", "/shop/entry") for _time in range(2)]
    assert rows == [(200, "/shop two 1"), (200, "/shop two 2")]


def test_database_that_cannot_be_written_is_refused(host):
    docker("exec", host.container, "sh", "-c", "cp /srv/shop/shared/data/shop.db /srv/shop/shared/app.db")
    docker("exec", host.container, "chown", "shop:shop", "/srv/shop/shared/app.db")
    before = host.ask("GET", "/shop/page")
    result = host.deploy("deploy", "three", release_shared_paths=[*SHARED_PATHS, "app.db"])
    text = " ".join(result.output.split())
    assert result.failed and result.changed == 0, result.output
    assert "release_shared_paths has app.db, an SQLite database, but shop may not write to /srv/shop/shared" in text
    assert "share that directory: instance/." in text
    assert host.ask("GET", "/shop/page") == before


def test_other_settings_are_refused_while_another_run_holds_the_lock(host):
    holder = {"run": "4711", "by": "grace", "controller": "harbour", "process": "", "time": "2026-04-21T12:00:00Z"}
    host.python("import json, sys; open('/srv/shop/.deploy/lock', 'w').write(sys.stdin.read()); print('{}')", holder)
    files = ["sha256sum", "/srv/shop/shared/.env", "/srv/shop/gunicorn.conf.py", "/etc/systemd/system/shop.service"]
    before = docker("exec", host.container, *files)
    result = host.deploy("site", "two", flask_app_env={**host.variables["flask_app_env"], "MORE": "1"})
    text = " ".join(result.output.split())
    assert result.failed and result.changed == 0, result.output
    assert "Another deploy holds /srv/shop/.deploy/lock: grace on harbour since 2026-04-21T12:00:00Z" in text
    assert docker("exec", host.container, *files) == before
    result = host.play("rollback", release_unlock=True, release_rollback_to="two")
    assert not result.failed, result.output
    assert host.ask("GET", "/shop/page")[1].startswith("/shop two")


def test_rollback_below_a_path(host):
    result = host.play("rollback")
    assert not result.failed, result.output
    status, text = host.ask("GET", "/shop/page")
    assert (status, text.split()[:2]) == (200, ["/shop", "one"])
