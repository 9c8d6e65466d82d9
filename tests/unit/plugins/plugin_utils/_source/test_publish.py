# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives are published atomically, readable by the server, and never replaced."""

from __future__ import annotations

import os
import shutil

import pytest

from ansible_collections.flaskops.production.plugins.plugin_utils._source import publish
from ansible_collections.flaskops.production.plugins.plugin_utils._source.tree import SourceError


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "release.tar.gz"
    path.write_bytes(b"bits")
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def served(tmp_path):
    path = tmp_path / "www"
    path.mkdir()
    return path


@pytest.mark.parametrize("umask", [0o077, 0])
def test_published_archive_is_world_readable(archive, served, umask):
    before = os.umask(umask)
    try:
        publish.publish_archive(archive, str(served), "a.tar.gz")
    finally:
        os.umask(before)
    assert os.listdir(served) == ["a.tar.gz"]
    assert (served / "a.tar.gz").read_bytes() == b"bits"
    assert (served / "a.tar.gz").stat().st_mode & 0o7777 == 0o644


def test_existing_archive_is_not_replaced(archive, served):
    (served / "a.tar.gz").write_bytes(b"others")
    publish.publish_archive(archive, str(served), "a.tar.gz")
    assert (served / "a.tar.gz").read_bytes() == b"others"


def test_failed_write_leaves_no_file(archive, served, monkeypatch):
    def full(_source, file):
        file.write(b"b")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(SourceError, match="release_pull_directory: .*www.*No space left on device"):
        publish.publish_archive(archive, str(served), "a.tar.gz")
    assert os.listdir(served) == []


def test_missing_directory_is_reported(archive, tmp_path):
    with pytest.raises(SourceError, match="release_pull_directory: .*nowhere.*No such file"):
        publish.publish_archive(archive, str(tmp_path / "nowhere"), "a.tar.gz")


def test_file_of_a_killed_run_is_removed(archive, served):
    left = served / f"{publish.PREFIX}999999999-0123456789abcdef"
    left.write_bytes(b"b")
    publish.publish_archive(archive, str(served), "a.tar.gz")
    assert os.listdir(served) == ["a.tar.gz"]
