# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of the owner of data that the former owner still uses, with unused user IDs."""

from __future__ import annotations

import os
import stat

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._files import acl
from ansible_collections.flaskops.production.plugins.module_utils._releases import former_user
from ansible_collections.flaskops.production.plugins.module_utils._releases.former_user import (
    OwnershipTransfer,
    find_former_owner,
    finish_transfer,
    plan_transfer,
    read_transfer,
    start_transfer,
)

# The former user is a member of Nginx's group, like www-data.
OLD, WEB, NEW = 54711, 54711, 54712
TRANSFER = OwnershipTransfer((OLD,), (WEB,), NEW, NEW, WEB)
pytestmark = pytest.mark.usefixtures("as_root")


@pytest.fixture
def layout(tmp_path):
    # pytest's directories are closed to other users; each process of xdist has a further one.
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_mode & 0o055 != 0o055:
            path.chmod(path.stat().st_mode | 0o055)
    shared = tmp_path / "shared"
    for name, mode in (
        ("media", 0o2750),
        ("media/deep", 0o2750),
        ("logs", 0o750),
        ("instance", 0o750),
        ("static", 0o755),
    ):
        (shared / name).mkdir(parents=True)
        os.chown(shared / name, OLD, WEB)
        (shared / name).chmod(mode)
        (shared / name / "file").write_text(name)
        (shared / name / "file").chmod(0o640)
        os.chown(shared / name / "file", OLD, WEB)
    os.chown(shared / "static", 0, 0)
    (shared / ".env").write_text("SECRET=1")
    (shared / ".env").chmod(0o640)
    if acl.read_acl(str(shared)) is None:
        pytest.skip("the file system keeps no access control lists")
    return Layout(str(tmp_path))


def read_status(path):
    found = os.lstat(path)
    return found.st_uid, found.st_gid, f"{stat.S_IMODE(found.st_mode):04o}"


def as_user(uid, gid, action, *arguments):
    """Call a function as a user with one group. Returns whether it had permission."""
    child = os.fork()
    if child == 0:
        try:
            os.umask(0o027)
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
            action(*arguments)
        except PermissionError:
            os._exit(1)
        except BaseException:
            os._exit(2)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code < 2
    return code == 0


def write(path, flags):
    os.write(os.open(path, os.O_WRONLY | flags, 0o666), b"more")


def append(path):
    write(path, os.O_APPEND)


def create(path):
    write(path, os.O_CREAT | os.O_EXCL)


def read(path):
    os.open(path, os.O_RDONLY)


def start(layout):
    return start_transfer(layout, plan_transfer(layout, find_former_owner(layout, NEW), NEW, NEW, WEB))


def test_both_users_can_write_during_a_transfer(layout):
    assert find_former_owner(layout, NEW).st_uid == OLD
    assert start(layout) == []
    for name in ("media", "media/deep", "logs", "instance"):
        path = f"{layout.shared}/{name}"
        for uid, gid in ((OLD, WEB), (NEW, NEW)):
            assert as_user(uid, gid, append, f"{path}/file"), (name, uid)
            assert as_user(uid, gid, create, f"{path}/of-{uid}"), (name, uid)
        # Each user can use the new files of the other.
        assert as_user(OLD, WEB, append, f"{path}/of-{NEW}")
        assert as_user(NEW, NEW, append, f"{path}/of-{OLD}")
    # Other users cannot.
    assert not as_user(OLD + 7, OLD + 7, read, f"{layout.shared}/media/file")
    assert find_former_owner(layout, NEW) is None
    assert read_transfer(layout).former_uids == (OLD,)

    finish_transfer(layout)
    assert read_transfer(layout) is None
    for name, group, mode in (
        ("media", WEB, "2750"),
        ("media/deep", WEB, "2750"),
        ("logs", NEW, "0750"),
        ("instance", NEW, "0750"),
    ):
        path = f"{layout.shared}/{name}"
        assert read_status(path) == (NEW, group, mode)
        for file in ("file", f"of-{OLD}", f"of-{NEW}"):
            assert read_status(f"{path}/{file}") == (NEW, group, "0640"), (name, file)
            assert acl.read_acl(f"{path}/{file}") == {}
        for kind in (acl.ACCESS, acl.DEFAULT):
            assert acl.read_acl(path, kind) == {}
        assert not as_user(OLD, WEB, append, f"{path}/file")
    # Nginx's group can read uploads, and the umask applies again.
    assert as_user(OLD, WEB, read, f"{layout.shared}/media/deep/of-{NEW}")
    assert as_user(NEW, NEW, create, f"{layout.shared}/instance/afterwards")
    assert read_status(f"{layout.shared}/instance/afterwards") == (NEW, NEW, "0640")
    # Other files have not changed.
    assert read_status(f"{layout.shared}/static/file") == (OLD, WEB, "0640")
    assert read_status(f"{layout.shared}/.env") == (0, 0, "0640")


def test_files_outside_the_data_do_not_change(layout, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    for path in (outside, outside / "file"):
        os.chown(path, OLD, WEB)
    media = tmp_path / "shared/media"
    (media / "link").symlink_to(outside / "file")
    (media / "directory").symlink_to(outside)
    (media / "loop").symlink_to(".")
    os.link(outside / "file", media / "hard")
    os.mkfifo(media / "pipe")
    (media / "root's").touch()
    for name in ("link", "directory", "pipe"):
        os.chown(media / name, OLD, WEB, follow_symlinks=False)
    before = read_status(outside), read_status(outside / "file"), read_status(media / "root's")
    assert start(layout) == [str(media / "hard")]
    finish_transfer(layout)
    assert (read_status(outside), read_status(outside / "file"), read_status(media / "root's")) == before
    assert acl.read_acl(str(outside / "file")) == {}
    assert [read_status(media / name)[0] for name in ("link", "directory", "pipe")] == [NEW] * 3
    assert read_status(media / "hard")[0] == OLD


def test_interrupted_transfer_is_repeated(layout, monkeypatch):
    original, changed = former_user._change_owner, []

    def interrupted(item, transfer, gid):
        changed.append(item.path)
        if len(changed) == 4:
            raise KeyboardInterrupt
        original(item, transfer, gid)

    monkeypatch.setattr(former_user, "_change_owner", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start(layout)
    assert find_former_owner(layout, NEW).st_uid == OLD
    monkeypatch.undo()
    assert start(layout) == []
    finish_transfer(layout)
    owners = {
        read_status(os.path.join(path, name))[0]
        for path, names, files in os.walk(layout.shared)
        for name in names + files
    }
    assert owners == {NEW, 0, OLD}
    assert read_status(f"{layout.shared}/static/file")[0] == OLD


def test_second_transfer_before_the_end_of_the_first(layout):
    start(layout)
    third = NEW + 1
    transfer = plan_transfer(layout, find_former_owner(layout, third), third, third, WEB)
    assert transfer.former_uids == (OLD, NEW)
    assert start_transfer(layout, transfer) == []
    for uid, gid in ((OLD, WEB), (NEW, NEW), (third, third)):
        assert as_user(uid, gid, append, f"{layout.shared}/instance/file"), uid
        assert as_user(uid, gid, create, f"{layout.shared}/instance/of-{uid}"), uid
    finish_transfer(layout)
    for name in ("file", f"of-{OLD}", f"of-{NEW}", f"of-{third}"):
        assert read_status(f"{layout.shared}/instance/{name}") == (third, third, "0640")
        assert acl.read_acl(f"{layout.shared}/instance/{name}") == {}


def test_directories_nested_too_deep_are_reported_and_not_changed(layout):
    depth = former_user._MAX_DEPTH
    path = f"{layout.shared}/media"
    for _level in range(depth + 5):
        path += "/d"
        os.mkdir(path)
        os.chown(path, OLD, WEB)
    assert start(layout) == [f"{layout.shared}/media" + "/d" * depth + "/*"]
    assert read_status(f"{layout.shared}/media" + "/d" * depth)[0] == NEW
    assert read_status(path)[0] == OLD


def test_list_entries_of_other_users_are_kept(layout):
    file = f"{layout.shared}/media/file"
    acl.write_acl(file, acl.add_user(acl.from_mode(0o640), 4, 4))
    start(layout)
    finish_transfer(layout)
    assert acl.get_user_rights(acl.read_acl(file)) == {4: 4}


@pytest.mark.parametrize("owner", [0, NEW])
def test_no_former_user_is_found(layout, owner):
    os.chown(f"{layout.shared}/media", owner, owner)
    assert find_former_owner(layout, NEW) is None


def test_missing_data_is_ignored(tmp_path):
    layout = Layout(str(tmp_path / "none"))
    assert find_former_owner(layout, NEW) is None
    assert read_transfer(layout) is None
    finish_transfer(layout)
