# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import socket
import stat

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._files import ownership

# A UID that is unused on all hosts.
FOREIGN = 54321


@pytest.fixture
def tree(tmp_path, as_root):
    """Create a tree like that of a build, and a file outside of it."""
    (tmp_path / "beside").write_text("secret\n")
    (tmp_path / "beside").chmod(0o600)
    top = tmp_path / "top"
    (top / "lib").mkdir(parents=True)
    (top / "lib" / "module.py").write_text("")
    (top / "script").write_text("")
    (top / "script").chmod(0o700)
    (top / "own").symlink_to("lib/module.py")
    ownership.chown_tree(str(top), FOREIGN, FOREIGN)
    return top


def secure(tree, allowed=ownership.is_link_within):
    ownership.secure_tree(str(tree), 0, 0, allowed)


def list_tree(tree):
    return [tree, *tree.rglob("*")]


def test_owner_of_a_whole_tree_is_changed_and_reset(tree):
    assert {os.lstat(path).st_uid for path in list_tree(tree)} == {FOREIGN}
    secure(tree)
    assert {(os.lstat(path).st_uid, os.lstat(path).st_gid) for path in list_tree(tree)} == {(0, 0)}


def test_secured_tree_is_readable_for_all_and_writable_for_the_owner_only(tree):
    for path, mode in (("lib", 0o1777), ("lib/module.py", 0o600), ("script", 0o6777)):
        (tree / path).chmod(mode)
    secure(tree)
    modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in list_tree(tree) if not path.is_symlink()}
    assert modes == {"top": 0o755, "lib": 0o755, "module.py": 0o644, "script": 0o755}


def test_access_control_lists_are_removed(tree):
    # Version 2; user::rw-, user:54321:rw-, group::r--, mask::rw-, other::r--
    entries = ((1, 6, 2**32 - 1), (2, 6, FOREIGN), (4, 4, 2**32 - 1), (16, 6, 2**32 - 1), (32, 4, 2**32 - 1))
    data = (2).to_bytes(4, "little")
    for tag, permission, who in entries:
        data += tag.to_bytes(2, "little") + permission.to_bytes(2, "little") + who.to_bytes(4, "little")
    path = tree / "lib" / "module.py"
    try:
        os.setxattr(path, "system.posix_acl_access", data)
    except OSError:
        pytest.skip("this file system has no access lists")
    secure(tree)
    assert "system.posix_acl_access" not in os.listxattr(path)


@pytest.mark.parametrize(
    ("create", "message"),
    [
        (lambda top: os.link(top / "script", top / "lib" / "again"), r"has several hard links"),
        (lambda top: os.link(top.parent / "beside", top / "linked"), r"'linked' has several hard links"),
        (lambda top: os.mkfifo(top / "pipe"), "'pipe' is neither a file, a directory nor a link"),
        (lambda top: socket.socket(socket.AF_UNIX).bind(str(top / "socket")), "'socket' is neither a file"),
        (lambda top: (top / "out").symlink_to("../beside"), "'out' is a link to '../beside', which leads out of"),
        (lambda top: (top / "lib/out").symlink_to("../../beside"), "'lib/out' is a link to '../../beside'"),
        (lambda top: (top / "out").symlink_to("/etc/shadow"), "'out' is a link to '/etc/shadow'"),
        (lambda top: (top / ("deep/" * 120)).mkdir(parents=True), "more than 100 directories deep"),
    ],
)
def test_unsafe_files_are_refused_without_changes_outside_the_tree(tree, create, message):
    create(tree)
    before = os.stat(tree.parent / "beside")
    with pytest.raises(ownership.OwnershipError, match=message):
        secure(tree)
    after = os.stat(tree.parent / "beside")
    assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)


def test_link_replacing_a_directory_is_not_followed(tree):
    outside = tree.parent / "outside"
    outside.mkdir()
    (outside / "file").write_text("")
    os.chown(outside / "file", FOREIGN, FOREIGN)
    (tree / "link").symlink_to(outside)
    secure(tree, lambda _path, _text: True)
    assert os.stat(outside / "file").st_uid == FOREIGN


@pytest.mark.parametrize(
    ("path", "text", "within"),
    [
        ("lib64", "lib", True),
        ("bin/tool", "../lib/tool", True),
        ("bin/tool", "../../tool", False),
        ("a", "..", False),
        ("bin/tool", "/usr/bin/tool", False),
    ],
)
def test_links_within_a_tree_are_recognized(path, text, within):
    assert ownership.is_link_within(path, text) is within


def test_deep_tree_and_link_are_removed(tree):
    directory = os.open(tree, os.O_RDONLY)
    for _level in range(1500):
        os.mkdir("d", dir_fd=directory)
        below = os.open("d", os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = below
    os.close(directory)
    ownership.remove_tree(str(tree))
    (tree.parent / "link").symlink_to("beside")
    ownership.remove_tree(str(tree.parent / "link"))
    assert [path.name for path in tree.parent.iterdir()] == ["beside"]
