# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The paths of one application on one host."""

from __future__ import annotations

import errno
import os
import re
from typing import Any, Mapping

RELEASE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
VENV_NAME = re.compile(r"[0-9a-f]{12,64}\Z")
# Prefixes of incomplete and of removed directories in releases/ and venvs/. The next run deletes them.
STAGING, REMOVED = ".staging-", ".removed-"
# The prefix of the directory of staged settings. The name of the run follows.
NEXT_SETTINGS = "next-"


class Layout:
    """The paths of one application.

    With a run, staged_settings is the directory of the settings that this run stages, otherwise it is empty.
    """

    def __init__(self, root: str, run: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.app = os.path.join(root, "app")
        self.next = os.path.join(root, "next")
        self.venv = os.path.join(root, "venv")
        self.venvs = os.path.join(root, "venvs")
        self.releases = os.path.join(root, "releases")
        self.shared = os.path.join(root, "shared")
        self.static = os.path.join(self.shared, "static")
        self.env_file = os.path.join(self.shared, ".env")
        self.socket = os.path.join(root, "run", "gunicorn.sock")
        self.gunicorn_config = os.path.join(root, "gunicorn.conf.py")
        self.state = os.path.join(root, ".deploy")
        self.records = os.path.join(self.state, "releases")
        # A link to the virtual environment of each release.
        self.venv_links = os.path.join(self.state, "environments")
        self.log = os.path.join(self.state, "activations.log")
        self.lock = os.path.join(self.state, "lock")
        # Locked with flock(2) during a step. Only root can open it, because flock(2) needs read permission only.
        self.guard = os.path.join(self.state, "guard")
        # The former owner of the data, until no process of that user is left.
        self.former_user = os.path.join(self.state, "former_user.json")
        self.process = os.path.join(self.state, "process.json")
        self.settings = os.path.join(self.state, "settings")
        self.former_settings = os.path.join(self.settings, "former")
        self.staged_settings = os.path.join(self.settings, NEXT_SETTINGS + run["run"]) if run else ""

    def release(self, name: str) -> str:
        """Return the directory of a release."""
        return os.path.join(self.releases, name)

    def record_file(self, name: str) -> str:
        """Return the path of a release's record."""
        return os.path.join(self.records, name + ".json")

    def find_settings_file(self, path: str) -> str:
        """Return the version of a settings file that this run has staged, or its path if it has staged none."""
        staged = os.path.join(self.staged_settings, os.path.basename(path))
        return staged if self.staged_settings and os.path.lexists(staged) else path

    def list_env_files(self) -> list[str]:
        """Return the environment file, and the one that this run has staged, if any."""
        return list(dict.fromkeys((self.env_file, self.find_settings_file(self.env_file))))

    def find_linked_release(self, link: str) -> str | None:
        """Return the release that a link points to, or None if the link is missing or points to another path."""
        try:
            target = os.path.normpath(os.path.join(os.path.dirname(link), os.readlink(link)))
        except OSError:
            return None
        parent, name = os.path.split(target)
        return name if parent == self.releases and RELEASE_NAME.match(name) else None

    def find_live(self) -> str | None:
        """Return the live release: the one that the link app points to."""
        return self.find_linked_release(self.app)


def format_archive_name(source: Mapping[str, Any]) -> str:
    """Return the file name of a release's archive on a web server."""
    return f"{source['sha256']}.tar.gz"


def list_directory(path: str) -> list[str]:
    """Return the names in a directory, in order. A missing directory has none."""
    try:
        return sorted(os.listdir(path))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return []
        raise
