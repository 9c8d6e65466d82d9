# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of real data are verified and resumable, with owners and modes, during writes to the originals."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import sqlite3
import stat

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._adoption import data as data_module
from ansible_collections.flaskops.production.plugins.module_utils._adoption import database as database_module
from ansible_collections.flaskops.production.plugins.module_utils._adoption import environment
from ansible_collections.flaskops.production.plugins.module_utils._adoption.data import (
    DataCopier,
    DataOrigin,
    DataOwner,
    find_conflicts,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.environment import (
    build_environment,
    write_environment,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import Move
from ansible_collections.flaskops.production.plugins.module_utils._adoption.record import AdoptionRecord
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError

OWNER = DataOwner(4711, 4712, 33)


class Place:
    """An old directory, and the layout that it is copied to."""

    def __init__(self, path):
        self.old = path / "old"
        self.layout = Layout(str(path / "new"))
        self.shared = path / "new/shared"
        self.shared.mkdir(parents=True)
        (path / "new/.deploy").mkdir()
        self.old.mkdir()
        self.moves = []
        self.known = {}
        self.user = "root"

    def file(self, name, content="x"):
        path = self.old / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def database(self, name, *rows, journal="DELETE"):
        path = self.old / name
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path)
        connection.execute(f"PRAGMA journal_mode={journal}")
        connection.execute("CREATE TABLE IF NOT EXISTS entry (text)")
        connection.executemany("INSERT INTO entry VALUES (?)", [(row,) for row in rows])
        connection.commit()
        return connection

    def move(self, kind, name, target, link=None, via=""):
        self.moves.append(Move(kind, str(self.old / name), target, link or name, via, "why"))

    def origin(self):
        return DataOrigin([str(self.old)], self.user)

    def copy(self, final=False):
        data = DataCopier(self.layout, self.moves, OWNER, self.origin(), self.known)
        data.copy(final)
        return [os.path.relpath(path, self.shared) for path in data.changed]

    def rows(self, name):
        connection = sqlite3.connect(f"file:{self.shared / name}?mode=ro", uri=True)
        try:
            return [row[0] for row in connection.execute("SELECT text FROM entry ORDER BY text")]
        finally:
            connection.close()


@pytest.fixture
def place(tmp_path, as_root):
    return Place(tmp_path)


def read_owner_and_mode(path):
    info = os.lstat(path)
    return info.st_uid, info.st_gid, f"{stat.S_IMODE(info.st_mode):o}"


def tree(path):
    return {
        str(item): (read_owner_and_mode(item), item.lstat().st_mtime_ns, None if item.is_dir() else item.read_bytes())
        for item in path.rglob("*")
    }


def test_uploads_are_copied_for_the_application_and_for_nginx(place):
    place.file("uploads/2026/cat.png", "cat").chmod(0o600)
    (place.old / "uploads/latest").symlink_to("2026/cat.png")
    place.move("uploads", "uploads", "media", via="uploads")
    before = tree(place.old)
    assert place.copy() == ["media", "media/2026", "media/2026/cat.png", "media/latest", "uploads"]
    assert (place.shared / "media/2026/cat.png").read_text() == "cat"
    assert read_owner_and_mode(place.shared / "media/2026/cat.png") == (4711, 33, "640")
    assert read_owner_and_mode(place.shared / "media/2026") == (4711, 33, "2750")
    assert os.readlink(place.shared / "media/latest") == "2026/cat.png"
    assert os.readlink(place.shared / "uploads") == "media"
    assert tree(place.old) == before


def test_a_second_pass_copies_only_changed_files(place):
    place.file("uploads/a")
    place.file("uploads/b")
    place.database("var/shop.db", "one").close()
    place.move("uploads", "uploads", "media")
    place.move("data", "var", "var")
    place.copy()
    assert place.copy() == []
    place.file("uploads/b", "changed")
    place.file("uploads/c", "new")
    place.database("var/shop.db", "two").close()
    assert place.copy(final=True) == ["media/b", "media/c", "var/shop.db"]
    assert (place.shared / "media/b").read_text() == "changed"
    assert place.rows("var/shop.db") == ["one", "two"]


def test_an_absolute_link_into_the_data_leads_to_the_copy(place):
    place.file("uploads/2026/cat.png")
    (place.old / "uploads/latest").symlink_to(place.old / "uploads/2026/cat.png")
    (place.old / "uploads/elsewhere").symlink_to("/etc/hostname")
    place.move("uploads", "uploads", "media")
    place.copy()
    assert os.readlink(place.shared / "media/latest") == "2026/cat.png"
    assert os.readlink(place.shared / "media/elsewhere") == "/etc/hostname"


def test_data_in_shared_is_only_linked(place):
    (place.shared / "files").mkdir()
    (place.shared / "files/a").write_text("a")
    place.moves.append(Move("data", str(place.shared / "files"), "files", "uploads", "uploads", "why"))
    assert place.copy() == ["uploads"]
    assert os.readlink(place.shared / "uploads") == "files"
    assert read_owner_and_mode(place.shared / "files/a")[0] == os.geteuid()


def test_keys_belong_to_root(place):
    place.file("tls.key", "secret").chmod(0o644)
    place.move("key", "tls.key", "tls.key")
    place.copy()
    assert read_owner_and_mode(place.shared / "tls.key") == (0, 4712, "640")


def test_a_database_is_in_a_writable_directory(place):
    place.database("shop.db", "one").close()
    place.move("database", "shop.db", "database/shop.db", via="shop.db")
    place.copy()
    assert read_owner_and_mode(place.shared / "database") == (4711, 4712, "750")
    assert read_owner_and_mode(place.shared / "database/shop.db") == (4711, 4712, "640")
    assert place.rows("shop.db") == ["one"]


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_a_database_is_copied_consistently_during_writes(place, journal):
    place.database("shop.db", journal=journal).close()
    place.move("database", "shop.db", "database/shop.db", via="shop.db")
    context = multiprocessing.get_context("fork")
    written, stop = context.Value("i", 0), context.Event()

    def write():
        connection = sqlite3.connect(place.old / "shop.db", timeout=30)
        while not stop.is_set():
            with connection:
                connection.executemany("INSERT INTO entry VALUES (?)", [(f"{written.value:06}",)] * 2)
            written.value += 1
        connection.close()

    writer = context.Process(target=write)
    writer.start()
    try:
        for _pass in range(5):
            confirmed = written.value
            place.copy()
            rows = place.rows("shop.db")
            # All completed transactions are copied, and no part of another one.
            assert len(rows) >= 2 * confirmed and len(rows) % 2 == 0
    finally:
        stop.set()
        writer.join()
    place.copy(final=True)
    assert place.rows("shop.db") == sorted([f"{number:06}" for number in range(written.value)] * 2)
    assert [path for path in (place.shared / "database").iterdir() if path.name.startswith(".")] == []


def test_the_log_of_an_earlier_copy_is_removed(place):
    source = place.database("shop.db", "one", journal="WAL")
    place.move("database", "shop.db", "database/shop.db")
    place.copy()
    # A process that used the copy was killed, so its rows are still in the log.
    copied = sqlite3.connect(place.shared / "database/shop.db")
    copied.execute("INSERT INTO entry VALUES ('of the trial')")
    copied.commit()
    kept = place.shared / "kept"
    shutil.copy(place.shared / "database/shop.db-wal", kept)
    copied.close()
    shutil.copy(kept, place.shared / "database/shop.db-wal")
    source.execute("INSERT INTO entry VALUES ('two')")
    source.commit()
    place.copy(final=True)
    assert place.rows("database/shop.db") == ["one", "two"]
    source.close()


def test_a_write_during_the_final_pass_is_detected(place, monkeypatch):
    place.database("shop.db", "one").close()
    place.move("database", "shop.db", "database/shop.db")
    counts = iter([{"entry": 2}, {"entry": 1}])
    monkeypatch.setattr(database_module, "count_rows", lambda _connection: next(counts))
    with pytest.raises(ReleaseError, match="has other rows than it: a process still writes to it"):
        place.copy(final=True)
    assert not (place.shared / "database/shop.db").exists()


def test_a_damaged_database_is_refused(place):
    place.database("shop.db", *map(str, range(5000))).close()
    data = bytearray((place.old / "shop.db").read_bytes())
    data[8192:12288] = bytes(4096)
    (place.old / "shop.db").write_bytes(data)
    place.move("database", "shop.db", "database/shop.db")
    with pytest.raises(ReleaseError, match="shop.db (is damaged|cannot be copied)"):
        place.copy()
    assert list((place.shared / "database").iterdir()) == []


def test_a_differing_copy_is_refused_and_removed(place, monkeypatch):
    place.file("uploads/a", "true")
    place.move("uploads", "uploads", "media")
    monkeypatch.setattr(data_module, "copy_bytes", lambda _read, write: write.write(b"false") and "x")
    with pytest.raises(ReleaseError, match="differs from it"):
        place.copy()
    assert list((place.shared / "media").iterdir()) == []


def test_conflicting_files_are_reported(place):
    place.file("uploads/a", "mine")
    place.file("uploads/b", "same")
    place.move("uploads", "uploads", "media")
    (place.shared / "media").mkdir()
    assert find_conflicts(place.layout, place.moves, OWNER, place.origin().tops) == []
    (place.shared / "media/a").write_text("another's")
    (place.shared / "media/b").write_text("same")
    assert find_conflicts(place.layout, place.moves, OWNER, place.origin().tops) == [str(place.shared / "media/a")]


def test_the_environment_file_keeps_the_precedence_of_the_unit(place, monkeypatch):
    dotenv, unit_file = place.file(".env", "A=dotenv\nB=dotenv\nC=dotenv"), place.file("default", "A=file\n")
    given = 'A=unit "B=with \\"quotes\\" and $" D=4'
    monkeypatch.setattr(environment, "read_unit_properties", lambda _unit, _name: {"Environment": given})
    text = build_environment("shop.service", [str(dotenv)], [str(unit_file)], place.origin().tops)
    assert text == b'A=dotenv\nB=dotenv\nC=dotenv\nB="with \\"quotes\\" and \\$"\nD="4"\nA=file\n'
    assert write_environment(place.layout, text, 0, 4712)
    assert not write_environment(place.layout, text, 0, 4712)
    assert read_owner_and_mode(place.shared / ".env") == (0, 4712, "640")
    # A file that is its own source keeps its size.
    own = [str(place.shared / ".env")]
    assert build_environment("shop.service", [], own, place.origin().tops) == text


def test_only_root_can_read_the_record(place):
    record = AdoptionRecord(place.layout)
    assert record.read() == {}
    record.write(state="copying")
    assert record.write(known={}) == {"state": "copying", "known": {}} == AdoptionRecord(place.layout).read()
    assert read_owner_and_mode(record.path) == (0, 0, "600")


def test_every_byte_is_copied(place):
    content = os.urandom(3 << 20)
    place.file("uploads/large").write_bytes(content)
    place.move("uploads", "uploads", "media")
    place.copy()
    copied = (place.shared / "media/large").read_bytes()
    assert hashlib.sha256(copied).digest() == hashlib.sha256(content).digest()
