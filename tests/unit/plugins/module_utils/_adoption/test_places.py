# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data behind links, beside the code and outside of the deployment is adopted, or is an obstacle."""

from __future__ import annotations

import os
import socket
import sqlite3
import time

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._adoption.places import (
    LARGE,
    Surroundings,
    find_named_paths,
    replace_paths,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import AdoptionPlan, PlanRequest
from ansible_collections.flaskops.production.plugins.module_utils._adoption.planner import plan_adoption
from ansible_collections.flaskops.production.plugins.module_utils._adoption.settings import plan_packages
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import (
    MAX_SCANNED,
    Account,
    read_node,
    scan_tree,
)
from ansible_collections.flaskops.production.plugins.module_utils._nginx import parser

ROOT = "/srv/shop"
ADA = 4711


def put(path, content="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def database(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE entry (id INTEGER)")
    connection.commit()
    connection.close()
    return path


class Old:
    """An old deployment: a directory, the code in it, and the plan of its adoption."""

    def __init__(self, top, code):
        self.top, self.code = top, top / code
        for name in ("wsgi.py", "requirements.txt", "static/shop.css"):
            put(self.code / name)
        self.environment, self.opened, self.units, self.leave, self.logs = "", (), (), (), ()
        self.live, self.site, self.env_files, self.started = str(self.code), "", [], 0.0
        self.unit = {}

    def plan(self, *given, root=ROOT, limit=MAX_SCANNED, user=0, **more):
        facts = Facts("shop", str(self.top), code=str(self.code), live=self.live, listen="127.0.0.1:8000")
        words = "/env/bin/gunicorn -b 127.0.0.1:8000 wsgi:app"
        facts.unit = {"Id": "shop-web.service", "ActiveState": "active", "ExecStart": f"{{ argv[]={words} ; }}"}
        facts.unit.update(self.unit)
        facts.tree, facts.truncated = scan_tree(str(self.code), limit=limit)
        facts.nodes = {str(self.code): read_node(str(self.code))}
        facts.runtime_user = Account("ada", user, (user,), "ada") if user else Account("root", 0, (0,), "root")
        facts.env_files, facts.started = self.env_files, self.started
        site = f"server {{ {self.site} location / {{ proxy_pass http://127.0.0.1:8000; }} }}"
        if "location /" in self.site and "@app" in self.site:
            site = f"server {{ {self.site} }}"
        files = {"/etc/nginx/nginx.conf": "http { include conf.d/*; }", "/etc/nginx/conf.d/shop.conf": site}
        facts.config = parser.build_config(parser.resolve_includes(files, "/etc/nginx/nginx.conf"))
        facts.nginx_state = "valid"
        beside = (
            scan_tree(str(self.top), (str(self.code), str(self.top / "releases")))[0] if self.top != self.code else []
        )
        surroundings = Surroundings(self.environment, self.opened, self.logs, self.units, tuple(beside), self.leave)
        return plan_adoption(
            PlanRequest(facts, root, frozenset(given), surroundings=surroundings, excluded=("*.md",), **more)
        )


def list_moves(found):
    """Return the target and the link of each move by its source."""
    assert found.obstacles == []
    return {move.source: (move.target, move.link) for move in found.moves}


def get_obstacle(found):
    """Return the obstacles of a plan."""
    (message,) = found.obstacles
    return message


# --- a tree of Capistrano or Ansistrano ------------------------------------------------------------------------------


@pytest.fixture
def capistrano(tmp_path):
    old = Old(tmp_path / "cap", "releases/20260421120000")
    put(old.top / "releases/20260420083000/wsgi.py")
    (old.top / "current").symlink_to("releases/20260421120000")
    old.live = str(old.top / "current")
    database(old.top / "shared/db/shop.sqlite3")
    put(old.top / "shared/public/uploads/cat.png")
    put(old.top / "shared/log/shop.log")
    put(old.top / "shared/config/settings.yml")
    (old.top / "shared/tmp/cache").mkdir(parents=True)
    return old


@pytest.mark.parametrize("relative", [True, False])
def test_directories_linked_by_another_tool_are_copied(capistrano, relative):
    for name in ("db", "public/uploads", "log", "config/settings.yml", "tmp/cache"):
        link = capistrano.code / name
        link.parent.mkdir(parents=True, exist_ok=True)
        target = capistrano.top / "shared" / name
        link.symlink_to(os.path.relpath(target, link.parent) if relative else target)
    found = capistrano.plan()
    shared = capistrano.top / "shared"
    assert list_moves(found) == {
        str(shared / "db"): ("db", "db"),
        str(shared / "public/uploads"): ("public/uploads", "public/uploads"),
        str(shared / "log"): ("logs", "log"),
        str(shared / "config/settings.yml"): ("config/settings.yml", "config/settings.yml"),
        str(shared / "tmp/cache"): ("tmp/cache", "tmp/cache"),
    }
    paths = found.variables["release_shared_paths"]
    assert sorted(paths) == ["config/settings.yml", "db/", "log/", "public/uploads/", "tmp/cache/"]
    # The release gets its own links in their place.
    assert {str(capistrano.code / name.rstrip("/")) for name in paths} <= set(found.exclude)


def test_a_linked_database_gets_a_writable_directory(capistrano):
    (capistrano.code / "production.sqlite3").symlink_to("../../shared/db/shop.sqlite3")
    (move,) = capistrano.plan().moves
    assert (move.kind, move.target, move.via) == ("database", "database/production.sqlite3", "production.sqlite3")


def test_nginx_can_read_linked_directories_that_it_serves(capistrano):
    capistrano.site = f"location /static/ {{ alias {capistrano.top}/current/static/; }}"
    (capistrano.code / "static/avatars").symlink_to("../../../shared/public")
    (capistrano.code / "state").symlink_to("../../shared/tmp")
    capistrano.leave = (f"{capistrano.top}/shared/db",)
    found = capistrano.plan()
    assert {move.link: move.kind for move in found.moves} == {"static/avatars": "uploads", "state": "data"}


def test_linked_secrets_keep_restricted_modes(capistrano):
    put(capistrano.top / "shared/.env.production")
    (capistrano.code / ".env.production").symlink_to("../../shared/.env.production")
    capistrano.leave = (f"{capistrano.top}/shared/db", f"{capistrano.top}/shared/public")
    (move,) = capistrano.plan().moves
    assert (move.kind, move.target) == ("key", ".env.production")


def test_linked_settings_that_name_data_by_path_are_an_obstacle(capistrano):
    put(capistrano.top / "shared/config/settings.yml", f"files: {capistrano.top}/shared/public\n")
    (capistrano.code / "config").symlink_to("../../shared/config")
    capistrano.leave = (f"{capistrano.top}/shared/db", f"{capistrano.top}/shared/public/uploads")
    message = get_obstacle(capistrano.plan())
    assert f"{capistrano.top}/shared/config/settings.yml:1 ({capistrano.top}/shared/public)" in message


def test_nested_links_share_one_copy(capistrano):
    (capistrano.code / "public").mkdir()
    (capistrano.code / "public/files").symlink_to("../../../shared/public/uploads")
    (capistrano.code / "public_html").symlink_to("../../shared/public")
    capistrano.leave = (f"{capistrano.top}/shared/db",)
    moves = list_moves(capistrano.plan())
    assert moves[str(capistrano.top / "shared/public")] == ("public_html", "public_html")
    assert moves[str(capistrano.top / "shared/public/uploads")] == ("public_html/uploads", "public/files")


@pytest.mark.parametrize("name", ["db/", "public/uploads/"])
def test_given_shared_paths_may_be_links(capistrano, name):
    link = capistrano.code / name.rstrip("/")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(capistrano.top / "shared" / name)
    capistrano.leave = tuple(f"{capistrano.top}/shared/{other}" for other in ("db", "public") if other not in name)
    moves = list_moves(capistrano.plan("release_shared_paths", shared_paths=[name]))
    assert moves == {str(capistrano.top / "shared" / name.rstrip("/")): (name.rstrip("/"), name.rstrip("/"))}


def test_data_missing_in_given_shared_paths_is_an_obstacle(tmp_path):
    old = Old(tmp_path / "shop", ".")
    database(old.code / "shop.db")
    put(old.code / "uploads/cat.png")
    put(old.code / "logs/x")
    message = get_obstacle(old.plan("release_shared_paths", shared_paths=["uploads/"]))
    assert message.startswith(
        f"{old.code}/shop.db is data (an SQLite database), but release_shared_paths does not have shop.db"
    )
    old.leave = (f"{old.code}/shop.db",)
    found = old.plan("release_shared_paths", shared_paths=["uploads/"])
    assert list_moves(found) == {f"{old.code}/uploads": ("uploads", "uploads")}
    assert any(text.startswith(f"{old.code}/logs is not copied") for text in found.attention)
    # A given part of a directory is a decision about the whole directory.
    put(old.code / "uploads/more/x")
    assert list_moves(old.plan("release_shared_paths", shared_paths=["uploads/more/"])) != {}


def test_links_into_the_layout_are_not_copied(capistrano):
    root = str(capistrano.top)
    for name in ("db", "files"):
        (capistrano.code / name).symlink_to(f"../../shared/{'db' if name == 'db' else 'public'}")
    found = capistrano.plan(root=root)
    assert list_moves(found) == {f"{root}/shared/public": ("public", "files")}
    assert (found.shared, found.moves[0].via) == (["db/", "files"], "files")


def test_a_written_directory_behind_an_outside_link_stays_writable(capistrano, tmp_path, as_root, monkeypatch):
    monkeypatch.setattr(
        "ansible_collections.flaskops.production.plugins.module_utils._adoption.places.SYSTEM", ("/dev", "/proc")
    )
    put(tmp_path / "mnt/uploads/cat.png")
    os.chown(tmp_path / "mnt/uploads", ADA, ADA)
    (capistrano.code / "uploads").symlink_to(tmp_path / "mnt/uploads")
    capistrano.leave = (f"{capistrano.top}/shared",)
    found = capistrano.plan(user=ADA)
    assert found.obstacles == []
    assert found.variables["gunicorn_systemd_read_write_paths"] == [str(tmp_path / "mnt/uploads")]


def test_links_between_data_directories_are_an_obstacle(capistrano):
    (capistrano.code / "uploads").symlink_to("../../shared/public/uploads")
    (capistrano.top / "shared/public/uploads/log").symlink_to("../../log")
    capistrano.leave = (f"{capistrano.top}/shared/db",)
    assert "Links in the data lead to other parts" in get_obstacle(capistrano.plan())


# --- data beside the code --------------------------------------------------------------------------------------------


@pytest.fixture
def beside(tmp_path):
    old = Old(tmp_path / "shop", "src")
    database(old.top / "data/shop.db")
    put(old.top / "data/uploads/cat.png")
    put(old.top / "README.md")
    return old


@pytest.mark.parametrize(
    ("value", "new"),
    [
        ("{top}/data/shop.db", "/srv/shop/shared/data/shop.db"),
        ("sqlite:///{top}/data/shop.db?timeout=30", "sqlite:////srv/shop/shared/data/shop.db?timeout=30"),
        ("../data/shop.db", "/srv/shop/shared/data/shop.db"),
        ("sqlite:///../data/shop.db", "sqlite:////srv/shop/shared/data/shop.db"),
        ('"{top}/data"', '"/srv/shop/shared/data"'),
        ("{top}/data/not-there-yet.db", "/srv/shop/shared/data/not-there-yet.db"),
    ],
)
def test_data_that_variables_name_is_copied_and_renamed(beside, value, new):
    beside.environment = f"DATABASE={value.format(top=beside.top)}\n"
    found = beside.plan()
    assert list_moves(found) == {str(beside.top / "data"): ("data", "")}
    assert replace_paths(beside.environment, found.rewrites, str(beside.code)) == f"DATABASE={new}\n"
    assert any("DATABASE names paths of the old deployment" in text for text in found.attention)


def test_a_named_socket_is_not_data(beside):
    (beside.top / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{beside.top}/run/s")
        beside.environment = f"DATA={beside.top}/data\nSOCKET={beside.top}/run/s\n"
        assert list_moves(beside.plan()) == {str(beside.top / "data"): ("data", "")}


def test_variables_with_paths_of_the_code_get_new_paths(beside):
    beside.environment = f"A={beside.code}/wsgi.py\nB={beside.code}-old/x\nC=/x{beside.code}\nDATA={beside.top}/data\n"
    found = beside.plan()
    text = replace_paths(beside.environment, found.rewrites, str(beside.code))
    assert text.splitlines()[:3] == ["A=/srv/shop/app/wsgi.py", f"B={beside.code}-old/x", f"C=/x{beside.code}"]


def test_unreachable_data_is_an_obstacle(beside):
    message = get_obstacle(beside.plan())
    assert (
        f"{beside.top}/data" in message
        and "no environment variable and no link" in message
        and "adopt_leave" in message
    )
    beside.leave = (f"{beside.top}/data",)
    assert list_moves(beside.plan()) == {}


def test_files_beside_the_code_written_since_the_start_are_data(beside, as_root):
    beside.environment = f"DATABASE={beside.top}/data/shop.db\n"
    beside.started = time.time() - 60
    counted = put(beside.top / "state/counter.bin")
    for path in (counted, beside.top / "README.md"):
        os.chown(path, ADA, ADA)
    os.utime(beside.top / "README.md", (1, 1))
    message = get_obstacle(beside.plan(user=ADA))
    assert message.startswith(f"{counted} is data (it has been written to since the service started)")
    os.utime(counted, (1, 1))
    beside.opened = (str(counted),)
    assert get_obstacle(beside.plan(user=ADA)).startswith(f"{counted} is data")
    beside.logs = beside.opened
    assert list_moves(beside.plan(user=ADA)) == {str(beside.top / "data"): ("data", "")}


def test_a_variable_that_names_the_whole_deployment_is_an_obstacle(beside):
    beside.environment = f"BASE={beside.top}\nDATABASE={beside.top}/data/shop.db\n"
    assert any(
        message.startswith(f"BASE names {beside.top}, which holds the code and more")
        for message in beside.plan().obstacles
    )


def test_old_paths_in_a_common_environment_file_are_an_obstacle(tmp_path):
    old = Old(tmp_path / "shop", "src")
    database(old.top / "data/shop.db")
    file = put(old.top / "shared/.env", f"DATABASE={old.top}/data/shop.db\n")
    old.environment, old.env_files = file.read_text(), [str(file)]
    message = get_obstacle(old.plan(root=str(old.top)))
    assert "is the environment file of both deployments, and has paths in DATABASE" in message


def test_code_that_names_its_data_by_path_is_an_obstacle(beside):
    beside.environment = f"DATABASE={beside.top}/data/shop.db\n"
    put(beside.code / "settings.py", f"# {beside.top}/data\nUPLOADS = '{beside.top}/data/uploads'\n")
    put(beside.code / "notes.md", f"{beside.top}/data\n")
    message = get_obstacle(beside.plan())
    assert f"The code names data by its old path: {beside.code}/settings.py:2 ({beside.top}/data/uploads)" in message
    put(beside.code / "settings.py", f"import sys\nsys.path.append('{beside.code}')\n")
    found = beside.plan()
    assert found.obstacles == []
    assert any(f"settings.py:2 ({beside.code})" in text for text in found.attention)


def test_outside_data_stays_writable(beside, tmp_path, as_root, monkeypatch):
    monkeypatch.setattr(
        "ansible_collections.flaskops.production.plugins.module_utils._adoption.places.SYSTEM", ("/dev", "/proc")
    )
    place = tmp_path / "var/lib/shop"
    put(place / "x.bin")
    put(tmp_path / "var/lib/readonly/x.bin")
    for path in (place, place / "x.bin"):
        os.chown(path, ADA, ADA)
    beside.leave = (f"{beside.top}/data",)
    beside.environment = f"STATE={place}/x.bin\nWORDS={tmp_path}/var/lib/readonly/x.bin\n"
    found = beside.plan(user=ADA)
    assert (found.obstacles, found.variables["gunicorn_systemd_read_write_paths"]) == ([], [str(place)])
    beside.environment, beside.unit = "", {"ReadWritePaths": f"-{place}"}
    assert beside.plan(user=ADA).variables["gunicorn_systemd_read_write_paths"] == [str(place)]
    beside.unit, beside.opened = {}, (f"{place}/x.bin",)
    assert beside.plan().variables["gunicorn_systemd_read_write_paths"] == [str(place)]
    monkeypatch.setattr(
        "ansible_collections.flaskops.production.plugins.module_utils._adoption.other_data.HIDDEN",
        (str(tmp_path / "var"),),
    )
    assert "the new units hide it" in get_obstacle(beside.plan())


def test_paths_in_an_environment_are_found():
    text = (
        "A=/a/b\nexport B='x:/c/d'\nC=../e\nD=sqlite:////f/g.db\nPATH=/usr/bin\nE=https://example.org/h\nF=../../i/j\n"
    )
    found = find_named_paths(text, "/code/src")
    assert [path for _name, path in found] == ["/a/b", "/c/d", "/code/e", "/f/g.db", "/example.org/h", "/i/j"]


# --- many files ------------------------------------------------------------------------------------------------------


def test_large_directories_below_static_are_data(tmp_path):
    old = Old(tmp_path / "shop", ".")
    (old.code / "static/avatars").mkdir()
    for number in range(LARGE):
        (old.code / f"static/avatars/{number}.png").touch()
    assert list_moves(old.plan()) == {str(old.code / "static/avatars"): ("static/avatars", "static/avatars")}


def test_too_many_files_for_code_are_an_obstacle(tmp_path, monkeypatch):
    module = "ansible_collections.flaskops.production.plugins.module_utils._adoption.obstacles"
    monkeypatch.setattr(f"{module}.MAX_SCANNED", 50)
    old = Old(tmp_path / "shop", ".")
    for number in range(60):
        put(old.code / f"uploads/{number}.png")
        put(old.code / f"words/{number}.py")
    message = get_obstacle(old.plan())
    assert "has too many files for code, most of them in" in message and f"{old.code}/words" in message
    monkeypatch.setattr(f"{module}.MAX_SCANNED", 100)
    assert list_moves(old.plan()) == {str(old.code / "uploads"): ("uploads", "uploads")}


def test_files_in_the_code_written_since_the_start_are_data(tmp_path, as_root):
    old = Old(tmp_path / "shop", ".")
    old.started = time.time() - 60
    for path in (old.code / "static/avatars/2026/11/a.png", old.code / "counter", old.code / "static/shop.css"):
        os.chown(put(path), ADA, ADA)
    os.chown(old.code, ADA, ADA)
    assert list_moves(old.plan(user=ADA)) == {
        str(old.code / "static/avatars"): ("static/avatars", "static/avatars"),
        str(old.code / "counter"): ("data/counter", "counter"),
    }


# --- other services --------------------------------------------------------------------------------------------------


def test_a_running_worker_with_common_data_is_an_obstacle(beside):
    beside.environment = f"DATABASE={beside.top}/data/shop.db\n"
    beside.units = (("shop-worker.service", True),)
    message = get_obstacle(beside.plan())
    assert message.startswith(f"shop-worker.service runs from {beside.top}, too") and "stop and disable it" in message
    beside.units = (("shop-worker.service", False),)
    found = beside.plan()
    assert found.obstacles == []
    assert any(text.startswith("shop-worker.service names") for text in found.attention)
    beside.units, beside.leave = (("shop-worker.service", True),), ("shop-worker.service",)
    assert beside.plan().obstacles == []


def test_a_worker_without_common_data_is_only_reported(beside):
    beside.leave, beside.units = (f"{beside.top}/data",), (("shop-worker.service", True),)
    found = beside.plan()
    assert found.obstacles == []
    assert any(text.startswith("shop-worker.service names") for text in found.attention)


# --- the site --------------------------------------------------------------------------------------------------------


@pytest.fixture
def public(tmp_path):
    old = Old(tmp_path / "shop", ".")
    for name in ("robots.txt", "favicon.ico", ".htaccess", "secret.py", "img/logo.png", "uploads/a.png"):
        put(old.code / "public" / name)
    root = f"root {old.code}/public;"
    old.site = f"{root} location / {{ try_files $uri @app; }} location @app {{ proxy_pass http://127.0.0.1:8000; }}"
    return old


def test_files_served_at_the_root_url_stay_served(public):
    found = public.plan()
    here = f"{ROOT}/app/public"
    assert found.variables["nginx_site_extra"].splitlines() == [
        f"location = /favicon.ico {{ root {here}; disable_symlinks on from={here}; }}",
        f"location = /robots.txt {{ root {here}; disable_symlinks on from={here}; }}",
    ]
    assert found.variables["nginx_site_locations"] == [
        {"path": "/img/", "directory": f"{here}/img"},
        {"path": "/uploads/", "directory": f"{ROOT}/shared/public/uploads"},
    ]
    named = public.plan("nginx_site_extra")
    assert any("serves /favicon.ico, /robots.txt from" in text for text in named.attention)


def test_static_files_below_the_root_url_are_found(public):
    put(public.code / "public/static/site.css")
    found = public.plan()
    assert found.variables["nginx_site_static_url"] == "/static/"
    assert found.variables["release_static_paths"] == ["public/static"]
    assert [item["path"] for item in found.variables["nginx_site_locations"]] == ["/img/", "/uploads/"]


# --- versions --------------------------------------------------------------------------------------------------------


def test_unpinned_and_unlisted_packages_are_reported(tmp_path):
    old = Old(tmp_path / "shop", ".")
    put(old.code / "requirements.txt", "flask\nredis==5.0.1\n")
    site = tmp_path / "env/lib/python3.11/site-packages"
    for name, asked in (("flask-3.0.0", True), ("redis-5.0.1", True), ("click-8.1.3", False), ("sentry_sdk-2.0", True)):
        put(site / f"{name}.dist-info/METADATA")
        if asked:
            put(site / f"{name}.dist-info/REQUESTED")
    facts = Facts("shop", str(old.top), code=str(old.code), program=f"{tmp_path}/env/bin/gunicorn")
    facts.packages = ["click 8.1.3", "flask 3.0.0", "redis 5.0.1", "sentry-sdk 2.0"]
    found = AdoptionPlan()
    plan_packages(PlanRequest(facts, ROOT), found)
    unpinned, unlisted = found.attention
    assert unpinned.startswith("requirements.txt pins no version of click 8.1.3, flask 3.0.0, sentry-sdk 2.0")
    assert unlisted.startswith(f"sentry-sdk is installed in {tmp_path}/env, but not in requirements.txt")
