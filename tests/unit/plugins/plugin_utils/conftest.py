# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create sources in tmp_path: directories, archives and git repositories."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.plugins.plugin_utils._source import resolve as resolve_module
from ansible_collections.flaskops.production.plugins.plugin_utils._source.request import SourceRequest
from ansible_collections.flaskops.production.tests.unit.programs import require

NOON = 1_776_772_800  # 2026-04-21 12:00:00 UTC


def write_files(root: Path, files: dict, mtime: int = NOON) -> Path:
    """Write files from a mapping of paths to bytes, text, ("link", target), or None for an empty directory."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir()
        elif isinstance(content, tuple):
            path.symlink_to(content[1])
            os.utime(path, (mtime, mtime), follow_symlinks=False)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
            os.utime(path, (mtime, mtime))
    return root


class Repository:
    """A git repository with fixed authors and times."""

    def __init__(self, path: Path) -> None:
        require("git")
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.run("init", "--quiet", "--initial-branch=main")

    def run(self, *arguments: str, time: int = NOON) -> str:
        settings = ["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
        env = {**os.environ, "GIT_COMMITTER_DATE": f"@{time} +0200", "GIT_AUTHOR_DATE": f"@{time} +0200"}
        done = subprocess.run(["git", "-C", self.path, *settings, *arguments], env=env, capture_output=True, check=True)
        return done.stdout.decode().strip()

    def commit(self, files: dict, time: int = NOON) -> str:
        write_files(self.path, files)
        self.run("add", "--all", "--force")
        self.run("commit", "--quiet", "--allow-empty", "--message=change", time=time)
        return self.run("rev-parse", "HEAD")


@pytest.fixture(autouse=True)
def plain_git(monkeypatch, tmp_path):
    """Ignore the git configuration of the user who runs the tests."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path / "repository")


@pytest.fixture
def files():
    return write_files


@pytest.fixture
def resolve(tmp_path):
    """Return a function that resolves a request. Each `run` has its own temporary directory."""

    def call(run: str = "run", **values):
        for name in ("directory", "archive", "git_repo"):
            if name in values:
                values[name] = str(values[name])
        return resolve_module.resolve_source(SourceRequest(**values), tmp_path / run)

    return call
