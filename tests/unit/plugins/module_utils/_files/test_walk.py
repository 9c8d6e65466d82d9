# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Path resolution by descriptor, with files of real users."""

from __future__ import annotations

import contextlib
import os
import stat

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._files.directory import (
    UnsafePathError,
    set_owner_and_mode,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import (
    open_directory_safely,
    open_file,
    read_file,
    resolve,
    resolve_beneath,
    walk_tree,
)

ADA, BOB = 4711, 4712
PREFIX = ".test-"


def chown(path, uid):
    os.chown(path, uid, uid, follow_symlinks=False)


@pytest.fixture
def home(tmp_path, as_root):
    """Create a directory of the user ada with a file and a subdirectory."""
    path = tmp_path / "ada"
    (path / "data").mkdir(parents=True)
    (path / "file").write_text("of ada")
    (tmp_path / "secret").write_text("of root")
    for item in (path, path / "data", path / "file"):
        chown(item, ADA)
    return path


def read_beneath(top, name):
    with open_directory_safely(str(top), reading=True) as directory:
        found = resolve_beneath(directory, name)
        with found.directory, found.directory.open_stream(found.name) as stream:
            return stream.read()


def test_descriptor_refers_to_the_path(home):
    with open_directory_safely(str(home)) as directory:
        assert directory.stat().st_ino == home.stat().st_ino
        assert directory.list_names() == ["data", "file"]


def test_error_names_the_full_path(home):
    with pytest.raises(FileNotFoundError) as error:
        open_directory_safely(str(home / "gone/deeper"))
    assert error.value.filename == str(home / "gone")


@pytest.mark.parametrize("links", [True, False])
def test_links_of_root_are_followed(home, tmp_path, links):
    (tmp_path / "alias").symlink_to("ada")
    if links:
        with open_directory_safely(str(tmp_path / "alias/data")) as directory:
            assert directory.path == str(home / "data")
    else:
        with pytest.raises(UnsafePathError, match="is a symbolic link to ada, which is not followed"):
            open_directory_safely(str(tmp_path / "alias/data"), links=False)


@pytest.mark.parametrize("of", ["link", "directory"])
def test_link_replaceable_by_another_user_is_refused(home, tmp_path, of):
    link = home / "link" if of == "directory" else tmp_path / "link"
    link.symlink_to(tmp_path)
    if of == "link":
        chown(link, ADA)
    with pytest.raises(UnsafePathError, match="a user other than root can replace"):
        open_directory_safely(str(link / "ada"))


def test_directory_of_a_user_above_that_of_another_is_refused(home):
    (home / "data/inner").mkdir()
    with pytest.raises(UnsafePathError, match=f"inner belongs to root, but its parent {home}/data"):
        open_directory_safely(str(home / "data/inner"))
    chown(home / "data/inner", BOB)
    with pytest.raises(UnsafePathError, match=f"inner belongs to {BOB}"):
        open_directory_safely(str(home / "data/inner"))
    # Accepted if nothing is written, if ada is trusted, or if ada owns all of it.
    open_directory_safely(str(home / "data/inner"), reading=True).close()
    open_directory_safely(str(home / "data/inner"), trusted={ADA}).close()
    chown(home / "data/inner", ADA)
    open_directory_safely(str(home / "data/inner")).close()


def test_number_of_links_is_limited(tmp_path, as_root):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels"):
        open_directory_safely(str(tmp_path / "a"))


# Beneath


@pytest.mark.parametrize("text", ["file", "data/../file", "./data/./../file", "{home}/file", "{home}/data/../file"])
def test_link_within_the_top_is_followed(home, text):
    (home / "data/link").symlink_to("../chain")
    (home / "chain").symlink_to(text.format(home=home))
    assert read_beneath(home, "data/link") == b"of ada"


@pytest.mark.parametrize(
    "text", ["../secret", "{home}/../secret", "/etc/passwd", "data/../../secret", "{home}2/secret", "/"]
)
def test_link_out_of_the_top_is_refused(home, tmp_path, text):
    (tmp_path / "ada2").mkdir()
    (tmp_path / "ada2/secret").write_text("x")
    (home / "link").symlink_to(text.format(home=home))
    with pytest.raises(UnsafePathError, match="leads out of"):
        read_beneath(home, "link")


def test_directory_replaced_by_a_link_is_refused(home, tmp_path):
    (home / "way").symlink_to(tmp_path)
    with pytest.raises(UnsafePathError, match="leads out of"):
        read_beneath(home, "way/secret")


# Files


@pytest.mark.parametrize("kind", ["pipe", "socket", "directory", "device"])
def test_only_regular_files_are_opened_without_blocking(home, kind):
    path = home / "odd"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        os.mknod(path, 0o600 | stat.S_IFSOCK)
    elif kind == "directory":
        path.mkdir()
    else:
        path = "/dev/null"
    with pytest.raises(OSError):
        open_file(str(path))


def test_hard_link_to_a_file_of_another_user_is_refused(home, tmp_path):
    os.link(tmp_path / "secret", home / "linked")
    with pytest.raises(UnsafePathError, match="has 2 hard links and belongs to root"):
        read_beneath(home, "linked")
    # A file of ada may have two names, and a file of root may be in her directory.
    os.link(home / "file", home / "file2")
    assert read_beneath(home, "file2") == b"of ada"
    (home / "of-root").write_text("for ada")
    assert read_beneath(home, "of-root") == b"for ada"


def test_link_of_a_user_must_lead_to_a_file_of_the_user(home, tmp_path):
    (home / "own").symlink_to(home / "file")
    (home / "foreign").symlink_to(tmp_path / "secret")
    (tmp_path / "roots").symlink_to("secret")
    assert read_file(str(home / "own")) == b"of ada"
    assert read_file(str(tmp_path / "roots")) == b"of root"
    assert read_file(str(tmp_path / "secret"), 2) == b"of"
    with pytest.raises(UnsafePathError, match="does not belong to the owner of the link"):
        read_file(str(home / "foreign"))


@pytest.mark.parametrize("owner", [0, ADA])
def test_a_directory_behind_a_users_link_must_be_that_users(home, tmp_path, owner):
    (tmp_path / "there").mkdir()
    os.chown(tmp_path / "there", owner, owner)
    (home / "link").symlink_to(tmp_path / "there")
    os.lchown(home / "link", ADA, ADA)
    if owner == ADA:
        assert resolve(str(home / "link")) == str(tmp_path / "there")
        return
    with pytest.raises(UnsafePathError, match="does not belong to the owner of the link"):
        resolve(str(home / "link"))
    with pytest.raises(UnsafePathError, match="does not belong to the owner of the link"):
        resolve(str(home / "link/."))


def test_walk_yields_links_without_following_them(home, tmp_path):
    (home / "data/out").symlink_to(tmp_path)
    (home / "data/inner").mkdir()
    (home / "data/inner/file").write_text("x")
    with open_directory_safely(str(home), reading=True) as directory:
        found = [os.path.relpath(item.path, home) for item in walk_tree(directory, "data")]
    assert found == ["data", "data/inner", "data/inner/file", "data/out"]


# Writing


def test_new_file_has_its_owner_before_its_name(home):
    with open_directory_safely(str(home)) as directory:
        with directory.open_replacement("file", PREFIX) as stream:
            stream.write(b"new")
            assert (home / "file").read_text() == "of ada"
            set_owner_and_mode(stream.fileno(), ADA, BOB, 0o640)
        assert directory.list_names() == ["data", "file"]
    info = (home / "file").stat()
    assert (info.st_uid, info.st_gid, info.st_mode & 0o7777) == (ADA, BOB, 0o640)


def test_failed_replacement_keeps_the_old_file_and_no_temporary_name(home):
    with open_directory_safely(str(home)) as directory:
        with pytest.raises(ZeroDivisionError), directory.open_replacement("file", PREFIX) as stream:
            stream.write(b"new")
            raise ZeroDivisionError
        with pytest.raises(OSError):
            directory.make_directory("file", ADA, ADA, 0o700, PREFIX)
        with pytest.raises(OSError):
            directory.replace_link("data", "file", PREFIX)
        assert directory.list_names() == ["data", "file"]
    assert (home / "file").read_text() == "of ada"


def test_new_directory_has_owner_and_mode_from_the_start(home):
    with open_directory_safely(str(home)) as directory:
        directory.make_directory("new", ADA, BOB, 0o2750, PREFIX).close()
    info = (home / "new").stat()
    assert (info.st_uid, info.st_gid, info.st_mode & 0o7777) == (ADA, BOB, 0o2750)


@pytest.mark.parametrize("planted", ["link", "hard link"])
def test_owner_and_mode_of_other_files_do_not_change(home, tmp_path, planted):
    (home / "file").unlink()
    if planted == "link":
        (home / "file").symlink_to(tmp_path / "secret")
    else:
        os.link(tmp_path / "secret", home / "file")
    with open_directory_safely(str(home)) as directory, pytest.raises(OSError):
        directory.set_owner_and_mode("file", ADA, ADA, 0o666)
    assert (tmp_path / "secret").stat().st_uid == 0


def test_attacker_cannot_redirect_writes(open_path, untouched, attack, flipping, rounds):
    """An attacker exchanges a directory with a link while root creates files and directories in it."""
    top = open_path / "top"
    (top / "inner").mkdir(parents=True)
    for path in (top, top / "inner"):
        chown(path, ADA)
    outcomes = set()
    with attack(flipping(str(top / "inner"), str(top / "link"), str(untouched))):
        for turn in rounds(lambda: len(outcomes) > 1, 200):
            try:
                with open_directory_safely(str(top / "inner")) as directory:
                    with directory.open_replacement(f"file{turn % 7}", PREFIX) as stream:
                        stream.write(b"x")
                        set_owner_and_mode(stream.fileno(), ADA, ADA, 0o666)
                    directory.set_owner_and_mode(f"file{turn % 7}", ADA, ADA, 0o600)
                    with contextlib.suppress(OSError):
                        directory.make_directory(f"new{turn}", ADA, ADA, 0o755, PREFIX).close()
                outcomes.add("written")
            except OSError:
                outcomes.add("refused")
    assert outcomes == {"written", "refused"}
