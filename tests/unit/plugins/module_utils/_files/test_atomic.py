# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import hashlib
import os
import stat

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._core import errors
from ansible_collections.flaskops.production.plugins.module_utils._files import atomic


@pytest.fixture
def directory(tmp_path):
    fd = atomic.open_directory_fd(str(tmp_path))
    yield fd
    os.close(fd)


def test_write_file_sets_content_and_mode(tmp_path, directory):
    atomic.write_file(directory, "file", b"one\n", 0o640)
    atomic.write_file(directory, "file", b"two\n", 0o604)
    assert (tmp_path / "file").read_bytes() == b"two\n"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o604
    assert os.listdir(tmp_path) == ["file"]


def test_write_file_replaces_a_link_instead_of_its_target(tmp_path, directory):
    (tmp_path / "other").write_text("kept")
    (tmp_path / "file").symlink_to("other")
    atomic.write_file(directory, "file", b"new", 0o644)
    assert (tmp_path / "other").read_text() == "kept"
    assert (tmp_path / "file").read_text() == "new" and not (tmp_path / "file").is_symlink()


def test_no_other_user_can_read_a_file_before_its_mode_is_set(tmp_path, directory, monkeypatch):
    modes = []
    monkeypatch.setattr(os, "fchmod", lambda fd, mode: modes.append(stat.S_IMODE(os.fstat(fd).st_mode)))
    atomic.write_file(directory, "file", b"secret", 0o644)
    assert modes == [0o600]


@pytest.mark.parametrize("step", ["fsync", "fchmod", "replace"])
def test_failed_write_keeps_the_old_file_and_no_temporary_file(tmp_path, directory, monkeypatch, step):
    def fail(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        atomic.write_file(directory, "file", b"new", 0o644)
    assert (tmp_path / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_write_file_removes_leftovers_of_killed_runs(tmp_path, directory):
    (tmp_path / ".flaskops-write-99999999-0123456789abcdef").write_text("half a secr")
    atomic.write_file(directory, "file", b"new", 0o644)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_unsupported_directory_flush_is_ignored(directory, monkeypatch, code):
    def fail(_fd):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    atomic.sync_directory(directory)


def test_disk_error_of_a_flush_is_raised(directory, monkeypatch):
    def fail(_fd):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        atomic.sync_directory(directory)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "/srv/a: No space left on device. Make room"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/srv/a/b"), "/srv/a/b: Disk quota exceeded. Make room"),
        (OSError(errno.EACCES, "Permission denied", "/srv/a/b"), "/srv/a/b: Permission denied."),
        (OSError(errno.EXDEV, "Invalid cross-device link", "/x", None, "/y"), "/y: Invalid cross-device link."),
        (OSError("a text of its own"), "a text of its own"),
        (ValueError("another kind"), "another kind"),
    ],
)
def test_error_names_the_path_and_a_remedy(error, text):
    message = errors.format_error(error, "/srv/a")
    assert message.startswith(text)
    assert ("Make room" in message) == ("Make room" in text)


def test_hash_covers_the_whole_file(tmp_path):
    data = bytes(range(256)) * 8192
    (tmp_path / "file").write_bytes(data)
    assert atomic.hash_file(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_error_names_the_file_instead_of_the_temporary_name(tmp_path, monkeypatch):
    def refuse(*_arguments, **_keywords):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), ".flaskops-write-1490-abc")

    monkeypatch.setattr(atomic, "write_temporary_file", refuse)
    with pytest.raises(OSError) as error:
        atomic.replace_file(str(tmp_path / "record.json"), b"", 0o644)
    assert errors.format_error(error.value, "/srv") == f"{tmp_path}/record.json: Read-only file system."
