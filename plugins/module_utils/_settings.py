# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings that are activated like a release: the environment file, Gunicorn's configuration and the units. Private.

    .deploy/settings/next-<run>/    staged by a run; the candidate starts with these files
    .deploy/settings/former/        the files as they were, from before the candidate starts until all is accepted
    .deploy/settings/previous/      the files as they were before the last accepted change
    .deploy/settings/<release>.json with which settings a release was live, as digests

Files that lie in several directories cannot be replaced in one step, but the unit of the service can, and it names all
others. So it is replaced twice: first by a text that names the files beside, and, when these are in their places, by
its own. Whenever the service starts, it starts with one set of files or with the other, and with its release.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
from types import MappingProxyType
from typing import Callable, Mapping

from ansible_collections.flaskops.production.plugins.module_utils._accounts import get_group_name, get_user_name
from ansible_collections.flaskops.production.plugins.module_utils._entries import (
    Change,
    PathEntry,
    TreeError,
    apply_change,
    parse_entries,
    plan_changes,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import (
    open_directory,
    replace_file,
    sync_directory,
)
from ansible_collections.flaskops.production.plugins.module_utils._ownership import UNITS
from ansible_collections.flaskops.production.plugins.module_utils._releases import NEXT_SETTINGS, Home, ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._service import run_systemctl
from ansible_collections.flaskops.production.plugins.module_utils._symlink import read_link, swap_link

_ASSIGNED = re.compile(r"(?m)^([A-Za-z_]\w*)[ \t]*=(?!=)(.*)$")


class SettingsSet:
    """Files that take effect together, in a directory beside their places. It is complete when it has a manifest."""

    def __init__(self, home: Home, name: str, directory: str) -> None:
        self.home, self.directory = home, directory
        self.unit, self.candidate = (os.path.join(UNITS, f"{name}{end}.service") for end in ("", "-next"))
        self.manifest = os.path.join(directory, "manifest.json")

    def exists(self) -> bool:
        return os.path.isfile(self.manifest)

    def beside(self, path: str) -> str:
        """Where the set has the file that belongs at a path."""
        return os.path.join(self.directory, os.path.basename(path))

    def read(self) -> dict:
        if not self.exists():
            return {"app": None, "entries": []}
        with open(self.manifest, encoding="utf-8") as file:
            return json.load(file)

    def paths(self) -> list[str]:
        return [entry["path"] for entry in self.read()["entries"]]

    def add(self, entries: list[PathEntry], app: str | None = None) -> None:
        """Add files, or other versions of files, and the release that they are for. The manifest comes last."""
        for directory in (self.home.settings, self.directory):
            os.makedirs(directory, exist_ok=True)
            # The application reads Gunicorn's configuration there.
            os.chmod(directory, 0o755)
        known = {entry["path"]: entry for entry in self.read()["entries"]}
        for entry in entries:
            known[entry.path] = _described(entry)
            if entry.content is not None:
                # Systemd reads the environment file as root, Gunicorn reads its configuration as the application.
                replace_file(self.beside(entry.path), entry.content, 0o600 if entry.mode & 0o007 == 0 else 0o644)
        text = json.dumps({"app": app, "entries": list(known.values())}, indent=2, sort_keys=True) + "\n"
        replace_file(self.manifest, text.encode(), 0o600)
        if app:
            swap_link(os.path.join(self.directory, "app"), os.path.join(self.home.root, app))

    def text(self, path: str) -> str:
        with open(self.beside(path), encoding="utf-8", errors="surrogateescape") as file:
            return file.read()

    def pinned(self, path: str) -> str:
        """The text of a unit of this set, with the set's own files and release in the place of those in use."""
        return self.pin(self.text(path))

    def pin(self, text: str) -> str:
        places = {path: self.beside(path) for path in self.paths() if path in _read_at_start(self.home)}
        if self.read()["app"]:
            root, app = self.home.root, os.path.join(self.directory, "app")
            # The script of an adopted environment names the interpreter of the live one.
            text = text.replace(f"{root}/venv/bin/gunicorn", f"{app}/.venv/bin/python {app}/.venv/bin/gunicorn")
            places.update({f"{root}/app": app, f"{root}/venv": f"{app}/.venv"})
        for place, beside in places.items():
            text = re.sub(rf"(?<![\w.-]){re.escape(place)}(?![\w.-])", lambda _match, beside=beside: beside, text)
        return text

    def put(self, activate_release: Callable[[], None]) -> None:
        """Put all of it in place together with a release. A kill at any point leaves one set or the other to start."""
        entries = self.read()["entries"]
        self._apply([entry for entry in entries if entry["path"] == self.unit], {self.unit: self.pinned(self.unit)})
        reload_units()
        self._apply([entry for entry in entries if entry["path"] != self.unit])
        activate_release()
        self._apply([entry for entry in entries if entry["path"] == self.unit])
        reload_units()

    def put_candidate(self) -> None:
        """Let the unit of the candidate start with this set, and nothing else."""
        entries = [entry for entry in self.read()["entries"] if entry["path"] == self.candidate]
        self._apply(entries, {self.candidate: self.pinned(self.candidate)})
        reload_units()

    def differing(self) -> list[str]:
        """The paths that are not as this set has them."""
        return [change.entry.path for change in self._plan(self.read()["entries"])]

    def _plan(self, entries: list[dict], texts: Mapping[str, str] = MappingProxyType({})) -> list[Change]:
        contents = {entry["path"]: self.text(entry["path"]) for entry in entries if entry["type"] == "file"}
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


class SettingsChange:
    """The settings that a run has staged, on their way through an activation. Without any, the release goes alone."""

    def __init__(self, home: Home, name: str, release: str | None) -> None:
        self.home = home
        self.staged = SettingsSet(home, name, home.staged_settings)
        self.former = SettingsSet(home, name, home.former_settings)
        self.wanted = bool(release and home.staged_settings) and self.staged.exists()

    def begin(self, before: str | None, after: str | None) -> None:
        """Keep what is in place, and give the candidate the new settings."""
        if not self.wanted:
            return
        there = self.staged.paths()
        units = [unit for unit in (self.staged.unit, self.staged.candidate) if unit not in there]
        self.staged.add([_found(path) for path in units], app=after)
        # Complete or absent, like everything that a later run relies on.
        snapshot = SettingsSet(self.home, "", os.path.join(self.home.settings, f"{NEXT_SETTINGS}former"))
        _remove(snapshot.directory)
        snapshot.add([_found(path) for path in self.staged.paths()], app=before)
        _rename(snapshot.directory, self.former.directory)
        self.staged.put_candidate()

    def put(self, activate_release: Callable[[], None]) -> None:
        if self.wanted:
            self.staged.put(activate_release)
        else:
            activate_release()

    def undo(self, activate_release: Callable[[], None] = lambda: None) -> None:
        """Put back what was in place before. Where that fails, the next run does it."""
        if not self.former.exists():
            activate_release()
            return
        self.former.put(activate_release)
        _forget_former(self.home)

    def accept(self) -> None:
        """From here on, this is what is returned to. What was before is kept, one version of each file."""
        if not self.former.exists():
            return
        previous = os.path.join(self.home.settings, "previous")
        for name in os.listdir(previous) if os.path.isdir(previous) else []:
            if not os.path.lexists(os.path.join(self.former.directory, name)):
                os.rename(os.path.join(previous, name), os.path.join(self.former.directory, name))
        _remove(previous)
        _rename(self.former.directory, previous)

    def end(self) -> None:
        """Remove what was staged, unless a unit may still name it."""
        if self.wanted:
            discard_staged(self.home)


def is_live(home: Home, name: str) -> bool:
    """Whether there is a live application, whose settings change with an activation."""
    units = [f"{name}.socket", f"{name}.service", f"{name}-next.service"]
    return os.path.islink(home.app) and all(os.path.isfile(os.path.join(UNITS, unit)) for unit in units)


def staged_settings(home: Home, name: str) -> list[str]:
    """The places of the files that this run has staged and that differ from what is in place."""
    staged = SettingsSet(home, name, home.staged_settings)
    return staged.differing() if home.staged_settings and staged.exists() else []


def next_unit(home: Home, name: str, shown: str) -> str:
    """What `systemctl cat` shows of the service, as it will be with what this run has staged."""
    staged = SettingsSet(home, name, home.staged_settings)
    if not home.staged_settings or not staged.exists():
        return shown
    if staged.unit in staged.paths():
        with open(staged.unit, encoding="utf-8", errors="replace") as file:
            shown = shown.replace(file.read(), staged.text(staged.unit))
    return staged.pin(shown)


def is_unfinished(home: Home) -> bool:
    """Whether an activation that was to change settings was interrupted."""
    return os.path.isdir(home.former_settings)


def recover(home: Home, name: str) -> None:
    """Put back the settings and the release from before an activation that was interrupted. Only under the lock."""
    former = SettingsSet(home, name, home.former_settings)
    if former.exists():
        app = former.read()["app"]
        former.put(lambda: None if read_link(home.app) == app else swap_link(home.app, app))
        _forget_former(home)
    for path in home.foreign_settings():
        _remove(path)


def discard_staged(home: Home) -> None:
    """Remove what this run has staged, unless its activation is unfinished."""
    if home.staged_settings and not is_unfinished(home):
        _remove(home.staged_settings)


def _forget_former(home: Home) -> None:
    """Remove what is in place again. It is never seen half."""
    undone = os.path.join(home.settings, f"{NEXT_SETTINGS}undone")
    _rename(home.former_settings, undone)
    _remove(undone)


def note_settings(home: Home, name: str, release: str) -> None:
    """Note with which settings a release is live. Only for root: a digest lets a weak secret be guessed."""
    os.makedirs(home.settings, 0o755, exist_ok=True)
    text = json.dumps(_digests(home, name), indent=2, sort_keys=True) + "\n"
    replace_file(os.path.join(home.settings, f"{release}.json"), text.encode(), 0o600)


def differing_settings(home: Home, name: str, release: str) -> list[str]:
    """The names of settings that have changed since a release was live last. No value is returned."""
    try:
        with open(os.path.join(home.settings, f"{release}.json"), encoding="utf-8") as file:
            noted = json.load(file)
    except (OSError, ValueError):
        return []
    found, now = [], _digests(home, name)
    for path in sorted({*noted, *now}):
        before, after = noted.get(path, {}), now.get(path, {})
        names = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
        found += [f"{key} in {path}" for key in names]
    return found


def reload_units() -> None:
    code, said = run_systemctl("daemon-reload")
    if code:
        raise ReleaseError(f"systemctl daemon-reload failed: is systemd running on this host? {said}".rstrip())


def _read_at_start(home: Home) -> list[str]:
    return [home.env_file, home.gunicorn_config]


def _digests(home: Home, name: str) -> dict[str, dict[str, str]]:
    """What is assigned in the files of the settings, by path and name, as digests."""
    found: dict[str, dict[str, str]] = {}
    for path in [*_read_at_start(home), os.path.join(UNITS, f"{name}.service")]:
        values: dict[str, list[str]] = {}
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="surrogateescape") as file:
            for key, value in _ASSIGNED.findall(file.read()):
                values.setdefault(key, []).append(value.strip())
        found[path] = {
            key: hashlib.sha256("\0".join(given).encode("utf-8", "surrogateescape")).hexdigest()
            for key, given in values.items()
        }
    return found


def _described(entry: PathEntry) -> dict:
    """An entry as an option of the module tree, without its content."""
    if entry.kind == "absent":
        return {"path": entry.path, "type": "absent"}
    return {
        "path": entry.path,
        "type": entry.kind,
        "owner": entry.owner,
        "group": entry.group,
        "mode": f"{entry.mode:04o}",
    }


def _found(path: str) -> PathEntry:
    """A path as it is, as an entry that makes it so."""
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return PathEntry(path, "absent", 0)
    mode, owner, group = stat.S_IMODE(info.st_mode), get_user_name(info.st_uid), get_group_name(info.st_gid)
    if stat.S_ISSOCK(info.st_mode):
        return PathEntry(path, "socket", mode, owner, group)
    with open(path, "rb") as file:
        return PathEntry(path, "file", mode, owner, group, content=file.read())


def _rename(old: str, new: str) -> None:
    _remove(new)
    os.rename(old, new)
    with open_directory(os.path.dirname(new)) as fd:
        sync_directory(fd)


def _remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path)
