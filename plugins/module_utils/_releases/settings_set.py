# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A set of settings: files that take effect together, in a directory of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
from types import MappingProxyType
from typing import Any, Callable, Mapping

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.live_process import list_settings_files
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._files import foreign
from ansible_collections.flaskops.production.plugins.module_utils._files.applying import apply_change
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import (
    open_directory,
    replace_file,
    sync_directory,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.changes import plan_changes
from ansible_collections.flaskops.production.plugins.module_utils._files.entries import (
    Change,
    PathEntry,
    TreeError,
    parse_entries,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.links import swap_link
from ansible_collections.flaskops.production.plugins.module_utils._nginx.site_state import SiteState
from ansible_collections.flaskops.production.plugins.module_utils._releases.staged_site import SCRIPT, StagedSite
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import run_systemctl


class SettingsSet:
    """Files that take effect together. The set is complete when it has a manifest.

    The manifest has the entries of the files, the release that they belong to as app, and the site.
    """

    def __init__(self, layout: Layout, name: str, directory: str) -> None:
        self.layout, self.directory = layout, directory
        self.unit, self.candidate = (os.path.join(foreign.UNITS, f"{name}{end}.service") for end in ("", "-next"))
        self.manifest = os.path.join(directory, "manifest.json")

    # Reading

    def exists(self) -> bool:
        return os.path.isfile(self.manifest)

    def join(self, path: str) -> str:
        """Return where the set has the file for a path."""
        return os.path.join(self.directory, os.path.basename(path))

    def read_manifest(self) -> dict[str, Any]:
        if not self.exists():
            return {"app": None, "entries": [], "site": None}
        with open(self.manifest, encoding="utf-8") as file:
            return json.load(file)

    def list_paths(self) -> list[str]:
        return [entry["path"] for entry in self.read_manifest()["entries"]]

    def read_site(self) -> StagedSite | None:
        known = self.read_manifest().get("site")
        return StagedSite(self.directory, known) if known else None

    def load_text(self, path: str) -> str:
        with open(self.join(path), encoding="utf-8", errors="surrogateescape") as file:
            return file.read()

    def list_differing_paths(self) -> list[str]:
        """Return the paths whose files differ from this set."""
        site = self.read_site()
        paths = [change.entry.path for change in self._plan(self.read_manifest()["entries"])]
        return paths + ([site.path] if site and site.is_different() else [])

    def redirect_paths(self, text: str) -> str:
        """Replace paths in the text of a unit by the files and the release of this set."""
        start_files = list_settings_files(self.layout)
        places = {path: self.join(path) for path in self.list_paths() if path in start_files}
        if self.read_manifest()["app"]:
            root, app = self.layout.root, os.path.join(self.directory, "app")
            # The script of an adopted virtual environment names the interpreter of the live release.
            text = text.replace(f"{root}/venv/bin/gunicorn", f"{app}/.venv/bin/python {app}/.venv/bin/gunicorn")
            places.update({f"{root}/app": app, f"{root}/venv": f"{app}/.venv"})
        for place, staged in places.items():
            text = re.sub(rf"(?<![\w.-]){re.escape(place)}(?![\w.-])", staged.replace("\\", r"\\"), text)
        return text

    # Writing

    def add_entries(self, entries: list[PathEntry], app: str | None = None) -> None:
        """Add or replace files, and set the release that they belong to. The manifest is written last."""
        self._create_directories()
        known = {entry["path"]: entry for entry in self.read_manifest()["entries"]}
        for entry in entries:
            known[entry.path] = _format_entry(entry)
            if entry.content is not None:
                # systemd reads the environment file as root. Gunicorn reads its configuration as the application.
                replace_file(self.join(entry.path), entry.content, 0o600 if entry.mode & 0o007 == 0 else 0o644)
        self._write_manifest(app=app, entries=list(known.values()))
        if app:
            swap_link(os.path.join(self.directory, "app"), os.path.join(self.layout.root, app))

    def add_site(self, state: SiteState, **known: object) -> None:
        """Add the wanted state of the site. known has its path, and pid_file and error_log of Nginx."""
        self._create_directories()
        site = {
            **known,
            "absent": state.content is None,
            "mode": state.mode,
            "owner": state.owner,
            "links": state.links,
        }
        staged = StagedSite(self.directory, site)
        if state.content is not None:
            replace_file(staged.staged_path, state.content, 0o644)
        replace_file(os.path.join(self.directory, SCRIPT), staged.format_script().encode(), 0o600)
        self._write_manifest(site=site)

    def _create_directories(self) -> None:
        for directory in (self.layout.settings, self.directory):
            os.makedirs(directory, exist_ok=True)
            # The application reads Gunicorn's configuration there.
            os.chmod(directory, 0o755)

    def _write_manifest(self, **parts: object) -> None:
        text = json.dumps({**self.read_manifest(), **parts}, indent=2, sort_keys=True) + "\n"
        replace_file(self.manifest, text.encode(), 0o600)

    # Installing

    def install(self, activate_release: Callable[[], None], install_site: Callable[[], object]) -> None:
        """Install the files together with a release. If it is interrupted, the service starts with one whole set."""
        entries = self.read_manifest()["entries"]
        units = [entry for entry in entries if entry["path"] == self.unit]
        if units:
            text = self._add_site_script(self.redirect_paths(self.load_text(self.unit)))
            self._apply(units, {self.unit: text})
            reload_units()
        install_site()
        self._apply([entry for entry in entries if entry["path"] != self.unit])
        activate_release()
        if units:
            self._apply(units)
            reload_units()

    def install_candidate(self) -> None:
        """Install the unit of the candidate, which refers to this set. All other files are kept."""
        entries = [entry for entry in self.read_manifest()["entries"] if entry["path"] == self.candidate]
        self._apply(entries, {self.candidate: self.redirect_paths(self.load_text(self.candidate))})
        reload_units()

    def _add_site_script(self, text: str) -> str:
        """Return the text of a unit that installs the site of this set at its start."""
        if not self.read_site():
            return text
        run = f"ExecStartPre=-+/bin/sh {os.path.join(self.directory, SCRIPT)}"
        # When the host starts, Nginx with the earlier site must not send requests to this release.
        text = text.replace("[Unit]\n", "[Unit]\nBefore=nginx.service\n", 1)
        return text.replace("[Service]\n", f"[Service]\n{run}\n", 1)

    def _plan(self, entries: list[dict], texts: Mapping[str, str] = MappingProxyType({})) -> list[Change]:
        contents = {entry["path"]: self.load_text(entry["path"]) for entry in entries if entry["type"] == "file"}
        try:
            return plan_changes(parse_entries(entries, {**contents, **texts}))
        except TreeError as error:
            raise ReleaseError(str(error)) from error

    def _apply(self, entries: list[dict], texts: Mapping[str, str] = MappingProxyType({})) -> None:
        for change in self._plan(entries, texts):
            try:
                apply_change(change)
            except TreeError as error:
                raise ReleaseError(str(error)) from error


def reload_units() -> None:
    """Let systemd read all units again."""
    code, output = run_systemctl("daemon-reload")
    if code:
        raise ReleaseError(f"systemctl daemon-reload failed: is systemd running on this host? {output}".rstrip())


def replace_directory(old: str, new: str) -> None:
    """Rename a directory, and flush it to disk. An existing directory is removed before."""
    remove_directory(new)
    os.rename(old, new)
    with open_directory(os.path.dirname(new)) as fd:
        sync_directory(fd)


def remove_directory(path: str) -> None:
    """Remove a directory, if it exists."""
    if os.path.isdir(path):
        shutil.rmtree(path)


def _format_entry(entry: PathEntry) -> dict[str, Any]:
    """Return an entry without its content as an option of the module tree."""
    if entry.kind == "absent":
        return {"path": entry.path, "type": "absent"}
    return {
        "path": entry.path,
        "type": entry.kind,
        "owner": entry.owner,
        "group": entry.group,
        "mode": f"{entry.mode:04o}",
    }
