# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import grp
import os
import pwd
import re
import subprocess

import pytest

from ansible_collections.flaskops.production.plugins.modules import runtime_user


@pytest.fixture
def accounts(monkeypatch):
    """Replace the accounts and groups of this host."""
    users, groups = {}, {"www-data": 33}

    def find(found, name):
        if name not in found:
            raise KeyError(name)
        return found[name]

    monkeypatch.setattr(runtime_user, "get_user_name", lambda uid: "old" if uid == 54711 else str(uid))
    monkeypatch.setattr(runtime_user.pwd, "getpwnam", lambda name: find(users, name))
    monkeypatch.setattr(
        runtime_user.grp, "getgrnam", lambda name: grp.struct_group((name, "x", find(groups, name), []))
    )

    def add(name, uid, home="/srv/shop", shell="/usr/sbin/nologin"):
        users[name] = pwd.struct_passwd((name, "x", uid, uid, "", home, shell))
        groups[name] = uid

    add.groups = groups
    return add


@pytest.fixture
def examine(run_module, tmp_path):
    def run(check=False, **options):
        arguments = {"root": str(tmp_path), "user": "shop", "group": "shop", "web_group": "www-data", **options}
        return run_module(runtime_user, arguments, check=check)

    return run


def test_missing_account_is_accepted(accounts, examine):
    result = examine()
    assert (result["changed"], result["exists"], result["former"], result["in_handover"]) == (False, False, "", False)


def test_account_of_the_application_is_accepted(accounts, examine, tmp_path):
    accounts("shop", 998, home=str(tmp_path))
    assert examine()["exists"] is True


@pytest.mark.parametrize(
    ("home", "shell"),
    [("/var/mail", "/usr/sbin/nologin"), ("/home/shop", "/bin/bash"), ("{root}", "/bin/bash")],
    ids=["a system account", "a login", "a login in the directory"],
)
def test_foreign_account_is_refused_unless_set_explicitly(accounts, examine, tmp_path, home, shell):
    accounts("shop", 8, home=home.format(root=tmp_path), shell=shell)
    message = examine()["msg"]
    for part in ("flask_app_user is 'shop', the default", "an account of that name", shell, "Nothing was changed."):
        assert part in message
    assert examine(named=True)["exists"] is True


def test_foreign_group_is_refused_unless_set_explicitly(accounts, examine):
    """Groups such as docker or shadow have more privileges than an application needs."""
    accounts.groups["shop"] = 999
    assert "the host has a group of that name" in examine()["msg"]
    assert examine(named=True)["exists"] is False
    # The user would not be a member of it.
    accounts.groups["sellers"] = 1000
    assert examine(group="sellers")["exists"] is False


def test_owner_of_the_data_is_changed(as_root, accounts, examine, tmp_path):
    accounts("shop", 54712, home=str(tmp_path))
    for name in ("media", "logs"):
        (tmp_path / "shared" / name).mkdir(parents=True)
        os.chown(tmp_path / "shared" / name, 54711, 33)
    found = examine()
    assert (found["changed"], found["former"], found["in_handover"]) == (False, "old", True)
    checked = examine(hand_over=True, check=True)
    assert (checked["changed"], os.stat(tmp_path / "shared/media").st_uid) == (True, 54711)
    done = examine(hand_over=True)
    assert (done["changed"], done["former"]) == (True, "old")
    media, logs = (os.stat(tmp_path / "shared" / name) for name in ("media", "logs"))
    assert ((media.st_uid, media.st_gid), (logs.st_uid, logs.st_gid)) == ((54712, 33), (54712, 54712))
    again = examine(hand_over=True)
    assert (again["changed"], again["former"], again["in_handover"]) == (False, "", True)


def test_unchanged_paths_are_named(as_root, accounts, examine, tmp_path, monkeypatch):
    accounts("shop", 54712, home=str(tmp_path))
    media = tmp_path / "shared/media"
    media.mkdir(parents=True)
    (media / "one").touch()
    os.link(media / "one", media / "two")
    for path in (media, media / "one"):
        os.chown(path, 54711, 33)
    warnings = []
    monkeypatch.setattr(runtime_user.AnsibleModule, "warn", lambda self, text: warnings.append(text))
    examine(hand_over=True)
    (warning,) = warnings
    for part in (str(media / "one"), str(media / "two"), "still belong to old", "chown -h shop"):
        assert part in warning
    # Run the command of the warning on the named paths.
    command = re.search(r"(chown -h \S+) PATH", warning)[1].replace("shop", "54712")
    subprocess.run(["/bin/sh", "-euc", f"{command} {media}/one {media}/two"], check=True)
    assert examine(hand_over=True)["former"] == "" and len(warnings) == 1
    assert (media / "one").stat().st_uid == 54712


def test_data_of_an_unknown_uid_is_refused(as_root, accounts, examine, tmp_path):
    """It may be the user of the same application on another host with the same storage."""
    accounts("shop", 54712, home=str(tmp_path))
    media = tmp_path / "shared/media"
    media.mkdir(parents=True)
    os.chown(media, 54713, 33)
    for options in ({}, {"named": True, "hand_over": True}):
        message = examine(**options)["msg"]
        assert f"{media} belongs to UID 54713, which does not exist on this host." in message
        assert f"chown -hR shop {media}" in message
    assert os.stat(media).st_uid == 54713
    # Run the command of the message. The account is a fake, so the system does not know its name.
    command = re.search(r"run (chown -hR .*?) once", message)[1].replace("shop", "54712", 1)
    subprocess.run(["/bin/sh", "-euc", command], check=True)
    found = examine()
    assert (found["former"], os.stat(media).st_uid) == ("", 54712)
