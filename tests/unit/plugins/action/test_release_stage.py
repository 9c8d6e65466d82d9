# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of staging: sending and publishing archives, and the module's arguments."""

from __future__ import annotations

import base64
from types import SimpleNamespace

import pytest
from ansible import constants
from ansible.errors import AnsibleActionFail

from ansible_collections.flaskops.production.plugins.action import release_stage

SHA256 = "ab" * 32


class Action(release_stage.ActionModule):
    """The action with a host that lacks the release."""

    def __init__(self, arguments, check):
        task = SimpleNamespace(args=arguments, check_mode=check, async_val=0, action="release_stage")
        task.resolved_action = "flaskops.production.release_stage"
        shell = SimpleNamespace(tmpdir="/tmp/x", join_path=lambda *parts: "/".join(parts))
        super().__init__(task, SimpleNamespace(_shell=shell), None, None, None, None)
        self.calls, self.sent = [], []

    def _execute_module(self, module_name=None, module_args=None, task_vars=None, **_more):
        self.calls.append(module_args)
        return {"changed": True, "present": False}

    def _make_tmp_path(self, *_arguments):
        return "/tmp/x"

    def _remove_tmp_path(self, *_arguments, **_more):
        pass

    def _fixup_perms2(self, *_arguments, **_more):
        pass

    def _transfer_file(self, local_path, remote_path):
        self.sent.append((local_path, remote_path))


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path / "local"))
    (tmp_path / "release.tar.gz").write_bytes(b"bits")
    (tmp_path / "www").mkdir()
    source = {"archive": str(tmp_path / "release.tar.gz"), "sha256": SHA256}

    def call(check=False, **arguments):
        action = Action({"root": "/srv/myapp", "source": source, **arguments}, check)
        result = action.run(task_vars={})
        return result, action

    return call


def test_small_archive_is_sent_with_the_module(run, tmp_path):
    __, action = run(pull_url="", pull_directory=str(tmp_path / "www"))
    assert action.sent == []
    assert [base64.b64decode(call.get("archive_content", "")) for call in action.calls] == [b"", b"bits"]
    assert list((tmp_path / "www").iterdir()) == []


def test_large_archive_is_sent_as_a_file(run, tmp_path, monkeypatch):
    monkeypatch.setattr(release_stage, "MAX_INLINE_BYTES", 3)
    __, action = run(pull_url="", pull_directory=str(tmp_path / "www"))
    assert action.sent == [(str(tmp_path / "release.tar.gz"), "/tmp/x/release.tar.gz")]
    assert [call.get("archive") for call in action.calls] == [None, "/tmp/x/release.tar.gz"]
    assert list((tmp_path / "www").iterdir()) == []


def test_pull_publishes_the_archive_and_executes_the_module_once(run, tmp_path):
    result, action = run(pull_url="https://example.org/", pull_directory=str(tmp_path / "www"))
    assert result["changed"] and action.sent == []
    (arguments,) = action.calls
    assert (arguments["pull_url"], arguments["pull_credentials"]) == ("https://example.org/", "")
    assert "archive" not in arguments and "pull_directory" not in arguments
    assert (tmp_path / f"www/{SHA256}.tar.gz").read_bytes() == b"bits"


def test_pull_without_a_directory_publishes_nothing(run, tmp_path):
    __, action = run(pull_url="https://example.org/")
    assert len(action.calls) == 1 and action.sent == []


def test_check_mode_publishes_nothing(run, tmp_path):
    run(check=True, pull_url="https://example.org/", pull_directory=str(tmp_path / "www"))
    assert list((tmp_path / "www").iterdir()) == []


@pytest.mark.parametrize(
    ("user", "credentials"), [("ada:p%40ss", b"ada:p@ss"), ("token", b"token:"), ("ada:a:b", b"ada:a:b")]
)
def test_credentials_are_removed_from_the_url(run, user, credentials):
    (arguments,) = run(pull_url=f"https://{user}@example.org:8443/x")[1].calls
    assert arguments["pull_url"] == "https://example.org:8443/x"
    assert base64.b64decode(arguments["pull_credentials"]) == credentials


def test_unwritable_directory_is_reported(run, tmp_path):
    with pytest.raises(AnsibleActionFail, match="release_pull_directory: .*nowhere"):
        run(pull_url="https://example.org/", pull_directory=str(tmp_path / "nowhere"))
