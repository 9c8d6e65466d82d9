# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._python import source_directory


def test_copy_has_no_file_that_only_root_can_read(tmp_path):
    source, copy = tmp_path / "source", tmp_path / "copy"
    (source / "private").mkdir(parents=True)
    (source / "private/key").touch()
    (source / "private").chmod(0o700)
    for name, mode in (("code.py", 0o644), (".env", 0o640)):
        (source / name).touch()
        (source / name).chmod(mode)
    (source / "link").symlink_to("/etc/passwd")
    source_directory.copy_source(str(source), str(copy))
    assert sorted(os.listdir(copy)) == ["code.py", "link"]
    assert (copy / "link").is_symlink()
    assert (source / "private/key").exists()


def test_private_source_is_not_copied(tmp_path):
    source = tmp_path / "source"
    source.mkdir(mode=0o700)
    with pytest.raises(OSError, match="the build user cannot read it"):
        source_directory.copy_source(str(source), str(tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()


def test_tree_digest_depends_on_names_content_and_links(tmp_path):
    (tmp_path / "a").write_text("1")
    digests = {source_directory.compute_tree_digest(tmp_path)}
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/x.pyc").touch()
    (tmp_path / ".venv").symlink_to("elsewhere")
    digests.add(source_directory.compute_tree_digest(tmp_path))
    assert len(digests) == 1
    (tmp_path / "a").write_text("2")
    digests.add(source_directory.compute_tree_digest(tmp_path))
    (tmp_path / "a").rename(tmp_path / "b")
    digests.add(source_directory.compute_tree_digest(tmp_path))
    (tmp_path / "c").symlink_to("b")
    digests.add(source_directory.compute_tree_digest(tmp_path))
    assert len(digests) == 4
