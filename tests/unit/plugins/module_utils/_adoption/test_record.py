# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replaced files are kept and can be restored."""

from __future__ import annotations

import os

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._adoption.record import (
    AdoptionRecord,
    KeptFiles,
    write_root_file,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout


@pytest.fixture
def kept(tmp_path, as_root):
    layout = Layout(str(tmp_path / "shop"))
    os.makedirs(layout.state)
    return KeptFiles(AdoptionRecord(layout))


def test_all_kinds_of_files_are_restored(kept, tmp_path):
    unit, link, new, tree = (tmp_path / name for name in ("a.service", "enabled", "b.service", "app"))
    unit.write_text("old")
    unit.chmod(0o640)
    os.chown(unit, 0, 4711)
    link.symlink_to("../available/a")
    tree.mkdir()
    (tree / "wsgi.py").write_text("code")
    for path in (unit, link, new):
        kept.keep(str(path), "unit")
    kept.move(str(tree))
    write_root_file(str(unit), b"new")
    write_root_file(str(new), b"new")
    link.unlink()
    tree.symlink_to("releases/v1")

    assert kept.restore("unit")
    assert kept.restore("tree")
    assert unit.read_text() == "old"
    assert (unit.stat().st_gid, unit.stat().st_mode & 0o7777) == (4711, 0o640)
    assert os.readlink(link) == "../available/a"
    assert not new.exists()
    assert (tree / "wsgi.py").read_text() == "code" and not tree.is_symlink()


def test_a_linked_unit_is_replaced_and_restored_as_a_link(kept, tmp_path):
    unit, target = tmp_path / "a.service", tmp_path / "of-ada.service"
    target.write_text("old")
    unit.symlink_to(target)
    kept.keep(str(unit), "unit")
    write_root_file(str(unit), b"new")
    write_root_file(str(tmp_path / "a.service.d/more/x.conf"), b"new")
    assert unit.read_text() == "new" and target.read_text() == "old" and not unit.is_symlink()
    kept.restore("unit")
    assert os.readlink(unit) == str(target)


def test_links_of_other_users_are_not_followed(kept, tmp_path):
    (tmp_path / "ada").mkdir()
    (tmp_path / "private").mkdir()
    (tmp_path / "ada/conf").symlink_to(tmp_path / "private")
    (tmp_path / "private/site").write_text("kept")
    os.chown(tmp_path / "ada", 4711, 4711)
    for function in (lambda path: kept.keep(path, "unit"), kept.move, lambda path: write_root_file(path, b"new")):
        with pytest.raises(OSError, match="a user other than root can replace"):
            function(str(tmp_path / "ada/conf/site"))
    assert (tmp_path / "private/site").read_text() == "kept"


def test_only_the_first_copy_is_kept(kept, tmp_path):
    unit = tmp_path / "a.service"
    unit.write_text("old")
    kept.keep(str(unit), "unit")
    unit.write_text("new")
    kept.keep(str(unit), "unit")
    kept.restore("unit")
    assert unit.read_text() == "old"


def test_a_second_restoration_changes_nothing(kept, tmp_path):
    tree, link = tmp_path / "app", tmp_path / "link"
    tree.mkdir()
    link.symlink_to("a")
    kept.move(str(tree))
    kept.keep(str(link), "tree")
    assert kept.restore("tree")
    assert not kept.restore("tree")
    assert tree.is_dir()


def test_only_root_can_read_kept_files(kept):
    assert os.stat(kept.record.kept).st_mode & 0o777 == 0o700
