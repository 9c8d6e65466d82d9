# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Detection of files that belong to other applications, packages or administrators."""

from __future__ import annotations

import grp
import pwd
from pathlib import Path

import pytest
import yaml

from ansible_collections.flaskops.production.plugins.module_utils._files import foreign
from ansible_collections.flaskops.production.plugins.module_utils._files.foreign import (
    LAYOUT,
    find_account_conflict,
    find_directory_conflict,
    find_file_conflict,
    read_application,
)

COLLECTION = Path(__file__).parents[5]
HEADER = yaml.safe_load((COLLECTION / "roles/flask_app/vars/main.yml").read_text())["flask_app_header"]


def header(name: str) -> str:
    return HEADER.replace("{{ flask_app_name }}", name) + "\n"


@pytest.fixture
def units(tmp_path, monkeypatch):
    """Create the directories of local units, packaged units and init scripts."""
    for name in ("UNITS", "SCRIPTS"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(foreign, name, str(tmp_path / name))
    (tmp_path / "packaged").mkdir()
    monkeypatch.setattr(foreign, "PACKAGED_UNITS", (str(tmp_path / "packaged"),))
    return tmp_path


def test_all_templates_start_with_the_header():
    places = ("etc/systemd/system/app*.j2", "etc/logrotate.d/*.j2")
    places += ("srv/app/*.j2", "etc/nginx/sites-available/*.j2")
    templates = [path for place in places for path in COLLECTION.glob(f"roles/*/templates/{place}")]
    assert len(templates) == 9
    for path in templates:
        assert path.read_text().startswith("{{ flask_app_header }}\n"), path


def test_templates_contain_no_text_of_the_run():
    for path in COLLECTION.glob("roles/*/templates/**/*.j2"):
        assert "ansible_managed" not in path.read_text(), path


def test_application_is_read_from_the_header(tmp_path):
    file = tmp_path / "shop.service"
    assert read_application(str(file)) is None
    file.write_text("[Unit]\n")
    assert read_application(str(file)) == ""
    file.write_text(header("shop") + "[Unit]\n")
    assert read_application(str(file)) == "shop"


def test_own_or_missing_file_has_no_conflict(units):
    path = units / "UNITS/shop.service"
    assert find_file_conflict(str(path), "shop") == ""
    path.write_text(header("shop"))
    assert find_file_conflict(str(path), "shop") == ""


@pytest.mark.parametrize("adopt", [False, True])
def test_file_of_another_application_is_never_replaced(units, adopt):
    path = units / "UNITS/shop-next.service"
    path.write_text(header("shop-next"))
    assert find_file_conflict(str(path), "shop", adopt) == (
        f"{path} belongs to the application shop-next: choose a flask_app_name other than shop."
    )


def test_unmanaged_file_is_replaced_with_adopt_only(units):
    path = units / "UNITS/shop.service"
    path.write_text("[Service]\nExecStart=/opt/shop/run\n")
    reason = find_file_conflict(str(path), "shop")
    assert reason.startswith(f"{path} exists and was not written by this collection")
    assert "flaskops.production.adopt" in reason
    assert find_file_conflict(str(path), "shop", adopt=True) == ""


@pytest.mark.parametrize("adopt", [False, True])
@pytest.mark.parametrize("place", ["packaged/mailer.service", "SCRIPTS/mailer"])
def test_packaged_unit_is_not_overridden(units, place, adopt):
    (units / place).write_text("")
    reason = find_file_conflict(f"{units}/UNITS/mailer.service", "mailer", adopt)
    assert f"mailer.service is a unit of the system ({units / place})" in reason
    # The package was installed later.
    (units / "UNITS/mailer.service").write_text(header("mailer"))
    assert find_file_conflict(f"{units}/UNITS/mailer.service", "mailer", adopt) == ""


def test_only_units_conflict_with_packaged_units(units):
    (units / "SCRIPTS/mailer").write_text("")
    assert find_file_conflict(f"{units}/logrotate/mailer", "mailer") == ""
    assert find_file_conflict(f"{units}/UNITS/mailer.socket", "mailer") == ""


def test_own_directory_has_no_conflict(tmp_path):
    root = tmp_path / "shop"
    assert find_directory_conflict(str(root), "shop") == ""
    root.mkdir()
    (root / "lost+found").mkdir()
    assert find_directory_conflict(str(root), "shop") == ""
    (root / "backup").mkdir()
    for name in LAYOUT:
        (root / name).mkdir()
        assert find_directory_conflict(str(root), "shop") == "", name
        (root / name).rmdir()


@pytest.mark.parametrize("adopt", [False, True])
def test_directory_of_another_application_is_refused(tmp_path, adopt):
    (tmp_path / "gunicorn.conf.py").write_text(header("blog"))
    assert find_directory_conflict(str(tmp_path), "shop", adopt) == (
        f"{tmp_path} belongs to the application blog: choose another flask_app_root for shop."
    )
    assert find_directory_conflict(str(tmp_path), "blog", adopt) == ""


def test_directory_with_other_files_is_refused(tmp_path):
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).write_text("")
    reason = find_directory_conflict(str(tmp_path), "shop")
    assert f"{tmp_path} holds files that are not part of the layout (a, b, c …)" in reason
    assert find_directory_conflict(str(tmp_path), "shop", adopt=True) == ""


@pytest.fixture
def account(monkeypatch):
    """Replace the accounts and groups of the host by one account and one group."""

    def make(home: str = "", shell: str = "/usr/sbin/nologin", group: str = "shop") -> None:
        entry = pwd.struct_passwd(("shop", "x", 998, 998, "", home, shell))
        monkeypatch.setattr(pwd, "getpwnam", ({"shop": entry} if home else {}).__getitem__)
        monkeypatch.setattr(grp, "getgrnam", {group: None}.__getitem__)

    return make


@pytest.mark.parametrize(("home", "shell"), [("/home/shop", "/usr/sbin/nologin"), ("/srv/shop", "/bin/bash")])
def test_foreign_account_is_refused(account, home, shell):
    account(home, shell)
    reason = find_account_conflict("shop", "shop", "/srv/shop")
    assert "the host has an account of that name" in reason and f"(home {home}, shell {shell})" in reason


def test_foreign_group_is_refused(account):
    account()
    assert "the host has a group of that name" in find_account_conflict("shop", "shop", "/srv/shop")


@pytest.mark.parametrize("shell", ["/usr/sbin/nologin", "/bin/false"])
def test_own_account_has_no_conflict(account, shell):
    account("/srv/shop", shell)
    assert find_account_conflict("shop", "shop", "/srv/shop") == ""


@pytest.mark.parametrize("group", ["writers", "other"])
def test_missing_account_has_no_conflict(account, group):
    account(group="shop" if group == "writers" else "other")
    assert find_account_conflict("shop", group if group == "writers" else "shop", "/srv/shop") == ""
