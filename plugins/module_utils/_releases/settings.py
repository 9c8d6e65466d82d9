# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings that are activated with a release: environment file, Gunicorn's configuration, units and Nginx's site.

    .deploy/settings/next-<run>/    staged by a run; the candidate starts with these files
    .deploy/settings/former/        the earlier files, from the start of the candidate until the activation succeeds
    .deploy/settings/previous/      the files before the last successful change
    .deploy/settings/<release>.json the settings that a release was live with, as digests

Files in several directories cannot be replaced in one step, but the unit of the service can, and it refers to all
others. Therefore it is replaced twice: first by a text that refers to the staged files, and by its own text when they
are in place. Whenever the service starts, it starts with all earlier files or with all new ones, and with the release
that belongs to them. No unit can refer to the site of Nginx. If the host restarts at that moment, the first text
installs the site when the service starts.

Nginx reads the new site when only the new release answers, and the earlier one before the earlier release answers.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Callable, Iterator

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import NEXT_SETTINGS, Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.lock import DeployLock
from ansible_collections.flaskops.production.plugins.module_utils._app.pruning import list_foreign_settings
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._core.accounts import get_group_name, get_user_name
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._files import foreign
from ansible_collections.flaskops.production.plugins.module_utils._files.entries import PathEntry
from ansible_collections.flaskops.production.plugins.module_utils._files.links import read_link, swap_link
from ansible_collections.flaskops.production.plugins.module_utils._releases.options import Run
from ansible_collections.flaskops.production.plugins.module_utils._releases.settings_set import (
    SettingsSet,
    remove_directory,
    replace_directory,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.staged_site import SCRIPT

# The option of a module that can stage settings.
STAGE_OPTION = {
    "type": "dict",
    "options": {
        "root": {"type": "path", "required": True},
        "name": {"type": "str", "required": True},
        "unlock": {"type": "bool", "default": False},
    },
}


class SettingsChange:
    """The change of the staged settings during an activation. Without staged settings, only the release changes."""

    def __init__(self, layout: Layout, name: str, release: str | None) -> None:
        self.layout = layout
        self.staged = SettingsSet(layout, name, layout.staged_settings)
        self.former = SettingsSet(layout, name, layout.former_settings)
        self.is_wanted = bool(release and layout.staged_settings) and self.staged.exists()

    def prepare(self, before: str | None, after: str | None) -> None:
        """Keep the current files, and install the unit of the candidate, which refers to the staged ones."""
        if not self.is_wanted:
            return
        staged_paths = self.staged.list_paths()
        units = [unit for unit in (self.staged.unit, self.staged.candidate) if unit not in staged_paths]
        self.staged.add_entries([read_entry(path) for path in units], app=after)
        self._keep_current([read_entry(path) for path in self.staged.list_paths()], before)
        self.staged.install_candidate()

    def prepare_site(self) -> None:
        """Keep the current site, if nothing else changes."""
        self._keep_current([], None)

    def _keep_current(self, entries: list[PathEntry], app: str | None) -> None:
        # Renamed when it is complete, because a later run restores it.
        snapshot = SettingsSet(self.layout, "", os.path.join(self.layout.settings, f"{NEXT_SETTINGS}former"))
        remove_directory(snapshot.directory)
        snapshot.add_entries(entries, app=app)
        site = self.staged.read_site()
        if site:
            known = {name: site.known[name] for name in ("path", "pid_file", "error_log")}
            snapshot.add_site(site.read_current(), **known)
        replace_directory(snapshot.directory, self.former.directory)

    def install(self, activate_release: Callable[[], None]) -> None:
        """Install the staged files and the site together with the release."""
        if not self.is_wanted:
            activate_release()
            return
        site = self.staged.read_site()
        self.staged.install(activate_release, site.install if site else lambda: None)

    def install_site(self) -> None:
        """Install the staged site only."""
        site = self.staged.read_site()
        if site:
            site.install()

    def reload_nginx(self) -> None:
        """Reload Nginx if the site changes."""
        site = self.staged.read_site() if self.is_wanted else None
        if site:
            site.reload_nginx()

    def restore(self, activate_release: Callable[[], None] = lambda: None) -> None:
        """Restore the earlier files. If that fails, the next run does it."""
        if not self.former.exists():
            activate_release()
            return
        restore_former(self.former, activate_release)
        _remove_former(self.layout)

    def accept(self) -> None:
        """Keep the new files for good. One earlier version of each file is kept for the administrator."""
        if not self.former.exists():
            return
        previous = os.path.join(self.layout.settings, "previous")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.former.directory, SCRIPT))
        for name in os.listdir(previous) if os.path.isdir(previous) else []:
            if not os.path.lexists(os.path.join(self.former.directory, name)):
                os.rename(os.path.join(previous, name), os.path.join(self.former.directory, name))
        remove_directory(previous)
        replace_directory(self.former.directory, previous)

    def discard(self) -> None:
        """Remove the staged files, unless a unit may still refer to them."""
        if self.is_wanted:
            discard_staged_settings(self.layout)


def is_application_live(layout: Layout, name: str) -> bool:
    """Return whether the application is live, so that its settings change with an activation."""
    units = [f"{name}.socket", f"{name}.service", f"{name}-next.service"]
    return os.path.islink(layout.app) and all(os.path.isfile(os.path.join(foreign.UNITS, unit)) for unit in units)


def list_staged_changes(layout: Layout, name: str) -> list[str]:
    """Return the paths of the files that this run has staged and that differ from the current ones."""
    staged = SettingsSet(layout, name, layout.staged_settings)
    return staged.list_differing_paths() if layout.staged_settings and staged.exists() else []


def is_only_site_staged(layout: Layout, name: str) -> bool:
    """Return whether the site is the only staged file that differs."""
    site = SettingsSet(layout, name, layout.staged_settings).read_site()
    return site is not None and list_staged_changes(layout, name) == [site.path]


def format_next_unit(layout: Layout, name: str, shown: str) -> str:
    """Return the output of `systemctl cat` for the service with the staged settings, given the current output."""
    staged = SettingsSet(layout, name, layout.staged_settings)
    if not layout.staged_settings or not staged.exists():
        return shown
    if staged.unit in staged.list_paths():
        with open(staged.unit, encoding="utf-8", errors="replace") as file:
            shown = shown.replace(file.read(), staged.load_text(staged.unit))
    return staged.redirect_paths(shown)


def is_activation_unfinished(layout: Layout) -> bool:
    """Return whether an activation with changed settings was interrupted."""
    return os.path.isdir(layout.former_settings)


def recover_settings(layout: Layout, name: str) -> None:
    """Restore the settings and the release from before an interrupted activation. The caller holds the deploy lock."""
    former = SettingsSet(layout, name, layout.former_settings)
    if former.exists():
        app = former.read_manifest()["app"]

        def swap() -> None:
            if app and read_link(layout.app) != app:
                swap_link(layout.app, app)

        restore_former(former, swap, must_reload=True)
        _remove_former(layout)
    for path in list_foreign_settings(layout):
        remove_directory(path)


def restore_former(former: SettingsSet, activate_release: Callable[[], None], must_reload: bool = False) -> None:
    """Install the earlier settings. With must_reload, Nginx is reloaded even if its site does not change."""

    def install_site() -> None:
        site = former.read_site()
        if site and (site.install() or must_reload):
            # If Nginx rejects its configuration, it keeps the loaded one. The release does not depend on that.
            with contextlib.suppress(ReleaseError):
                site.reload_nginx()

    former.install(activate_release, install_site)


@contextlib.contextmanager
def open_staged_settings(layout: Layout, name: str, run: Run, force: bool) -> Iterator[SettingsSet]:
    """Yield the settings that this run stages, under the deploy lock. The lock is kept if this run held it before."""
    os.umask(0o022)
    ReleaseStore(layout).create_directories()
    lock = DeployLock(layout, run)
    is_held = lock.is_held()
    lock.acquire(force=force)
    try:
        yield SettingsSet(layout, name, layout.staged_settings)
    finally:
        lock.end_step(keep=is_held)


def discard_staged_settings(layout: Layout) -> None:
    """Remove the settings that this run has staged, unless their activation is unfinished."""
    if layout.staged_settings and not is_activation_unfinished(layout):
        remove_directory(layout.staged_settings)


def _remove_former(layout: Layout) -> None:
    """Rename the earlier settings and remove them, so that they are never incomplete under their name."""
    undone = os.path.join(layout.settings, f"{NEXT_SETTINGS}undone")
    replace_directory(layout.former_settings, undone)
    remove_directory(undone)


def read_entry(path: str) -> PathEntry:
    """Return the current state of a path as an entry that restores it."""
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return PathEntry(path, "absent", 0)
    mode, owner, group = stat.S_IMODE(info.st_mode), get_user_name(info.st_uid), get_group_name(info.st_gid)
    if stat.S_ISSOCK(info.st_mode):
        return PathEntry(path, "socket", mode, owner, group)
    with open(path, "rb") as file:
        return PathEntry(path, "file", mode, owner, group, content=file.read())
