# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide a host with releases."""

from __future__ import annotations

import os

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._app.venv_links import link_venv

VENV_NAMES = {f"v{number}": f"{number}" * 12 for number in range(1, 10)}


class Host:
    """A layout with releases, as the modules leave it."""

    venv_names = VENV_NAMES

    def __init__(self, root):
        self.layout = Layout(str(root))
        self.store = ReleaseStore(self.layout)
        self.root = root
        for name in ("venvs", "shared", "run"):
            (root / name).mkdir()
        self.store.create_directories()
        self.clock = 0

    def stage(self, name, state="staged", venv=None):
        (self.root / "releases" / name).mkdir()
        venv = venv or VENV_NAMES.get(name, "f" * 12)
        (self.root / "venvs" / venv).mkdir(exist_ok=True)
        (self.root / ".deploy/environments" / name).symlink_to(f"../../venvs/{venv}")
        link_venv(self.layout, name, venv)
        self.clock += 1
        record = {
            "release": name,
            "digest": f"digest of {name}",
            "state": state,
            "staged": f"2026-01-01T00:00:{self.clock:02}Z",
        }
        self.store.write_record(name, record)

    def activate(self, name, action="deploy"):
        if not (self.root / "releases" / name).is_dir():
            self.stage(name)
        live = self.layout.find_live()
        self.point_app_at(name)
        self.store.set_state(live, "superseded")
        self.store.append_activation(release=name, before=live, action=action, by="ada", run="1")
        self.store.set_state(name, "active")

    def point_app_at(self, name):
        app = self.root / "app"
        app.unlink(missing_ok=True)
        app.symlink_to(f"releases/{name}")

    def follow(self, history):
        """Play `v1 v2 <v1 !v3`: deploys, a rollback (<), and a release that was rejected (!)."""
        for word in history.split():
            mark, name = (word[0], word[1:]) if word[0] in "<!" else ("", word)
            if mark == "!":
                if not (self.root / "releases" / name).is_dir():
                    self.stage(name)
                self.store.set_state(name, "bad", reason="candidate: it did not start")
            else:
                self.activate(name, "rollback" if mark else "deploy")

    def releases(self):
        return sorted(os.listdir(self.layout.releases))

    def venvs(self):
        return sorted(os.listdir(self.layout.venvs))


@pytest.fixture
def host(tmp_path):
    root = tmp_path / "myapp"
    root.mkdir()
    return Host(root)
