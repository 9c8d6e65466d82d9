# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data behind links, beside the code and outside: it is copied and found again, or the plan stops."""

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
    """An old deployment: a directory, the code in it, and what a plan of its adoption says."""

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
        around = Surroundings(self.environment, self.opened, self.logs, self.units, tuple(beside), self.leave)
        return plan_adoption(
            PlanRequest(facts, root, frozenset(given), surroundings=around, excluded=("*.md",), **more)
        )


def moved(found):
    """From where, in the old deployment, to where in shared/; and the name in the release."""
    assert found.obstacles == []
    return {move.source: (move.target, move.link) for move in found.moves}


def stopped(found):
    """Why a plan stops: one sentence or more, and nothing else."""
    (said,) = found.obstacles
    return said


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
def test_what_another_tool_links_into_a_release_is_copied_like_directories(capistrano, relative):
    for name in ("db", "public/uploads", "log", "config/settings.yml", "tmp/cache"):
        link = capistrano.code / name
        link.parent.mkdir(parents=True, exist_ok=True)
        target = capistrano.top / "shared" / name
        link.symlink_to(os.path.relpath(target, link.parent) if relative else target)
    found = capistrano.plan()
    shared = capistrano.top / "shared"
    assert moved(found) == {
        str(shared / "db"): ("db", "db"),
        str(shared / "public/uploads"): ("public/uploads", "public/uploads"),
        str(shared / "log"): ("logs", "log"),
        str(shared / "config/settings.yml"): ("config/settings.yml", "config/settings.yml"),
        str(shared / "tmp/cache"): ("tmp/cache", "tmp/cache"),
    }
    paths = found.variables["release_shared_paths"]
    assert sorted(paths) == ["config/settings.yml", "db/", "log/", "public/uploads/", "tmp/cache/"]
    # The release gets links of its own in their place.
    assert {str(capistrano.code / name.rstrip("/")) for name in paths} <= set(found.exclude)


def test_a_database_behind_a_link_gets_a_directory_to_write_in(capistrano):
    (capistrano.code / "production.sqlite3").symlink_to("../../shared/db/shop.sqlite3")
    (move,) = capistrano.plan().moves
    assert (move.kind, move.target, move.via) == ("database", "database/production.sqlite3", "production.sqlite3")


def test_nginx_can_read_what_it_serves_behind_a_link(capistrano):
    capistrano.site = f"location /static/ {{ alias {capistrano.top}/current/static/; }}"
    (capistrano.code / "static/avatars").symlink_to("../../../shared/public")
    (capistrano.code / "state").symlink_to("../../shared/tmp")
    capistrano.leave = (f"{capistrano.top}/shared/db",)
    found = capistrano.plan()
    assert {move.link: move.kind for move in found.moves} == {"static/avatars": "uploads", "state": "data"}


def test_secrets_behind_links_stay_closed(capistrano):
    put(capistrano.top / "shared/.env.production")
    (capistrano.code / ".env.production").symlink_to("../../shared/.env.production")
    capistrano.leave = (f"{capistrano.top}/shared/db", f"{capistrano.top}/shared/public")
    (move,) = capistrano.plan().moves
    assert (move.kind, move.target) == ("key", ".env.production")


def test_settings_behind_a_link_that_name_data_by_path_stop_the_plan(capistrano):
    put(capistrano.top / "shared/config/settings.yml", f"files: {capistrano.top}/shared/public\n")
    (capistrano.code / "config").symlink_to("../../shared/config")
    capistrano.leave = (f"{capistrano.top}/shared/db", f"{capistrano.top}/shared/public/uploads")
    said = stopped(capistrano.plan())
    assert f"{capistrano.top}/shared/config/settings.yml:1 ({capistrano.top}/shared/public)" in said


def test_links_into_each_other_share_one_copy(capistrano):
    (capistrano.code / "public").mkdir()
    (capistrano.code / "public/files").symlink_to("../../../shared/public/uploads")
    (capistrano.code / "public_html").symlink_to("../../shared/public")
    capistrano.leave = (f"{capistrano.top}/shared/db",)
    moves = moved(capistrano.plan())
    assert moves[str(capistrano.top / "shared/public")] == ("public_html", "public_html")
    assert moves[str(capistrano.top / "shared/public/uploads")] == ("public_html/uploads", "public/files")


@pytest.mark.parametrize("name", ["db/", "public/uploads/"])
def test_shared_paths_that_are_set_are_followed_too(capistrano, name):
    link = capistrano.code / name.rstrip("/")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(capistrano.top / "shared" / name)
    capistrano.leave = tuple(f"{capistrano.top}/shared/{other}" for other in ("db", "public") if other not in name)
    moves = moved(capistrano.plan("release_shared_paths", shared_paths=[name]))
    assert moves == {str(capistrano.top / "shared" / name.rstrip("/")): (name.rstrip("/"), name.rstrip("/"))}


def test_data_that_was_forgotten_among_the_shared_paths_stops_the_plan(tmp_path):
    old = Old(tmp_path / "shop", ".")
    database(old.code / "shop.db")
    put(old.code / "uploads/cat.png")
    put(old.code / "logs/x")
    said = stopped(old.plan("release_shared_paths", shared_paths=["uploads/"]))
    assert said.startswith(
        f"{old.code}/shop.db is data (an SQLite database), but release_shared_paths does not have shop.db"
    )
    old.leave = (f"{old.code}/shop.db",)
    found = old.plan("release_shared_paths", shared_paths=["uploads/"])
    assert moved(found) == {f"{old.code}/uploads": ("uploads", "uploads")}
    assert any(text.startswith(f"{old.code}/logs is not copied") for text in found.attention)
    # Who sets a part of a directory has looked at it.
    put(old.code / "uploads/more/x")
    assert moved(old.plan("release_shared_paths", shared_paths=["uploads/more/"])) != {}


def test_a_link_to_where_the_layout_has_it_is_no_copy(capistrano):
    root = str(capistrano.top)
    for name in ("db", "files"):
        (capistrano.code / name).symlink_to(f"../../shared/{'db' if name == 'db' else 'public'}")
    found = capistrano.plan(root=root)
    assert moved(found) == {f"{root}/shared/public": ("public", "files")}
    assert (found.shared, found.moves[0].via) == (["db/", "files"], "files")


def test_a_link_out_of_the_deployment_that_is_written_to_stays_writable(capistrano, tmp_path, as_root, monkeypatch):
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


def test_links_in_data_that_lead_elsewhere_stop_the_plan(capistrano):
    (capistrano.code / "uploads").symlink_to("../../shared/public/uploads")
    (capistrano.top / "shared/public/uploads/log").symlink_to("../../log")
    capistrano.leave = (f"{capistrano.top}/shared/db",)
    assert "Links in the data lead to other parts" in stopped(capistrano.plan())


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
def test_data_that_the_environment_names_is_copied_and_named_anew(beside, value, new):
    beside.environment = f"DATABASE={value.format(top=beside.top)}\n"
    found = beside.plan()
    assert moved(found) == {str(beside.top / "data"): ("data", "")}
    assert replace_paths(beside.environment, found.rewrites, str(beside.code)) == f"DATABASE={new}\n"
    assert any("DATABASE names paths of the old deployment" in text for text in found.attention)


def test_a_socket_that_is_named_is_no_data(beside):
    (beside.top / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{beside.top}/run/s")
        beside.environment = f"DATA={beside.top}/data\nSOCKET={beside.top}/run/s\n"
        assert moved(beside.plan()) == {str(beside.top / "data"): ("data", "")}


def test_paths_of_the_code_are_named_anew_too(beside):
    beside.environment = f"A={beside.code}/wsgi.py\nB={beside.code}-old/x\nC=/x{beside.code}\nDATA={beside.top}/data\n"
    found = beside.plan()
    text = replace_paths(beside.environment, found.rewrites, str(beside.code))
    assert text.splitlines()[:3] == ["A=/srv/shop/app/wsgi.py", f"B={beside.code}-old/x", f"C=/x{beside.code}"]


def test_data_that_nothing_names_stops_the_plan(beside):
    said = stopped(beside.plan())
    assert f"{beside.top}/data" in said and "no environment variable and no link" in said and "adopt_leave" in said
    beside.leave = (f"{beside.top}/data",)
    assert moved(beside.plan()) == {}


def test_what_was_written_since_the_start_is_data_whatever_its_name(beside, as_root):
    beside.environment = f"DATABASE={beside.top}/data/shop.db\n"
    beside.started = time.time() - 60
    counted = put(beside.top / "state/counter.bin")
    for path in (counted, beside.top / "README.md"):
        os.chown(path, ADA, ADA)
    os.utime(beside.top / "README.md", (1, 1))
    said = stopped(beside.plan(user=ADA))
    assert said.startswith(f"{counted} is data (it has been written to since the service started)")
    os.utime(counted, (1, 1))
    beside.opened = (str(counted),)
    assert stopped(beside.plan(user=ADA)).startswith(f"{counted} is data")
    beside.logs = beside.opened
    assert moved(beside.plan(user=ADA)) == {str(beside.top / "data"): ("data", "")}


def test_a_variable_that_names_everything_stops_the_plan(beside):
    beside.environment = f"BASE={beside.top}\nDATABASE={beside.top}/data/shop.db\n"
    assert any(
        said.startswith(f"BASE names {beside.top}, which holds the code and more") for said in beside.plan().obstacles
    )


def test_an_environment_file_of_both_deployments_is_not_changed_beforehand(tmp_path):
    old = Old(tmp_path / "shop", "src")
    database(old.top / "data/shop.db")
    file = put(old.top / "shared/.env", f"DATABASE={old.top}/data/shop.db\n")
    old.environment, old.env_files = file.read_text(), [str(file)]
    said = stopped(old.plan(root=str(old.top)))
    assert "is the environment file of both deployments, and has paths in DATABASE" in said


def test_code_that_names_its_data_by_path_stops_the_plan(beside):
    beside.environment = f"DATABASE={beside.top}/data/shop.db\n"
    put(beside.code / "settings.py", f"# {beside.top}/data\nUPLOADS = '{beside.top}/data/uploads'\n")
    put(beside.code / "notes.md", f"{beside.top}/data\n")
    said = stopped(beside.plan())
    assert f"The code names data by its old path: {beside.code}/settings.py:2 ({beside.top}/data/uploads)" in said
    put(beside.code / "settings.py", f"import sys\nsys.path.append('{beside.code}')\n")
    found = beside.plan()
    assert found.obstacles == []
    assert any(f"settings.py:2 ({beside.code})" in text for text in found.attention)


def test_what_the_service_writes_to_outside_stays_there(beside, tmp_path, as_root, monkeypatch):
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
    assert "the new units hide it" in stopped(beside.plan())


def test_the_paths_of_an_environment():
    text = (
        "A=/a/b\nexport B='x:/c/d'\nC=../e\nD=sqlite:////f/g.db\nPATH=/usr/bin\nE=https://example.org/h\nF=../../i/j\n"
    )
    found = find_named_paths(text, "/code/src")
    assert [path for _name, path in found] == ["/a/b", "/c/d", "/code/e", "/f/g.db", "/example.org/h", "/i/j"]


# --- many files ------------------------------------------------------------------------------------------------------


def test_uploads_below_static_are_data_by_their_number(tmp_path):
    old = Old(tmp_path / "shop", ".")
    (old.code / "static/avatars").mkdir()
    for number in range(LARGE):
        (old.code / f"static/avatars/{number}.png").touch()
    assert moved(old.plan()) == {str(old.code / "static/avatars"): ("static/avatars", "static/avatars")}


def test_more_files_than_code_has_may_be_data(tmp_path, monkeypatch):
    module = "ansible_collections.flaskops.production.plugins.module_utils._adoption.obstacles"
    monkeypatch.setattr(f"{module}.MAX_SCANNED", 50)
    old = Old(tmp_path / "shop", ".")
    for number in range(60):
        put(old.code / f"uploads/{number}.png")
        put(old.code / f"words/{number}.py")
    said = stopped(old.plan())
    assert "has too many files for code, most of them in" in said and f"{old.code}/words" in said
    monkeypatch.setattr(f"{module}.MAX_SCANNED", 100)
    assert moved(old.plan()) == {str(old.code / "uploads"): ("uploads", "uploads")}


def test_what_is_written_among_the_code_is_data_whatever_its_name(tmp_path, as_root):
    old = Old(tmp_path / "shop", ".")
    old.started = time.time() - 60
    for path in (old.code / "static/avatars/2026/11/a.png", old.code / "counter", old.code / "static/shop.css"):
        os.chown(put(path), ADA, ADA)
    os.chown(old.code, ADA, ADA)
    assert moved(old.plan(user=ADA)) == {
        str(old.code / "static/avatars"): ("static/avatars", "static/avatars"),
        str(old.code / "counter"): ("data/counter", "counter"),
    }


# --- other services --------------------------------------------------------------------------------------------------


def test_a_worker_would_go_on_with_the_old_data(beside):
    beside.environment = f"DATABASE={beside.top}/data/shop.db\n"
    beside.units = (("shop-worker.service", True),)
    said = stopped(beside.plan())
    assert said.startswith(f"shop-worker.service runs from {beside.top}, too") and "stop and disable it" in said
    beside.units = (("shop-worker.service", False),)
    found = beside.plan()
    assert found.obstacles == []
    assert any(text.startswith("shop-worker.service names") for text in found.attention)
    beside.units, beside.leave = (("shop-worker.service", True),), ("shop-worker.service",)
    assert beside.plan().obstacles == []


def test_a_worker_that_shares_no_data_is_only_named(beside):
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


def test_files_that_the_site_served_before_the_application_go_on_being_served(public):
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


def test_static_files_in_it_are_the_static_files(public):
    put(public.code / "public/static/site.css")
    found = public.plan()
    assert found.variables["nginx_site_static_url"] == "/static/"
    assert found.variables["release_static_paths"] == ["public/static"]
    assert [item["path"] for item in found.variables["nginx_site_locations"]] == ["/img/", "/uploads/"]


# --- versions --------------------------------------------------------------------------------------------------------


def test_versions_that_only_the_old_environment_says_are_named(tmp_path):
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
    pinned, by_hand = found.attention
    assert pinned.startswith("requirements.txt pins no version of click 8.1.3, flask 3.0.0, sentry-sdk 2.0")
    assert by_hand.startswith(f"sentry-sdk is installed in {tmp_path}/env, but not in requirements.txt")
