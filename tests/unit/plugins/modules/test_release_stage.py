# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Staging: complete or not at all, beside what is live, and never at the cost of what is shared."""

from __future__ import annotations

import base64
import functools
import grp
import http.server
import json
import multiprocessing
import os
import pwd
import shutil
import signal
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._app import layout as layout_module
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.lock import DeployLock
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._core import module as module_module
from ansible_collections.flaskops.production.plugins.module_utils._files import acl, foreign
from ansible_collections.flaskops.production.plugins.module_utils._files.entries import PathEntry
from ansible_collections.flaskops.production.plugins.module_utils._releases import (
    existing_code,
    preparation,
    shared_paths,
    staging,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.host_code import describe_code
from ansible_collections.flaskops.production.plugins.module_utils._releases.migrations import describe_migration
from ansible_collections.flaskops.production.plugins.module_utils._releases.settings_set import SettingsSet
from ansible_collections.flaskops.production.plugins.modules import release_stage
from ansible_collections.flaskops.production.plugins.plugin_utils._source import resolve as resolve_module
from ansible_collections.flaskops.production.plugins.plugin_utils._source.request import SourceRequest
from ansible_collections.flaskops.production.tests.unit.programs import needs

ME = pwd.getpwuid(os.geteuid()).pw_name
MY_GROUP = grp.getgrgid(os.getegid()).gr_name
RUN = {"run": "run-1", "by": "ada", "controller": "ci"}
OTHER_RUN = {"run": "run-2", "by": "grace", "controller": "laptop"}

FILES = {"wsgi.py": "app = 1\n", "static/app.css": "body {}\n", "bin/tool": "#!/bin/sh\n"}


class Host:
    """A host as the role layout leaves it, and a controller that resolves releases for it."""

    def __init__(self, tmp_path, run_module):
        self.tmp_path, self.run_module = tmp_path, run_module
        self.root = tmp_path / "srv/myapp"
        for name in ("venvs", "shared/static", "shared/media", "run"):
            (self.root / name).mkdir(parents=True)
        self.layout = Layout(str(self.root))
        self.resolved = 0

    def resolve(self, name="v1", files=None, links=()):
        files = FILES if files is None else files
        self.resolved += 1
        directory = self.tmp_path / f"source-{self.resolved}"
        for path, text in files.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_text(text)
        for path, target in dict(links).items():
            (directory / path).symlink_to(target)
        if (directory / "bin/tool").exists():
            (directory / "bin/tool").chmod(0o700)
        request = SourceRequest(directory=str(directory), name=name)
        return resolve_module.resolve_source(request, self.tmp_path / f"run-{self.resolved}")

    def stage(self, source, archive=True, check=False, diff=False, **params):
        args = {"root": str(self.root), "app": "myapp", "user": ME, "group": MY_GROUP, "owner": ME}
        if source:
            args["source"] = source
        if archive:
            args["archive"] = source["archive"]
        return self.run_module(release_stage, {**args, "run": RUN, **params}, check=check, diff=diff)

    def tree(self):
        """Every name below the root with what it holds, to show that nothing changed."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            what = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
            found[str(path.relative_to(self.root))] = (what, oct(path.lstat().st_mode))
        return found


@pytest.fixture
def host(tmp_path, run_module, monkeypatch):
    """A host whose systemd knows no service."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "systemctl").write_text("#!/bin/sh\necho LoadState=not-found\n")
    (programs / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    return Host(tmp_path, run_module)


# Databases and what Nginx serves

SQLITE = b"SQLite format 3\0" + bytes(84)


@pytest.mark.parametrize(
    ("name", "content", "refused"),
    [
        ("app.db", SQLITE, True),
        ("app.db", b"", True),
        ("data/store", SQLITE, True),
        ("app.db", b"Berkeley", False),
        ("settings.cfg", b"", False),
    ],
)
@pytest.mark.parametrize("how", [{}, {"only": "check"}])
def test_database_in_an_unwritable_directory_is_refused(host, name, content, refused, how):
    path = host.root / "shared" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o755)
    path.write_bytes(content)
    before = host.tree()
    said = host.stage(host.resolve(), user="nobody", group="nogroup", shared_paths=[name], archive=False, **how)
    assert bool(said.get("failed")) is refused
    if refused:
        assert f"release_shared_paths has {name}, an SQLite database" in said["msg"] and "instance/" in said["msg"]
    assert host.tree() == before


@pytest.mark.parametrize("how", ["own directory", "group", "link"])
def test_database_in_a_writable_directory_is_accepted(host, how):
    place = host.root / "shared/database"
    place.mkdir()
    (place / "app.db").write_bytes(SQLITE)
    nobody, nogroup = pwd.getpwnam("nobody"), grp.getgrnam("nogroup")
    if how == "group":
        os.chown(place, -1, nogroup.gr_gid)
        place.chmod(0o770)
    else:
        os.chown(place, nobody.pw_uid, -1)
    if how == "link":
        (host.root / "shared/app.db").symlink_to("database/app.db")
    name = "app.db" if how == "link" else "database/app.db"
    assert not host.stage(host.resolve(), user="nobody", group="nogroup", shared_paths=[name], archive=False).get(
        "failed"
    )


@pytest.mark.parametrize(
    ("value", "refused"),
    [
        ("sqlite:///{shared}/app.db", True),
        ("sqlite+aiosqlite:///{shared}/app.db?timeout=5", True),
        ("{shared}/app.sqlite3", True),
        ("{shared}/store", True),
        ("sqlite:///{shared}/instance/app.db", False),
        ("sqlite:///{shared}/database/app.db", False),
        ("{shared}/robots.txt", False),
        ("sqlite:////var/lib/elsewhere/app.db", False),
        ("sqlite:///app.db", False),
        ("postgresql://user@host/app.db", False),
    ],
)
def test_database_of_the_environment_file_in_an_unwritable_directory_is_refused(host, value, refused):
    (host.root / "shared").chmod(0o755)
    (host.root / "shared/store").write_bytes(SQLITE)
    (host.root / "shared/database").mkdir(mode=0o700)
    os.chown(host.root / "shared/database", pwd.getpwnam("nobody").pw_uid, -1)
    Path(host.layout.env_file).write_text(
        'TOKEN="a secret"\nDATABASE="' + value.format(shared=host.layout.shared) + '"\n'
    )
    before = host.tree()
    params = {"user": "nobody", "group": "nogroup", "shared_paths": ["instance/"], "archive": False}
    said = host.stage(host.resolve(), **params)
    assert bool(said.get("failed")) is refused
    if refused:
        assert said["msg"].startswith("flask_app_env.DATABASE names /") and "instance/" in said["msg"]
        assert "secret" not in said["msg"]
    assert host.tree() == before


def test_future_database_must_be_in_a_shared_directory(host):
    said = host.stage(host.resolve(), shared_paths=["app.db"])["msg"]
    assert "SQLite writes beside its file: share a directory for a database" in said


def test_served_shared_paths_have_the_group_of_nginx(host):
    static = ["static", "shop/static"]
    paths = ["static/uploads/", "shop/static/pictures/", "media/thumbs/", "shop/static-data/", "instance/"]
    params = {"user": "nobody", "group": "nogroup", "web_group": "www-data", "static_paths": static}
    assert not host.stage(host.resolve(), shared_paths=paths, **params).get("failed")
    modes = {}
    for path in paths:
        info = (host.root / "shared" / path).stat()
        modes[path] = (grp.getgrgid(info.st_gid).gr_name, oct(info.st_mode & 0o7777))
    web, own = ("www-data", "0o2750"), ("nogroup", "0o750")
    assert modes == dict(zip(paths, [web, web, web, own, own]))
    assert pwd.getpwuid((host.root / "shared/static/uploads").stat().st_uid).pw_name == "nobody"


# Look


def test_host_without_the_release_reports_it_unchanged(host):
    before = host.tree()
    result = host.stage(host.resolve(), archive=False)
    assert result["changed"]
    assert (result["release"], result["present"]) == ("v1", False)
    assert (result["live"], result["previous"], result["outdated"], result["bad"]) == ("", "", "", "")
    assert host.tree() == before, "without the archive nothing is touched, not even the lock"


def test_check_mode_predicts_the_change(host):
    before = host.tree()
    result = host.stage(host.resolve(), check=True, diff=True)
    assert result["changed"] and not result["present"]
    assert "v1" in result["diff"]["after"] and result["diff"]["before"] == ""
    assert host.tree() == before


def test_present_release_is_not_staged_again(host):
    source = host.resolve()
    host.stage(source)
    before = host.tree()
    result = host.stage(source, diff=True)
    assert (result["changed"], result["present"], result["release"]) == (False, True, "v1")
    assert "diff" not in result
    assert host.tree() == before


def test_same_content_under_another_name_is_the_present_release(host):
    host.stage(host.resolve("v1"))
    result = host.stage(host.resolve("v2"))
    assert (result["changed"], result["release"]) == (False, "v1")
    assert os.listdir(host.layout.releases) == ["v1"]


def test_migration_is_reported_for_its_command_and_environment_variables(host):
    source, env_file = host.resolve(), host.root / "shared/.env"
    env_file.write_text("DATABASE=a\n")
    assert host.stage(source)["migrated"], "there is none"
    assert not host.stage(source, migrate="flask db upgrade")["migrated"]
    migrated = describe_migration("flask db upgrade", str(env_file))
    ReleaseStore(host.layout).write_record("v1", {**ReleaseStore(host.layout).read_record("v1"), "migrated": migrated})
    assert host.stage(source, migrate="flask db upgrade")["migrated"]
    assert not host.stage(source, migrate="flask db upgrade --sql")["migrated"]
    env_file.write_text("DATABASE=b\n")
    assert not host.stage(source, migrate="flask db upgrade")["migrated"]


def test_staged_settings_require_an_activation_and_affect_the_migration(host):
    source, env_file = host.resolve(), host.root / "shared/.env"
    env_file.write_text("DATABASE=a\n")
    host.stage(source)
    migrated = describe_migration("flask db upgrade", str(env_file))
    ReleaseStore(host.layout).write_record("v1", {**ReleaseStore(host.layout).read_record("v1"), "migrated": migrated})
    layout = Layout(str(host.root), RUN)
    SettingsSet(layout, "myapp", layout.staged_settings).add_entries(
        [PathEntry(str(env_file), "file", 0o640, content=b"DATABASE=b\n")]
    )
    result = host.stage(source, migrate="flask db upgrade")
    assert not result["migrated"] and result["outdated"] == f"new settings are staged: {env_file}"
    other = host.stage(source, migrate="flask db upgrade", run=OTHER_RUN, unlock=True)
    assert other["migrated"] and other["outdated"] == ""


@pytest.mark.parametrize("unfinished", [False, True])
def test_end_of_a_run_removes_staged_settings_unless_a_unit_may_refer_to_them(host, unfinished):
    source = host.resolve()
    host.stage(source)
    layout = Layout(str(host.root), RUN)
    SettingsSet(layout, "myapp", layout.staged_settings).add_entries(
        [PathEntry(layout.env_file, "file", 0o640, content=b"A=1\n")]
    )
    if unfinished:
        os.mkdir(layout.former_settings)
    host.stage(source, archive=False, only="unlock")
    assert os.path.isdir(layout.staged_settings) is unfinished
    # Those of a run that is over are left over, with the same exception.
    SettingsSet(layout, "myapp", layout.staged_settings).add_entries(
        [PathEntry(layout.env_file, "file", 0o640, content=b"A=1\n")]
    )
    host.stage(source, run=OTHER_RUN)
    assert os.path.isdir(layout.staged_settings) is unfinished


def of_commit(source, revision):
    return {**source, "source": {"kind": "git", "location": "x", "revision": revision, "ref": "main"}}


def test_new_commit_with_the_same_content_is_recorded(host):
    """B reverts what A did, so that its bits are those before A."""
    host.stage(of_commit(host.resolve(), "a" * 40))
    host.stage(None, archive=False, only="unlock")
    source = of_commit(host.resolve("v2"), "b" * 40)
    checked = host.stage(source, archive=False, check=True)
    assert ReleaseStore(host.layout).read_record("v1")["source"]["revision"] == "a" * 40
    result = host.stage(source, archive=False)
    for told in (checked, result):
        assert (told["changed"], told["release"], told["outdated"]) == (True, "v1", "")
    assert ReleaseStore(host.layout).read_record("v1")["source"] == source["source"]
    assert not os.path.exists(host.layout.lock), "Nothing is activated, which would give the lock back."
    assert not host.stage(source, archive=False)["changed"]
    assert not host.stage(of_commit(source, None), archive=False)["changed"]


def test_lock_of_this_run_is_kept(host):
    host.stage(of_commit(host.resolve(), "a" * 40))
    host.stage(of_commit(host.resolve(), "b" * 40), archive=False)
    assert DeployLock(host.layout, RUN).read_holder()["run"] == RUN["run"]


@pytest.mark.parametrize(("named", "told"), [(True, 1), (False, 0)])
def test_name_for_existing_content_is_reported(host, warned, named, told):
    host.stage(host.resolve())
    host.stage({**host.resolve("build-123"), "named": named}, archive=False)
    said = [text for text in warned if "release_name is build-123, but the host has the same content as v1" in text]
    assert len(said) == told
    host.stage({**host.resolve("v1"), "named": named}, archive=False)
    assert len([text for text in warned if "release_name" in text]) == told


def test_earlier_rejection_is_reported_with_its_reason(host):
    source = host.resolve()
    host.stage(source)
    ReleaseStore(host.layout).set_state("v1", "bad", reason="candidate: GET / answered 500, expected 200")
    assert "answered 500" in host.stage(source)["bad"]
    shutil.rmtree(host.layout.release("v1"))
    assert "answered 500" in host.stage(source, archive=False)["bad"], "also when its files are gone"
    assert host.stage(host.resolve(files={"wsgi.py": "fixed"}), archive=False)["bad"] == ""


# Stage


def test_release_is_staged_completely(host):
    source = host.resolve()
    assert host.stage(source)["changed"]
    release = Path(host.layout.release("v1"))
    assert {name: (release / name).read_text() for name in FILES} == FILES
    modes = {path.relative_to(release).as_posix(): path.stat().st_mode & 0o7777 for path in release.rglob("*")}
    assert {name for name, mode in modes.items() if mode == 0o755} == {"static", "bin", "bin/tool"}
    assert {name for name, mode in modes.items() if mode == 0o644} == {"wsgi.py", "static/app.css"}
    assert release.stat().st_mode & 0o7777 == 0o755
    assert os.listdir(host.layout.releases) == ["v1"], "no half of it stays beside it"
    assert host.layout.find_live() is None, "staging switches nothing"


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("Sockets=myapp.socket\nUser=somebody\n", True),
        (f"Sockets=myapp.socket\nUser={ME}\n", False),
        ("Sockets=myapp.socket\n", False),
        # Somebody else's unit, which the role gunicorn_systemd replaces.
        ("User=somebody\n", False),
    ],
)
def test_release_for_another_user_than_that_of_the_unit_is_refused(host, tmp_path, monkeypatch, text, refused):
    monkeypatch.setattr(foreign, "UNITS", str(tmp_path))
    (tmp_path / "myapp.service").write_text(f"[Service]\n{text}")
    source, before = host.resolve(), host.tree()
    assert host.stage(source, check=True)["changed"]
    result = host.stage(source)
    assert bool(result.get("failed")) is refused
    if refused:
        assert f"myapp.service runs as somebody, but flask_app_user is '{ME}'. Run the playbook site" in result["msg"]
        assert host.tree() == before


def test_release_is_recorded(host):
    source = host.resolve()
    host.stage(source, static_paths=["static"])
    record = ReleaseStore(host.layout).read_record("v1")
    told = {key: record[key] for key in ("release", "digest", "time", "source", "static_paths", "by", "state")}
    assert told == {
        "release": "v1",
        "digest": source["digest"],
        "time": source["time"],
        "source": source["source"],
        "static_paths": ["static"],
        "by": "ada",
        "state": "staged",
    }
    assert record["staged"].endswith("Z")


@pytest.mark.parametrize("umask", [0o077, 0o027, 0])
def test_modes_do_not_depend_on_the_umask(host, umask):
    before = os.umask(umask)
    try:
        source = host.resolve()
        host.stage(source, shared_paths=["data/uploads/", "var/deep/cache/"])
    finally:
        os.umask(before)
    release = Path(host.layout.release("v1"))
    wrong = {
        str(path.relative_to(host.root)): oct(path.stat().st_mode)
        for top in (release, host.root / "shared/data", host.root / "shared/var")
        for path in [top, *top.rglob("*")]
        # A shared directory belongs to the user itself, and is closed to those of other applications.
        if path.is_dir() and path.stat().st_mode & 0o055 != (0o050 if path.name in ("uploads", "cache") else 0o055)
    }
    assert wrong == {}, "the user that runs the application could not enter"


def test_release_belongs_to_its_owner(host, as_root):
    host.stage(host.resolve(links={"link": "wsgi.py"}), owner="nobody", shared_paths=["instance/"])
    release = Path(host.layout.release("v1"))
    nobody = pwd.getpwnam("nobody").pw_uid
    assert {path.lstat().st_uid for path in [release, *release.rglob("*")] if path.name != "instance"} == {nobody}
    assert (host.root / "shared/instance").stat().st_uid == os.geteuid(), "shared data belongs to the runtime user"


def test_links_in_the_release_are_kept(host):
    host.stage(host.resolve(links={"current.py": "wsgi.py"}))
    assert os.readlink(os.path.join(host.layout.release("v1"), "current.py")) == "wsgi.py"


def test_archive_damaged_in_transit_is_refused(host):
    source = host.resolve()
    with open(source["archive"], "r+b") as archive:
        archive.seek(-9, os.SEEK_END)
        archive.write(b"!")
    result = host.stage(source)
    assert result["failed"] and source["sha256"] in result["msg"] and source["archive"] in result["msg"]
    assert os.listdir(host.layout.releases) == []
    assert not os.path.exists(host.layout.lock), "a failed staging gives the lock back"


def test_archive_sent_with_the_module_is_staged_and_not_shown(host):
    source = host.resolve()
    content = base64.b64encode(Path(source["archive"]).read_bytes()).decode()
    result = host.stage(source, archive=False, archive_content=content)
    assert not result.get("failed"), result
    assert (Path(host.layout.release("v1")) / "wsgi.py").is_file()
    assert content not in json.dumps(result)
    assert os.listdir(host.layout.releases) == ["v1"]


def test_damaged_archive_sent_with_the_module_is_refused(host):
    source = host.resolve()
    result = host.stage(source, archive=False, archive_content=base64.b64encode(b"other bits").decode())
    assert result["failed"] and "damaged in transit" in result["msg"] and source["sha256"] in result["msg"]
    assert os.listdir(host.layout.releases) == []
    assert not os.path.exists(host.layout.lock)


def test_name_of_other_content_is_refused(host):
    host.stage(host.resolve())
    before = (Path(host.layout.release("v1")) / "wsgi.py").read_bytes()
    DeployLock(host.layout, RUN).release()
    result = host.stage(host.resolve(files={"wsgi.py": "app = 2\n"}))
    assert result["failed"] and "release_name" in result["msg"] and "v1" in result["msg"]
    assert (Path(host.layout.release("v1")) / "wsgi.py").read_bytes() == before
    assert not os.path.exists(host.layout.lock)


@pytest.mark.parametrize("lost", ["record", "all records", "damaged record"])
def test_release_without_a_record_is_recorded_again(host, lost):
    source = host.resolve()
    host.stage(source)
    os.symlink("releases/v1", host.layout.app)
    record = Path(host.layout.records) / "v1.json"
    inode = os.stat(host.layout.release("v1")).st_ino
    (Path(host.layout.release("v1")) / "__pycache__").mkdir()
    if lost == "record":
        record.unlink()
    elif lost == "all records":
        shutil.rmtree(host.layout.state)
    else:
        record.write_text(record.read_text()[:20])
    result = host.stage(source)
    assert not result.get("failed"), result
    assert ReleaseStore(host.layout).read_record("v1")["digest"] == source["digest"]
    assert os.stat(host.layout.release("v1")).st_ino == inode, "the live code is not touched"
    assert sorted(os.listdir(host.layout.releases)) == ["v1"]


@pytest.mark.parametrize(
    ("activated", "live", "state"),
    [([], "v1", "active"), (["v1"], "v1", "active"), (["v1", "v2"], "v2", "superseded"), (["v2"], "v2", "staged")],
)
def test_release_without_a_record_keeps_its_state(host, activated, live, state):
    source = host.resolve()
    host.stage(source)
    os.symlink(f"releases/{live}", host.layout.app)
    for release in activated:
        ReleaseStore(host.layout).append_activation(
            release=release, before=None, action="deploy", by="ada", run="run-1"
        )
    (Path(host.layout.records) / "v1.json").unlink()
    assert not host.stage(source).get("failed")
    assert ReleaseStore(host.layout).read_record("v1")["state"] == state


@pytest.mark.parametrize("live", [True, False])
def test_different_directory_without_a_record_is_not_changed(host, live):
    host.stage(host.resolve())
    shutil.rmtree(host.layout.state)
    if live:
        os.symlink("releases/v1", host.layout.app)
    said = host.stage(host.resolve(files={"wsgi.py": "app = 2\n"}))["msg"]
    assert "has no record and holds another wsgi.py than this release: choose another release_name" in said
    assert ("it is live, so leave it" in said, "move it away" in said) == (live, not live)
    assert os.listdir(host.layout.releases) == ["v1"]


def test_foreign_directory_of_the_same_name_is_refused_and_kept(host):
    ReleaseStore(host.layout).create_directories()
    foreign = host.root / "releases/v1"
    foreign.mkdir()
    (foreign / "precious").write_text("data")
    assert "v1" in host.stage(host.resolve())["msg"]
    assert (foreign / "precious").read_text() == "data"


# The lock


def test_lock_is_held_after_staging(host):
    source = host.resolve()
    host.stage(source)
    assert DeployLock(host.layout, {}).read_holder()["run"] == "run-1"
    refused = host.stage(host.resolve("v2", {"wsgi.py": "2"}), run=OTHER_RUN)
    assert refused["failed"] and "ada on ci" in refused["msg"] and "release_unlock=true" in refused["msg"]
    assert refused["lock_holder"]["run"] == "run-1"
    assert os.listdir(host.layout.releases) == ["v1"]
    assert not host.stage(host.resolve("v2", {"wsgi.py": "2"})).get("failed"), "its own run goes on"
    host.stage(source, archive=False, only="unlock", run=OTHER_RUN)
    assert os.path.exists(host.layout.lock)
    host.stage(source, archive=False, only="unlock", check=True)
    assert os.path.exists(host.layout.lock)
    assert host.stage(source, archive=False, only="unlock")["changed"] is False
    assert not os.path.exists(host.layout.lock)


@pytest.mark.parametrize("how", [{"unlock": True}, {"run": {**OTHER_RUN, "replaces": "run-1"}}])
def test_lock_of_a_dead_run_is_replaced(host, how):
    host.stage(host.resolve())
    assert not host.stage(host.resolve("v2", {"wsgi.py": "2"}), **{"run": OTHER_RUN, **how}).get("failed")
    assert DeployLock(host.layout, {}).read_holder()["run"] == "run-2"


def test_host_is_checked_without_a_source_and_without_a_change(host):
    assert host.stage(None, archive=False, only="check")["changed"] is False
    host.stage(host.resolve())
    before = host.tree()
    result = host.stage(None, archive=False, only="check")
    assert result["locked"] and not result["changed"], "its own lock is in nobody's way"
    refused = host.stage(None, archive=False, only="check", run=OTHER_RUN)
    assert refused["failed"] and refused["lock_holder"]["run"] == "run-1" and "ada on ci" in refused["msg"]
    assert {**host.tree(), ".deploy/lock": 0} == {**before, ".deploy/lock": 0}
    for how in ({"unlock": True}, {"run": {**OTHER_RUN, "replaces": "run-1"}}):
        before = host.tree()
        checked = host.stage(None, archive=False, only="check", check=True, **{"run": OTHER_RUN, **how})
        assert not checked.get("failed")
        assert host.tree() == before
    assert host.stage(None, archive=False, only="check", unlock=True, run=OTHER_RUN)["locked"]
    assert DeployLock(host.layout, {}).read_holder()["run"] == "run-2"


def test_comparison_acquires_the_lock_if_the_host_differs(host):
    source = host.resolve()
    looked = host.stage(source, archive=False, only="look")
    assert (looked["pending"], looked["locked"], looked["changed"], looked["present"]) == (True, True, False, False)
    assert os.listdir(host.layout.releases) == []
    refused = host.stage(source, archive=False, only="look", run=OTHER_RUN)
    assert refused["failed"] and refused["lock_holder"]["run"] == "run-1" and refused["lock_age"] < 60
    rollout = {"id": "1-run-1", "number": 1, "action": "deploy", "hosts": ["web1"]}
    staged = host.stage(source, rollout=rollout)
    assert staged["changed"] and DeployLock(host.layout, {}).read_holder()["run"] == "run-1"
    looked = host.stage(source, archive=False, only="look")
    assert (looked["pending"], looked["locked"], looked["rollout"]["state"]) == (False, True, "preparing")
    assert looked["rollout"]["before"] == ""


@pytest.mark.parametrize("name", ["app", "venv"])
def test_check_refuses_existing_code_without_adoption(host, name):
    (host.root / name).mkdir()
    refused = host.stage(None, archive=False, only="check")
    assert refused["failed"] and f"{host.root}/{name} is not a link" in refused["msg"]
    assert not host.stage(None, archive=False, only="check", adopt=True).get("failed")


def test_source_is_required(host):
    refused = host.stage(None, archive=False)
    assert refused["failed"] and "source" in refused["msg"]


def test_host_with_a_venv_of_the_role_venv_is_deployed_to(host):
    for name in ("a" * 12, "b" * 12, ".removed-" + "c" * 12):
        (host.root / "venvs" / name).mkdir()
    (host.root / "venv").symlink_to("venvs/" + "a" * 12)
    for archive in (False, True):
        assert not host.stage(host.resolve(), archive=archive).get("failed")
    assert sorted(os.listdir(host.root / "venvs")) == ["a" * 12, "b" * 12]


# Shared paths


def test_shared_paths_are_links_to_shared(host):
    (host.root / "shared/local.db").write_text("rows")
    host.stage(host.resolve(), shared_paths=["instance/", "data/uploads/", "local.db"])
    release = Path(host.layout.release("v1"))
    for name in ("instance", "data/uploads", "local.db"):
        assert (release / name).is_symlink() and not os.readlink(release / name).startswith("/")
        assert (release / name).resolve() == host.root / "shared" / name
    assert (release / "local.db").read_text() == "rows"
    assert (host.root / "shared/instance").stat().st_mode & 0o777 == 0o750


def test_missing_shared_file_is_refused_before_any_change(host):
    before = host.tree()
    for archive in (False, True):
        result = host.stage(host.resolve(), archive=archive, shared_paths=["instance/", "app.db"])
        assert result["failed"] and "app.db" in result["msg"] and "app.db/" in result["msg"]
    assert host.tree() == before


def test_file_in_place_of_a_shared_directory_is_refused(host):
    (host.root / "shared/instance").write_text("")
    before = host.tree()
    result = host.stage(host.resolve(), shared_paths=["instance/"])
    assert result["failed"] and "release_shared_paths" in result["msg"]
    assert host.tree() == before


@pytest.mark.parametrize("links", [{}, {"latest": "static"}])
def test_content_of_the_release_at_a_shared_path_is_replaced_by_the_link(host, links):
    kept = host.root / "shared/uploads"
    kept.mkdir()
    (kept / "photo").write_text("precious")
    shipped = {"uploads/.gitkeep": "", "uploads/deep/x": "x", "settings.py": "shipped"}
    (host.root / "shared/settings.py").write_text("ours")
    host.stage(
        host.resolve(files={**FILES, **shipped}, links=links), shared_paths=["uploads/", "settings.py", "latest/"]
    )
    release = Path(host.layout.release("v1"))
    assert os.listdir(release / "uploads") == ["photo"]
    assert (release / "settings.py").read_text() == "ours"
    assert (kept / "photo").read_text() == "precious"
    assert (release / "static/app.css").exists()


def test_shared_data_survives_every_release(host):
    (host.root / "shared/data/uploads").mkdir(parents=True)
    (host.root / "shared/data/uploads/photo").write_text("precious")
    for number in range(3):
        host.stage(host.resolve(f"v{number}", {"wsgi.py": str(number)}), shared_paths=["data/"])
    assert (host.root / "shared/data/uploads/photo").read_text() == "precious"


@pytest.fixture
def warned(monkeypatch):
    """What the module warns of."""
    found = []
    monkeypatch.setattr(module_module.AnsibleModule, "warn", lambda _module, text, **_more: found.append(text))
    return found


def test_added_shared_paths_of_a_live_release_are_linked_in_one_step(host, monkeypatch, warned):
    source = host.resolve(files={**FILES, "instance/app.db": "rows", "empty/x/.keep": "", "settings.py": "shipped"})
    host.stage(source)
    release = Path(host.layout.release("v1"))
    (release / "empty/x/.keep").unlink()
    (host.root / "shared/settings.py").write_text("ours")
    exchange, seen = shared_paths.exchange_names, []

    def watched(a, b, *more):
        seen.extend([os.path.lexists(a), os.path.lexists(b)])
        exchange(a, b, *more)
        seen.extend([os.path.lexists(a), os.path.lexists(b)])

    monkeypatch.setattr(shared_paths, "exchange_names", watched)
    monkeypatch.setattr(shared_paths.shutil, "rmtree", _without(release / "instance", shared_paths.shutil.rmtree))
    paths = ["instance/", "empty/", "settings.py", "new/"]
    result = host.stage(source, shared_paths=paths)
    assert result["changed"] and seen == [True] * 12
    for name in ("instance", "empty", "settings.py", "new"):
        assert (release / name).is_symlink() and (release / name).resolve() == host.root / "shared" / name
    assert (release / ".instance.before/app.db").read_text() == "rows"
    assert (release / ".settings.py.before").read_text() == "shipped"
    assert sorted(path.name for path in release.glob(".*.before")) == [".instance.before", ".settings.py.before"]
    assert [said.split(" is kept in ")[1] for said in warned] == [
        f"{release}/.instance.before.",
        f"{release}/.settings.py.before.",
    ]
    assert not host.stage(source, shared_paths=paths)["changed"]


@pytest.mark.parametrize(
    ("make", "empty"),
    [
        (lambda path: path.mkdir(), True),
        (lambda path: (path / "below").mkdir(parents=True), True),
        (lambda path: path.write_text(""), False),
        (lambda path: path.mkdir() or (path / "link").symlink_to("/nowhere"), False),
        (lambda path: path.mkdir() or (path / "link").symlink_to("/"), False),
    ],
    ids=["empty", "directories", "file", "dangling link", "link to a directory"],
)
def test_only_directories_count_as_empty(tmp_path, make, empty):
    make(tmp_path / "old")
    assert shared_paths.has_only_directories(str(tmp_path / "old")) is empty


def _without(path, rmtree):
    """rmtree, which must not be asked for a path that requests may want."""

    def guarded(directory, *more, **options):
        assert str(directory) != str(path)
        rmtree(directory, *more, **options)

    return guarded


@pytest.mark.parametrize("check", [False, True])
def test_removed_shared_path_takes_effect_with_the_next_release(host, check, warned):
    source = host.resolve()
    host.stage(source, shared_paths=["instance/", "media/"])
    host.stage(source, shared_paths=["media/"], check=check)
    (said,) = warned
    assert "v1 was staged with instance/ in release_shared_paths" in said and "next release" in said
    assert (Path(host.layout.release("v1")) / "instance").is_symlink()
    if not check:
        assert not host.stage(source, shared_paths=["media/"])["changed"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["data/"], ["data/uploads/"]),
        (["data/"], ["data/app.db"]),
        (["data/uploads/"], ["data/"]),
        (["data/uploads/"], ["data/uploads/", "instance/"]),
        (["data/"], []),
    ],
)
def test_changed_shared_paths_remove_no_shared_data(host, before, after):
    """The release that is there links data/ to shared/data: a name below it is the data itself."""
    (host.root / "shared/data/uploads").mkdir(parents=True)
    (host.root / "shared/data/uploads/photo").write_text("precious")
    (host.root / "shared/data/app.db").write_text("rows")
    source = host.resolve()
    host.stage(source, shared_paths=before)
    host.stage(source, shared_paths=after)
    assert (host.root / "shared/data/uploads/photo").read_text() == "precious"
    assert (host.root / "shared/data/app.db").read_text() == "rows"


@pytest.mark.parametrize(
    "paths", [["data/", "data/uploads/"], ["data/", "data/app.db"], ["../../precious/"], ["/{root}/precious/"]]
)
def test_shared_paths_that_would_remove_data_are_refused_by_the_module(host, paths):
    """The controller refuses them first; a module that is called directly must not be the way around it."""
    outside = host.root / "precious"
    (host.root / "shared/data/uploads").mkdir(parents=True)
    outside.mkdir()
    for directory in (host.root / "shared/data/uploads", outside):
        (directory / "photo").write_text("precious")
    (host.root / "shared/data/app.db").write_text("rows")
    host.stage(host.resolve(), shared_paths=[path.format(root=host.root).replace("//", "/") for path in paths])
    for directory in (host.root / "shared/data/uploads", outside):
        assert (directory / "photo").read_text() == "precious"
    assert (host.root / "shared/data/app.db").read_text() == "rows"


def test_link_above_a_shared_path_is_not_followed(host):
    host.stage(host.resolve(links={"instance": "static"}), shared_paths=["instance/"])
    release = Path(host.layout.release("v1"))
    assert (release / "instance").resolve() == host.root / "shared/instance"
    assert (release / "static/app.css").exists()


@pytest.mark.parametrize("path", ["media/cache/thumbs/", "media/cache/"])
@pytest.mark.parametrize("archive", [False, True])
def test_root_creates_nothing_through_a_link_of_the_application(host, tmp_path, as_root, path, archive):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.chown(host.root / "shared/media", 33, 33)
    (host.root / "shared/media/cache").symlink_to(elsewhere if "thumbs" in path else elsewhere / "cache")
    before = host.tree()
    result = host.stage(host.resolve(), archive=archive, shared_paths=[path])
    assert result["failed"] and f"release_shared_paths has {path}" in result["msg"], result
    assert os.listdir(elsewhere) == [] and host.tree() == before


def test_link_created_during_staging_redirects_nothing(host, tmp_path, monkeypatch, as_root):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.chown(host.root / "shared/media", 33, 33)
    (host.root / "shared/media/cache").mkdir()
    apply = shared_paths.apply_change

    def race(change):
        (host.root / "shared/media/cache").rmdir()
        (host.root / "shared/media/cache").symlink_to(elsewhere)
        apply(change)

    monkeypatch.setattr(shared_paths, "apply_change", race)
    result = host.stage(host.resolve(), shared_paths=["media/cache/thumbs/"])
    assert result["failed"] and "media/cache/thumbs" in result["msg"]
    assert os.listdir(elsewhere) == []


def test_link_of_root_to_another_disk_is_followed(host, tmp_path, as_root):
    elsewhere = tmp_path / "disk"
    elsewhere.mkdir()
    (host.root / "shared/data").symlink_to(elsewhere)
    host.stage(host.resolve(), shared_paths=["data/uploads/"])
    assert (elsewhere / "uploads").stat().st_mode & 0o777 == 0o750


# What is in the way


@pytest.mark.parametrize("name", ["app", "venv"])
def test_directory_in_place_of_a_link_is_refused_with_a_remedy(host, name):
    (host.root / name).mkdir()
    (host.root / name / "wsgi.py").write_text("code")
    before = host.tree()
    for archive in (False, True):
        result = host.stage(host.resolve(), archive=archive)
        assert result["failed"] and f"{host.root / name} is not a link" in result["msg"]
    assert host.tree() == before
    # Run the command of the message.
    subprocess.run(result["msg"].partition("move it away: ")[2], shell=True, check=True)
    assert host.stage(host.resolve())["changed"]
    assert (host.root / f"{name}.before/wsgi.py").read_text() == "code"


# Interruptions


def test_leftovers_of_an_interrupted_run_are_replaced(host):
    ReleaseStore(host.layout).create_directories()
    for name in (".staging-v1", ".removed-v0"):
        (host.root / "releases" / name / "below").mkdir(parents=True)
    host.stage(host.resolve())
    assert os.listdir(host.layout.releases) == ["v1"]
    assert not os.path.exists(os.path.join(host.layout.release("v1"), "below"))


def test_venv_without_a_release_is_no_obstacle(host):
    (host.root / "venvs" / ("0" * 12)).mkdir()
    assert host.stage(host.resolve())["changed"]
    assert os.listdir(host.layout.releases) == ["v1"]


KILL_POINTS = ("unpack_archive", "link_shared_paths", "sync_filesystem", "write_record", "rename")


def _killed_staging(host, source, point):
    """Stage in a process that is killed at, or right after, a step."""
    step, when = point

    def kill(*_arguments, **_keywords):
        os.kill(os.getpid(), signal.SIGKILL)

    owner = {"write_record": ReleaseStore, "rename": os}.get(step, staging)
    real = getattr(owner, step)

    def then_kill(*arguments, **keywords):
        real(*arguments, **keywords)
        kill()

    setattr(owner, step, kill if when == "at" else then_kill)
    host.stage(source, shared_paths=["instance/"])


@pytest.mark.parametrize("point", [(step, when) for step in KILL_POINTS for when in ("at", "after")], ids="-".join)
def test_killed_staging_is_completed_by_the_next_run(host, point):
    ReleaseStore(host.layout).create_directories()
    source = host.resolve()
    process = multiprocessing.get_context("fork").Process(target=_killed_staging, args=(host, source, point))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    known = ReleaseStore(host.layout).read_releases()
    assert list(known) == (["v1"] if point == ("rename", "after") else []), "complete or not there"
    assert host.layout.find_live() is None and ReleaseStore(host.layout).find_previous() is None
    again = {**OTHER_RUN, "replaces": "run-1"}
    assert not host.stage(source, shared_paths=["instance/"], run=again).get("failed")
    release = Path(host.layout.release("v1"))
    assert {name: (release / name).read_text() for name in FILES} == FILES
    assert (release / "instance").is_dir()
    assert os.listdir(host.layout.releases) == ["v1"]
    assert os.listdir(host.layout.records) == ["v1.json"]


def test_full_disk_leaves_no_files(host, monkeypatch):
    def full(_path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(staging, "sync_filesystem", full)
    result = host.stage(host.resolve())
    assert result["failed"] and "No space left" in result["msg"]
    assert os.listdir(host.layout.releases) == [] and not os.path.exists(host.layout.lock)


def test_damaged_record_does_not_affect_other_releases(host, monkeypatch):
    host.stage(host.resolve())
    (Path(host.layout.records) / "v1.json").write_text("{")
    warned = []
    monkeypatch.setattr(module_module.AnsibleModule, "warn", lambda _module, text: warned.append(text))
    assert not host.stage(host.resolve("v2", {"wsgi.py": "2"})).get("failed")
    assert any("v1.json cannot be read" in text for text in warned)


def test_record_is_plain_json(host):
    host.stage(host.resolve())
    text = (Path(host.layout.records) / "v1.json").read_text()
    assert text.endswith("}\n") and json.loads(text)["release"] == "v1"
    assert layout_module.RELEASE_NAME.match("v1")


# Fetching the archive


class Releases(http.server.SimpleHTTPRequestHandler):
    """A web server that has archives, and answers a path in another way where a test says so."""

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        answer = self.server.answers.get(self.path)
        answer(self) if answer else super().do_GET()

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments) -> None:
        pass


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Start a web server on this machine, with a certificate if one is given."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    started = []

    def start(certificate=None):
        handler = functools.partial(Releases, directory=tmp_path / "www")
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.asked, server.answers, scheme = [], {}, "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket, scheme = context.wrap_socket(server.socket, server_side=True), "https"
        server.url = f"{scheme}://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def publish(host, source):
    """Put the archive where the server has it; its path in the URL."""
    path = host.tmp_path / "www" / f"{source['sha256']}.tar.gz"
    path.parent.mkdir(exist_ok=True)
    shutil.copy(source["archive"], path)
    return f"/{path.name}"


def test_missing_release_is_fetched_once(host, serve):
    server, source = serve(), host.resolve()
    path = publish(host, source)
    result = host.stage(source, archive=False, diff=True, pull_url=server.url + "/")
    assert (result["changed"], result["present"], result["release"]) == (True, False, "v1")
    assert "v1" in result["diff"]["after"]
    release = Path(host.layout.release("v1"))
    assert {name: (release / name).read_text() for name in FILES} == FILES
    assert os.listdir(host.layout.releases) == ["v1"], "the archive does not stay"
    assert ReleaseStore(host.layout).read_releases()["v1"]["state"] == "staged" and os.path.exists(host.layout.lock)
    assert not host.stage(source, archive=False, pull_url=server.url)["changed"]
    assert server.asked == [(path, None)]


def test_check_mode_fetches_nothing(host, serve):
    server, source, before = serve(), host.resolve(), host.tree()
    result = host.stage(source, archive=False, check=True, pull_url=server.url)
    assert result["changed"] and not result["present"]
    assert server.asked == [] and host.tree() == before


def test_locked_host_fetches_nothing(host, serve):
    server = serve()
    host.stage(host.resolve("v0", {"wsgi.py": "0"}), run=OTHER_RUN)
    result = host.stage(host.resolve(), archive=False, pull_url=server.url)
    assert result["failed"] and "grace" in result["msg"]
    assert server.asked == []


def cut_short(handler, body):
    handler.answer(200, body[:100], Content_Length=str(len(body)))


def cut_short_in_chunks(handler, body):
    handler.protocol_version = "HTTP/1.1"
    handler.answer(200, b"64\r\n" + body[:100] + b"\r\n", Content_Length="", Transfer_Encoding="chunked")
    handler.close_connection = True


ANSWERS = {
    "missing": (lambda h, _: h.answer(404), "answered 404 Not Found: publish the archive there"),
    "forbidden": (lambda h, _: h.answer(403), "answered 403 Forbidden: allow this host to read it"),
    "broken": (lambda h, _: h.answer(503), "answered 503 Service Unavailable: check the server"),
    "other bytes": (lambda h, body: h.answer(200, body[:-1] + b"!"), "has SHA-256"),
    "too long": (lambda h, body: h.answer(200, body + b"!"), "is larger than the"),
    "something else": (lambda h, _: h.answer(200, b"<html>Sign in</html>"), "ended after 20 of"),
    "cut short": (cut_short, "ended after 100 of"),
    "cut short in chunks": (cut_short_in_chunks, "ended after 100 of"),
    "hung up": (lambda h, _: h.wfile.close(), "cannot be downloaded (Remote end closed connection"),
    "redirected in a circle": (
        lambda h, _: h.answer(302, Location=h.path),
        "answered 302 Found: it is a redirect loop",
    ),
}


@pytest.mark.parametrize(("answer", "said"), ANSWERS.values(), ids=ANSWERS)
def test_other_content_than_the_archive_is_refused(host, serve, answer, said):
    server, source = serve(), host.resolve()
    ReleaseStore(host.layout).create_directories()
    path, before, body = publish(host, source), host.tree(), Path(source["archive"]).read_bytes()
    server.answers[path] = lambda handler: answer(handler, body)
    result = host.stage(source, archive=False, pull_url=server.url)
    assert result["failed"] and result["msg"].startswith(server.url + path) and said in result["msg"]
    assert result["msg"].endswith(".") and "\n" not in result["msg"]
    assert host.tree() == before, "nothing is staged, and the lock is given back"
    server.answers.clear()
    assert not host.stage(source, archive=False, pull_url=server.url).get("failed"), "and nothing is in the way"


def test_leftovers_of_an_interrupted_download_are_removed(host, serve):
    server, source = serve(), host.resolve()
    publish(host, source)
    ReleaseStore(host.layout).create_directories()
    (host.root / "releases/.staging-v1.tar.gz").write_bytes(b"half")
    assert not host.stage(source, archive=False, pull_url=server.url).get("failed")
    assert os.listdir(host.layout.releases) == ["v1"]


def test_unreachable_server_is_named(host, serve):
    server = serve()
    server.shutdown()
    server.server_close()
    result = host.stage(host.resolve(), archive=False, pull_url=server.url)
    assert result["failed"] and server.url in result["msg"] and "Connection refused" in result["msg"]
    assert not os.path.exists(host.layout.lock)


@pytest.mark.parametrize("there", [True, False])
def test_redirect_is_followed_without_the_password(host, serve, there):
    near, far, source = serve(), serve(), host.resolve()
    path = publish(host, source)
    near.answers[path] = lambda handler: handler.answer(302, Location=f"{far.url}/x{path}?key=planted")
    far.answers[f"/x{path}?key=planted"] = lambda handler: (
        handler.answer(200, Path(source["archive"]).read_bytes()) if there else handler.answer(404)
    )
    credentials = base64.b64encode(b"ada:plantedpassword").decode()
    result = host.stage(source, archive=False, pull_url=near.url, pull_credentials=credentials)
    assert near.asked == [(path, f"Basic {credentials}")]
    assert far.asked == [(f"/x{path}?key=planted", None)]
    assert bool(result.get("failed")) != there
    assert there or f"(redirected to {far.url}/x{path}) answered 404" in result["msg"]
    assert "planted" not in json.dumps(result) and credentials not in json.dumps(result)


@needs("openssl")
@pytest.mark.parametrize("trusted", [True, False])
def test_untrusted_certificate_is_refused(host, serve, tmp_path, monkeypatch, trusted):
    certificate = tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=test -addext subjectAltName=IP:127.0.0.1"
    place = ["-keyout", tmp_path / "key.pem", "-out", certificate]
    subprocess.run([*command.split(), *place], check=True, capture_output=True)
    with certificate.open("ab") as both:
        both.write((tmp_path / "key.pem").read_bytes())
    server, source = serve(certificate), host.resolve()
    publish(host, source)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate) if trusted else os.devnull)
    result = host.stage(source, archive=False, pull_url=server.url)
    assert bool(result.get("failed")) != trusted, result
    assert trusted or "CERTIFICATE_VERIFY_FAILED" in result["msg"] and "install the CA certificate" in result["msg"]


# Adopting what is there


def guide_tree(host, **files):
    """Code directly in app/, with the environment in venv/, as guides have it."""
    written = {"app/wsgi.py": "code", "venv/bin/gunicorn": "#!", **files}
    for path, text in written.items():
        (host.root / path).parent.mkdir(parents=True, exist_ok=True)
        (host.root / path).write_text(text)
    return written


def test_existing_code_and_venv_become_the_first_release(host):
    guide_tree(host, **{"app/instance/app.db": "rows"})
    result = host.stage(host.resolve(), adopt=True, shared_paths=["instance/"])
    assert result["changed"] and not result.get("failed")
    adopted = host.layout.find_live()
    assert adopted and adopted != "v1"
    for path, text in (("app/wsgi.py", "code"), ("venv/bin/gunicorn", "#!"), ("app/instance/app.db", "rows")):
        assert (host.root / path).read_text() == text, f"{path} is where it was"
    assert os.readlink(host.layout.venv) == "app/.venv"
    assert (host.root / "shared/instance/app.db").read_text() == "rows"
    assert (Path(host.layout.release("v1")) / "instance/app.db").read_text() == "rows"
    assert [entry["release"] for entry in ReleaseStore(host.layout).read_activations()] == [adopted]


def test_scripts_of_an_adopted_venv_refer_to_its_interpreter(host):
    """Its former path leads to the environment of whatever release is live."""
    python = f"{host.layout.venv}/bin/python3"
    scripts = {
        "gunicorn": f"#!{python}\nrun()\n",
        "quoted": f'#!/bin/sh\n\'exec\' "{python}" "$0"\n',
        "elsewhere": "#!/usr/bin/python3\n",
        "text": f"no script of {python}\n",
    }
    guide_tree(host, **{f"venv/bin/{name}": text for name, text in scripts.items()})
    (host.root / "venv/bin/gunicorn").chmod(0o755)
    os.symlink("gunicorn", host.root / "venv/bin/alias")
    assert not host.stage(host.resolve(), adopt=True).get("failed")
    environment = os.path.realpath(host.layout.venv)
    assert environment != host.layout.venv
    found = {name: Path(environment, "bin", name).read_text() for name in scripts}
    assert found["gunicorn"] == f"#!{environment}/bin/python3\nrun()\n"
    assert found["quoted"] == f'#!/bin/sh\n\'exec\' "{environment}/bin/python3" "$0"\n'
    assert (found["elsewhere"], found["text"]) == (scripts["elsewhere"], scripts["text"])
    assert Path(environment, "bin/gunicorn").stat().st_mode & 0o777 == 0o755
    assert os.readlink(Path(environment, "bin/alias")) == "gunicorn"


@pytest.mark.parametrize("path", ["data/uploads/", "local.db"])
def test_nested_shared_paths_are_adopted(host, path):
    inside = f"app/{path}photo" if path.endswith("/") else f"app/{path}"
    guide_tree(host, **{inside: "precious"})
    result = host.stage(host.resolve(), adopt=True, shared_paths=[path])
    assert not result.get("failed"), result["msg"]
    assert (host.root / inside).read_text() == "precious"
    assert (host.root / "venv/bin/gunicorn").read_text() == "#!"


@pytest.mark.parametrize("name", ["app.db", "data/app.db"])
def test_database_is_not_moved_to_an_unwritable_directory(host, name):
    guide_tree(host)
    (host.root / "app" / name).parent.mkdir(exist_ok=True)
    (host.root / "app" / name).write_bytes(SQLITE)
    (host.root / "shared").chmod(0o755)
    before = host.tree()
    refused = host.stage(host.resolve(), adopt=True, user="nobody", group="nogroup", shared_paths=[name])
    assert refused["failed"] and f"release_shared_paths has {name}, an SQLite database" in refused["msg"]
    assert host.tree() == before


def test_refused_adoption_changes_nothing(host):
    guide_tree(host)
    before = host.tree()
    assert host.stage(host.resolve(), adopt=True, shared_paths=["missing.db"])["failed"]
    assert host.tree() == before


def test_remedy_for_an_existing_venv_works(host):
    (host.root / "venv/bin").mkdir(parents=True)
    refused = host.stage(host.resolve())
    if "release_adopt=true" in refused["msg"]:
        assert not host.stage(host.resolve(), adopt=True).get("failed")


def _killed_adoption(host, source, left):
    """Adopt in a process that is killed after a number of exchanges."""
    done = []

    def killed(real):
        def exchange(*names, **keywords):
            real(*names, **keywords)
            done.append(names)
            if len(done) == left:
                os.kill(os.getpid(), signal.SIGKILL)

        return exchange

    shared_paths.exchange_names = killed(shared_paths.exchange_names)
    existing_code.exchange_names_at = killed(existing_code.exchange_names_at)
    host.stage(source, adopt=True, shared_paths=["instance/"])


@pytest.mark.parametrize("exchanges", [1, 2, 3])
def test_code_data_and_packages_exist_at_any_time_of_an_adoption(host, exchanges):
    files = guide_tree(host, **{"app/instance/app.db": "rows"})
    source = host.resolve()
    process = multiprocessing.get_context("fork").Process(target=_killed_adoption, args=(host, source, exchanges))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert {path: (host.root / path).exists() for path in files} == dict.fromkeys(files, True)
    again = {**OTHER_RUN, "replaces": "run-1"}
    assert not host.stage(source, adopt=True, shared_paths=["instance/"], run=again).get("failed")
    assert {path: (host.root / path).read_text() for path in files} == files
    assert (Path(host.layout.release("v1")) / "instance/app.db").read_text() == "rows"


@pytest.mark.parametrize("planted", ["app/data", "shared/data"])
def test_no_data_is_adopted_through_a_link_of_the_application(host, tmp_path, planted):
    guide_tree(host, **{"app/data/uploads/photo": "precious"})
    private = tmp_path / "private"
    private.mkdir()
    if planted == "app/data":
        (private / "uploads").mkdir()
        (host.root / planted).rename(host.root / "app/moved")
    (host.root / "shared").mkdir(exist_ok=True)
    (host.root / planted).symlink_to(private)
    before = os.listdir(private)
    if os.geteuid() == 0:
        os.lchown(host.root / planted, 4711, 4711)
    assert host.stage(host.resolve(), adopt=True, shared_paths=["data/uploads/"])["failed"]
    assert os.listdir(private) == before


# Code that lies on the host already


def test_code_on_the_host_is_staged_without_an_archive(host, tmp_path):
    code = tmp_path / "old"
    (code / "instance").mkdir(parents=True)
    (code / "wsgi.py").write_text("app = None\n")
    (host.root / "app").mkdir()
    source = describe_code(str(code), [str(code / "instance")], [])
    result = host.stage(source, archive=False, shared_paths=["instance/"])
    assert result["changed"] and not result["present"]
    release = host.root / "releases" / source["name"]
    assert (release / "wsgi.py").read_text() == "app = None\n"
    assert os.readlink(release / "instance") == "../../shared/instance"
    assert ReleaseStore(host.layout).read_record(source["name"])["source"]["location"] == str(code)
    # What is there by hand is not in the way yet, and the code is where it was.
    assert (host.root / "app").is_dir() and (code / "instance").is_dir()
    assert not host.stage(source, archive=False, shared_paths=["instance/"])["changed"]


def test_adopted_data_of_another_user_gets_the_new_owner(host, as_root):
    """An application that ran as www-data gets a user of its own when its code is adopted."""
    guide_tree(host, **{"app/instance/app.db": "rows"})
    for path in (host.root / "app/instance", host.root / "app/instance/app.db"):
        os.chown(path, 54711, 54711)
    result = host.stage(host.resolve(), adopt=True, shared_paths=["instance/"], user="nobody", group="nogroup")
    assert not result.get("failed"), result["msg"]
    nobody = pwd.getpwnam("nobody").pw_uid
    found = host.root / "shared/instance/app.db"
    assert [os.stat(path).st_uid for path in (found, found.parent)] == [nobody] * 2
    # The process that runs on it may go on.
    if acl.read_acl(str(found)) is not None:
        assert acl.get_user_rights(acl.read_acl(str(found)))[54711] & 6 == 6
    assert os.path.exists(host.layout.former_user)


def test_release_staged_by_another_step_of_the_run_is_kept(host, monkeypatch):
    """One host may have two names in the inventory."""
    source, read_release_state = host.resolve(), preparation.read_release_state

    def meanwhile(store, options):
        found = read_release_state(store, options)
        if not found["present"]:
            monkeypatch.setattr(preparation, "read_release_state", read_release_state)
            assert not host.stage(source).get("failed")
        return found

    monkeypatch.setattr(preparation, "read_release_state", meanwhile)
    result = host.stage(source)
    assert not result.get("failed"), result
    assert (result["release"], result["present"], os.listdir(host.layout.releases)) == ("v1", True, ["v1"])
