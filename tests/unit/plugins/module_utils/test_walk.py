# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Walking by directory descriptor: what is followed, what is refused, with real files of real users."""

from __future__ import annotations

import contextlib
import os
import stat

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._files.directory import (
    UnsafePathError,
    settle,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import (
    beneath,
    open_file,
    reach,
    read_file,
    resolve,
    tree,
)

ADA, BOB = 4711, 4712
PREFIX = ".test-"


def give(path, uid):
    os.chown(path, uid, uid, follow_symlinks=False)


@pytest.fixture
def home(tmp_path, as_root):
    """A directory of ada with a file and a directory of hers."""
    path = tmp_path / "ada"
    (path / "data").mkdir(parents=True)
    (path / "file").write_text("of ada")
    (tmp_path / "secret").write_text("of root")
    for item in (path, path / "data", path / "file"):
        give(item, ADA)
    return path


def read_beneath(top, name):
    with reach(str(top), reading=True) as directory:
        found = beneath(directory, name)
        with found.directory, found.directory.opened_file(found.name) as stream:
            return stream.read()


def test_the_descriptor_is_that_of_the_path(home):
    with reach(str(home)) as directory:
        assert directory.status().st_ino == home.stat().st_ino
        assert directory.names() == ["data", "file"]


def test_a_missing_name_is_named_whole(home):
    with pytest.raises(FileNotFoundError) as error:
        reach(str(home / "gone/deeper"))
    assert error.value.filename == str(home / "gone")


@pytest.mark.parametrize("links", [True, False])
def test_roots_own_link_is_followed_where_links_are(home, tmp_path, links):
    (tmp_path / "alias").symlink_to("ada")
    if links:
        with reach(str(tmp_path / "alias/data")) as directory:
            assert directory.path == str(home / "data")
    else:
        with pytest.raises(UnsafePathError, match="is a symbolic link to ada, which is not followed"):
            reach(str(tmp_path / "alias/data"), links=False)


@pytest.mark.parametrize("of", ["link", "directory"])
def test_a_link_that_another_user_can_turn_is_refused(home, tmp_path, of):
    link = home / "link" if of == "directory" else tmp_path / "link"
    link.symlink_to(tmp_path)
    if of == "link":
        give(link, ADA)
    with pytest.raises(UnsafePathError, match="a user other than root can turn elsewhere"):
        reach(str(link / "ada"))


def test_a_users_directory_must_not_lead_to_what_others_own(home):
    (home / "data/inner").mkdir()
    with pytest.raises(UnsafePathError, match=f"inner belongs to root, but {home}/data"):
        reach(str(home / "data/inner"))
    give(home / "data/inner", BOB)
    with pytest.raises(UnsafePathError, match=f"inner belongs to {BOB}"):
        reach(str(home / "data/inner"))
    # Nothing is written there, or the task says that ada is trusted, or all of it is hers.
    reach(str(home / "data/inner"), reading=True).close()
    reach(str(home / "data/inner"), trusted={ADA}).close()
    give(home / "data/inner", ADA)
    reach(str(home / "data/inner")).close()


def test_no_more_links_than_the_kernel_follows(tmp_path, as_root):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels"):
        reach(str(tmp_path / "a"))


# Beneath


@pytest.mark.parametrize("text", ["file", "data/../file", "./data/./../file", "{home}/file", "{home}/data/../file"])
def test_a_link_that_stays_below_is_followed(home, text):
    (home / "data/link").symlink_to("../chain")
    (home / "chain").symlink_to(text.format(home=home))
    assert read_beneath(home, "data/link") == b"of ada"


@pytest.mark.parametrize(
    "text", ["../secret", "{home}/../secret", "/etc/passwd", "data/../../secret", "{home}2/secret", "/"]
)
def test_a_link_that_leads_out_is_refused(home, tmp_path, text):
    (tmp_path / "ada2").mkdir()
    (tmp_path / "ada2/secret").write_text("x")
    (home / "link").symlink_to(text.format(home=home))
    with pytest.raises(UnsafePathError, match="leads out of"):
        read_beneath(home, "link")


def test_a_directory_that_is_a_link_out_is_refused(home, tmp_path):
    (home / "way").symlink_to(tmp_path)
    with pytest.raises(UnsafePathError, match="leads out of"):
        read_beneath(home, "way/secret")


# Files


@pytest.mark.parametrize("kind", ["pipe", "socket", "directory", "device"])
def test_only_an_ordinary_file_is_opened_and_none_stops_the_run(home, kind):
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


def test_a_hard_link_of_anothers_file_is_refused(home, tmp_path):
    os.link(tmp_path / "secret", home / "linked")
    with pytest.raises(UnsafePathError, match="has 2 hard links and belongs to root"):
        read_beneath(home, "linked")
    # Ada's own may have two names, and root's may lie with her as a file of its own.
    os.link(home / "file", home / "file2")
    assert read_beneath(home, "file2") == b"of ada"
    (home / "of-root").write_text("for ada")
    assert read_beneath(home, "of-root") == b"for ada"


def test_a_file_is_read_through_a_users_link_only_if_it_is_that_users(home, tmp_path):
    (home / "own").symlink_to(home / "file")
    (home / "foreign").symlink_to(tmp_path / "secret")
    (tmp_path / "roots").symlink_to("secret")
    assert read_file(str(home / "own")) == b"of ada"
    assert read_file(str(tmp_path / "roots")) == b"of root"
    assert read_file(str(tmp_path / "secret"), 2) == b"of"
    with pytest.raises(UnsafePathError, match="does not belong to the user who laid the link"):
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
    with pytest.raises(UnsafePathError, match="does not belong to the user who laid the link"):
        resolve(str(home / "link"))
    with pytest.raises(UnsafePathError, match="does not belong to the user who laid the link"):
        resolve(str(home / "link/."))


def test_a_tree_holds_links_and_does_not_follow_them(home, tmp_path):
    (home / "data/out").symlink_to(tmp_path)
    (home / "data/inner").mkdir()
    (home / "data/inner/file").write_text("x")
    with reach(str(home), reading=True) as directory:
        found = [os.path.relpath(item.path, home) for item in tree(directory, "data")]
    assert found == ["data", "data/inner", "data/inner/file", "data/out"]


# Writing


def test_a_new_file_is_settled_before_it_has_its_name(home):
    with reach(str(home)) as directory:
        with directory.replacing("file", PREFIX) as stream:
            stream.write(b"new")
            assert (home / "file").read_text() == "of ada"
            settle(stream.fileno(), ADA, BOB, 0o640)
        assert directory.names() == ["data", "file"]
    info = (home / "file").stat()
    assert (info.st_uid, info.st_gid, info.st_mode & 0o7777) == (ADA, BOB, 0o640)


def test_what_fails_leaves_the_old_file_and_no_temporary_name(home):
    with reach(str(home)) as directory:
        with pytest.raises(ZeroDivisionError), directory.replacing("file", PREFIX) as stream:
            stream.write(b"new")
            raise ZeroDivisionError
        with pytest.raises(OSError):
            directory.make("file", ADA, ADA, 0o700, PREFIX)
        with pytest.raises(OSError):
            directory.put_link("data", "file", PREFIX)
        assert directory.names() == ["data", "file"]
    assert (home / "file").read_text() == "of ada"


def test_a_directory_has_its_owner_and_mode_from_the_beginning(home):
    with reach(str(home)) as directory:
        directory.make("new", ADA, BOB, 0o2750, PREFIX).close()
    info = (home / "new").stat()
    assert (info.st_uid, info.st_gid, info.st_mode & 0o7777) == (ADA, BOB, 0o2750)


@pytest.mark.parametrize("planted", ["link", "hard link"])
def test_owner_and_mode_reach_no_other_file(home, tmp_path, planted):
    (home / "file").unlink()
    if planted == "link":
        (home / "file").symlink_to(tmp_path / "secret")
    else:
        os.link(tmp_path / "secret", home / "file")
    with reach(str(home)) as directory, pytest.raises(OSError):
        directory.settle("file", ADA, ADA, 0o666)
    assert (tmp_path / "secret").stat().st_uid == 0


def test_an_attacker_redirects_no_write(open_path, untouched, attack, flipping, rounds):
    """A directory of the attacker changes places with a link while root makes files and directories in it."""
    top = open_path / "top"
    (top / "inner").mkdir(parents=True)
    for path in (top, top / "inner"):
        give(path, ADA)
    outcomes = set()
    with attack(flipping(str(top / "inner"), str(top / "link"), str(untouched))):
        for turn in rounds(lambda: len(outcomes) > 1, 200):
            try:
                with reach(str(top / "inner")) as directory:
                    with directory.replacing(f"file{turn % 7}", PREFIX) as stream:
                        stream.write(b"x")
                        settle(stream.fileno(), ADA, ADA, 0o666)
                    directory.settle(f"file{turn % 7}", ADA, ADA, 0o600)
                    with contextlib.suppress(OSError):
                        directory.make(f"new{turn}", ADA, ADA, 0o755, PREFIX).close()
                outcomes.add("written")
            except OSError:
                outcomes.add("refused")
    assert outcomes == {"written", "refused"}
