# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The users of the old and the new application attack an adoption with links, pipes and races."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import sqlite3

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._adoption import database
from ansible_collections.flaskops.production.plugins.module_utils._adoption.data import (
    DataCopier,
    DataOrigin,
    DataOwner,
    find_conflicts,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.database import list_readers
from ansible_collections.flaskops.production.plugins.module_utils._adoption.environment import (
    build_environment,
    write_environment,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import Move
from ansible_collections.flaskops.production.plugins.module_utils._adoption.record import TEMPORARY
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._files.directory import UnsafePathError
from ansible_collections.flaskops.production.plugins.module_utils._files.ownership import remove_tree
from ansible_collections.flaskops.production.plugins.module_utils._releases.host_code import copy_code, describe_code

ADA = 4711
OWNER = DataOwner(ADA, ADA, ADA)
SECRET = b"the secret of root"


def give(path):
    for item in [path, *path.rglob("*")]:
        os.chown(item, ADA, ADA, follow_symlinks=False)


class Shop:
    """An old deployment of the user ada, and the layout that it is copied to."""

    def __init__(self, path):
        self.old, self.root = path / "shop", path / "new"
        (self.old / "uploads/2026").mkdir(parents=True)
        for name in ("uploads/cat.png", "uploads/2026/dog.png"):
            (self.old / name).write_text("picture")
        (self.old / ".env").write_text("KEY=of ada\n")
        (self.old / "wsgi.py").write_text("app = 1\n")
        give(self.old)
        self.shared = self.root / "shared"
        (self.shared / "media").mkdir(parents=True)
        give(self.shared / "media")
        (self.root / ".deploy").mkdir()
        (self.root / "releases").mkdir()
        self.layout = Layout(str(self.root))
        self.tops = [str(self.old)]
        self.moves = [Move("uploads", str(self.old / "uploads"), "media", "uploads", "", "uploads")]

    def add_database(self):
        connection = sqlite3.connect(self.old / "shop.db")
        connection.execute("CREATE TABLE entry (text)")
        connection.execute("INSERT INTO entry VALUES ('of ada')")
        connection.commit()
        connection.close()
        os.chown(self.old / "shop.db", ADA, ADA)
        self.moves = [Move("database", str(self.old / "shop.db"), "database/shop.db", "shop.db", "", "a database")]

    def copy(self):
        DataCopier(self.layout, self.moves, OWNER, DataOrigin(self.tops, ""), {}).copy()


@pytest.fixture
def shop(open_path):
    return Shop(open_path)


def everything(directory):
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file() and not path.is_symlink())


# The copies


def test_links_under_guessable_temporary_names_are_not_followed(shop, untouched):
    for number in range(-100, 3000):
        link = shop.shared / f"media/{TEMPORARY}{os.getpid() + number}"
        link.symlink_to(untouched / ("secret" if number % 2 else "owned"))
        os.chown(link, ADA, ADA, follow_symlinks=False)
    shop.copy()
    assert (shop.shared / "media/cat.png").read_text() == "picture"
    assert os.listdir(untouched) == ["secret"]


def test_links_in_place_of_copies_are_replaced_or_refused(shop, untouched):
    (shop.shared / "media/cat.png").symlink_to(untouched / "secret")
    shop.copy()
    assert (shop.shared / "media/cat.png").read_text() == "picture"
    shutil.rmtree(shop.shared / "media/2026")
    (shop.shared / "media/2026").symlink_to(untouched)
    with pytest.raises((ReleaseError, OSError), match="media/2026"):
        shop.copy()
    assert find_conflicts(shop.layout, shop.moves, OWNER, shop.tops) != []


@pytest.mark.parametrize("fails", [False, True])
def test_all_descriptors_are_closed(shop, fails):
    (shop.old / "uploads/link").symlink_to("cat.png")
    if fails:
        (shop.shared / "media/2026").write_text("in the way")
    before = os.listdir("/proc/self/fd")
    for add in (lambda: None, shop.add_database):
        add()
        with contextlib.suppress(ReleaseError):
            shop.copy()
    gc.collect()
    assert os.listdir("/proc/self/fd") == before


def test_owner_and_mode_of_hard_links_are_unchanged(shop, untouched):
    shop.copy()
    target, source = shop.shared / "media/cat.png", (shop.old / "uploads/cat.png").stat()
    target.unlink()
    os.utime(untouched / "secret", ns=(source.st_atime_ns, source.st_mtime_ns))
    os.truncate(shop.old / "uploads/cat.png", len(SECRET))
    os.utime(shop.old / "uploads/cat.png", ns=(source.st_atime_ns, source.st_mtime_ns))
    os.link(untouched / "secret", target)
    with pytest.raises(OSError, match="is neither a directory nor a regular file with one hard link"):
        shop.copy()


def test_the_application_cannot_redirect_a_copy_in_a_race(shop, untouched, attack):
    media = str(shop.shared / "media")

    def step():
        """Replace each name, and the directory, by a link as soon as it exists."""
        for name in os.listdir(media):
            path = f"{media}/{name}"
            if name == "2026":
                os.rename(path, f"{media}/aside")
                os.symlink(untouched, path)
            elif os.path.islink(path):
                os.unlink(path)
            elif name == "aside":
                os.rmdir(path)
            else:
                os.unlink(path)
                os.symlink(untouched / "secret", path)

    copied = 0
    with attack(step):
        for _turn in range(100):
            try:
                shop.copy()
                copied += 1
            except (ReleaseError, OSError):
                pass
    assert SECRET not in everything(shop.shared)


def test_uploads_are_not_read_through_links_in_a_race(shop, untouched, attack, flipping, rounds):
    path, outcomes = shop.old / "uploads/cat.png", set()
    with attack(flipping(str(path), f"{path}.link", str(untouched / "secret"))):
        for _turn in rounds(lambda: {"link", "file"} <= outcomes, 40):
            shutil.rmtree(shop.shared / "media")
            (shop.shared / "media").mkdir()
            give(shop.shared / "media")
            try:
                shop.copy()
            except (ReleaseError, OSError):
                outcomes.add("refused")
            assert SECRET not in everything(shop.shared)
            outcomes.add("link" if (shop.shared / "media/cat.png").is_symlink() else "file")
    assert {"link", "file"} <= outcomes


# Databases


def private_database(directory):
    connection = sqlite3.connect(directory / "secret.db")
    connection.execute("CREATE TABLE entry (text)")
    connection.execute("INSERT INTO entry VALUES ('the secret of root')")
    connection.commit()
    connection.close()


def test_databases_are_not_read_through_links_in_a_race(shop, private, attack, flipping, rounds):
    private_database(private)
    shop.add_database()
    path, outcomes = shop.old / "shop.db", set()
    with attack(flipping(str(path), f"{path}.link", str(private / "secret.db"))):
        for _turn in rounds(lambda: "copied" in outcomes, 40):
            shutil.rmtree(shop.shared / "database", ignore_errors=True)
            try:
                shop.copy()
                outcomes.add("copied")
            except (ReleaseError, OSError):
                outcomes.add("refused")
            assert SECRET not in everything(shop.shared)
            assert sorted(os.listdir(private)) == ["secret", "secret.db"]
    assert "copied" in outcomes
    assert os.listdir(shop.layout.state) == []


def test_a_database_is_copied_by_a_user_with_access(shop):
    shop.add_database()
    assert [uid for _name, uid, _gid in list_readers(str(shop.old / "shop.db"), "www-data")] == [33, ADA]
    assert [uid for _name, uid, _gid in list_readers("/etc/passwd", "root")] == [0]
    shop.copy()
    info = (shop.shared / "database/shop.db").stat()
    assert (info.st_uid, info.st_mode & 0o7777) == (ADA, 0o640)
    os.chown(shop.old / "shop.db", 0, 0)
    (shop.old / "shop.db").chmod(0o600)
    with pytest.raises(ReleaseError, match=f"shop.db cannot be copied: .*, as the user {ADA}"):
        shop.copy()


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_a_database_is_copied_while_its_user_writes_to_it(shop, attack, journal):
    """The copy leaves no files of root beside the database."""
    shop.add_database()

    def step():
        connection = sqlite3.connect(shop.old / "shop.db", timeout=30)
        with connection:
            connection.execute(f"PRAGMA journal_mode={journal}")
            connection.execute("INSERT INTO entry VALUES ('more')")
        connection.close()

    with attack(step):
        for _turn in range(5):
            shop.copy()
    copied = sqlite3.connect(f"file:{shop.shared / 'database/shop.db'}?mode=ro&immutable=1", uri=True)
    assert copied.execute("SELECT count(*) FROM entry").fetchone()[0] > 1
    copied.close()
    assert {path.stat().st_uid for path in shop.old.glob("shop.db*")} == {ADA}


def test_a_stopped_copy_process_does_not_block_the_run(shop, monkeypatch, attack):
    shop.add_database()
    monkeypatch.setattr(database, "COPY_TIMEOUT", 2)
    monkeypatch.setattr(database, "copy_database", lambda *_arguments: os.kill(os.getpid(), signal.SIGSTOP))
    with pytest.raises(ReleaseError, match="its process was ended, or took too long"):
        shop.copy()


def test_a_copy_process_stopped_during_its_report_does_not_block_the_run(shop, monkeypatch):
    def tell_half(_user, write, _work):
        os.write(write, b'["done"')
        os.kill(os.getpid(), signal.SIGSTOP)

    shop.add_database()
    monkeypatch.setattr(database, "COPY_TIMEOUT", 1)
    monkeypatch.setattr(database, "_run_child", tell_half)
    with pytest.raises(ReleaseError, match="its process was ended, or took too long"):
        shop.copy()


def go_deep(path, levels=2000):
    """Nest directories more deeply than Python's recursion limit and the maximum length of a path."""
    start = os.open(".", os.O_RDONLY)
    os.chdir(path)
    for _level in range(levels):
        os.mkdir("d")
        os.chdir("d")
    os.fchdir(start)
    os.close(start)


def test_deeply_nested_directories_do_not_block_the_next_run(shop, monkeypatch):
    shop.add_database()
    monkeypatch.setattr(database, "copy_database", lambda _from, to, _exact: go_deep(os.path.dirname(to)))
    with pytest.raises(OSError, match="copy"):
        shop.copy()
    assert list((shop.root / ".deploy").iterdir()) == []


def test_too_deeply_nested_uploads_are_reported(shop):
    go_deep(shop.old / "uploads")
    try:
        with pytest.raises(UnsafePathError, match="/d/d/d.*… lies more than 100 directories deep"):
            shop.copy()
    finally:
        remove_tree(str(shop.old / "uploads"))


def test_a_pipe_is_not_a_database(shop):
    shop.add_database()
    (shop.old / "shop.db").unlink()
    os.mkfifo(shop.old / "shop.db")
    shop.copy()
    assert not (shop.shared / "database").exists()


# The environment


@pytest.mark.parametrize("planted", ["link", "hard link", "directory", "pipe"])
def test_environment_files_of_other_users_are_not_read(shop, private, planted, monkeypatch):
    path = shop.old / ".env"
    path.unlink()
    if planted == "link":
        path.symlink_to(private / "secret")
    elif planted == "hard link":
        os.link(private / "secret", path)
    elif planted == "pipe":
        os.mkfifo(path)
    else:
        (shop.old / "conf").symlink_to(private)
        path = shop.old / "conf/secret"
    with pytest.raises(OSError):
        read_environment(monkeypatch, [str(path)], shop.tops)


def read_environment(monkeypatch, files, tops):
    module = "ansible_collections.flaskops.production.plugins.module_utils._adoption.environment.read_unit_properties"
    monkeypatch.setattr(module, lambda _unit, _name: {})
    return build_environment("shop.service", files, [], tops)


def test_a_linked_environment_file_beside_the_code_is_read(shop, monkeypatch):
    (shop.old / "releases/1").mkdir(parents=True)
    (shop.old / "releases/1/.env").symlink_to("../../.env")
    code = str(shop.old / "releases/1")
    assert read_environment(monkeypatch, [f"{code}/.env"], [str(shop.old), code]) == b"KEY=of ada\n"


def test_an_outside_environment_file_must_belong_to_the_owner_of_its_link(shop, private, tmp_path, monkeypatch):
    (shop.old.parent / "elsewhere").symlink_to(private / "secret")
    assert read_environment(monkeypatch, [str(shop.old.parent / "elsewhere")], shop.tops) == SECRET + b"\n"
    os.chown(shop.old.parent / "elsewhere", ADA, ADA, follow_symlinks=False)
    with pytest.raises(OSError, match="does not belong to the owner of the link"):
        read_environment(monkeypatch, [str(shop.old.parent / "elsewhere")], shop.tops)


def test_environment_files_are_not_read_through_links_in_a_race(shop, untouched, attack, flipping, rounds, monkeypatch):
    path, outcomes = str(shop.old / ".env"), set()
    with attack(flipping(path, f"{path}.link", str(untouched / "secret"))):
        for _turn in rounds(lambda: len(outcomes) > 1, 200):
            try:
                outcomes.add(read_environment(monkeypatch, [path], shop.tops))
            except OSError:
                outcomes.add("refused")
    assert outcomes == {b"KEY=of ada\n", "refused"}


def test_the_environment_replaces_a_link(shop, untouched):
    (shop.shared / ".env").symlink_to(untouched / "secret")
    assert write_environment(shop.layout, b"KEY=1\n", 0, ADA)
    assert (shop.shared / ".env").read_bytes() == b"KEY=1\n" and not (shop.shared / ".env").is_symlink()


# The code


def test_code_is_not_read_through_links_in_a_race(shop, untouched, attack, flipping, rounds):
    path, outcomes = str(shop.old / "wsgi.py"), set()
    with attack(flipping(path, f"{path}.link", str(untouched / "secret"))):
        for _turn in rounds(lambda: "copied" in outcomes, 100):
            release = shop.root / "releases/one"
            try:
                copy_code(describe_code(str(shop.old), [], ["*.aside", "*.link"]), str(release))
                outcomes.add("copied")
            except (ReleaseError, OSError):
                outcomes.add("refused")
            assert SECRET not in everything(shop.root / "releases")
            shutil.rmtree(release, ignore_errors=True)
    assert "copied" in outcomes
