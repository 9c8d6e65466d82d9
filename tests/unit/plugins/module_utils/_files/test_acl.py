# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._files import acl


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.touch()
    path.chmod(0o640)
    if acl.read_acl(str(path)) is None:
        pytest.skip("the file system keeps no access control lists")
    return str(path)


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_user_is_added_and_removed_completely(file):
    assert acl.read_acl(file) == {}
    acl.write_acl(file, acl.add_user(acl.from_mode(0o640), 4711, 6))
    assert acl.get_user_rights(acl.read_acl(file)) == {4711: 6}
    # The mode shows the mask; the permissions of the group are the same.
    assert mode(file) == 0o660
    assert acl.read_acl(file)[(acl.GROUP, 0xFFFFFFFF)] == 4
    acl.write_acl(file, acl.remove_users(acl.read_acl(file), {4711}))
    assert (acl.read_acl(file), mode(file)) == ({}, 0o640)


def test_other_users_keep_their_permissions(file):
    acl.write_acl(file, acl.add_user(acl.from_mode(0o640), 4711, 4))
    acl.write_acl(file, acl.add_user(acl.read_acl(file), 4712, 6))
    # The wider mask does not extend the permissions of the first user.
    assert acl.get_user_rights(acl.read_acl(file)) == {4711: 4, 4712: 6}
    acl.write_acl(file, acl.remove_users(acl.read_acl(file), {4712}))
    assert acl.get_user_rights(acl.read_acl(file)) == {4711: 4}


def test_permissions_revoked_by_the_mask_are_not_restored(file):
    acl.write_acl(file, acl.add_user(acl.from_mode(0o640), 4711, 6))
    os.chmod(file, 0o640)
    assert acl.get_user_rights(acl.read_acl(file)) == {4711: 4}
    acl.write_acl(file, acl.add_user(acl.read_acl(file), 4712, 7))
    assert acl.get_user_rights(acl.read_acl(file)) == {4711: 4, 4712: 7}


def test_default_list_of_a_directory(tmp_path, file):
    assert acl.read_acl(str(tmp_path), acl.DEFAULT) == {}
    acl.write_acl(str(tmp_path), acl.add_user(acl.from_mode(0o750), 4711, 7), acl.DEFAULT)
    inner = tmp_path / "inner"
    inner.touch()
    assert acl.get_user_rights(acl.read_acl(str(inner))) == {4711: 6}
    for _time in range(2):
        acl.remove_default_acl(str(tmp_path))
        assert acl.read_acl(str(tmp_path), acl.DEFAULT) == {}


def test_file_system_without_access_control_lists():
    assert acl.read_acl("/proc/self") is None
