# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove old releases, unused virtual environments, and the files of interrupted runs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import (
    NEXT_SETTINGS,
    REMOVED,
    STAGING,
    VENV_NAME,
    Layout,
    list_directory,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.record import FormatError
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._app.venv_links import read_registered_links
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import WRITE_PREFIX


def list_leftovers(layout: Layout) -> list[str]:
    """Return the files of interrupted runs, and the virtual environments that no release uses."""
    former = [layout.former_settings] if os.path.lexists(layout.former_settings) else []
    return _list_unfinished(layout) + former + [os.path.join(layout.venvs, name) for name in _list_unused_venvs(layout)]


def _list_unfinished(layout: Layout) -> list[str]:
    found = [
        os.path.join(directory, name)
        for directory in (layout.releases, layout.venvs)
        for name in list_directory(directory)
        if name.startswith((STAGING, REMOVED))
    ]
    found += [os.path.join(layout.state, name) for name in list_directory(layout.state) if name.startswith("lock.")]
    found += [
        os.path.join(directory, name)
        for directory in (layout.state, layout.records, layout.settings)
        for name in list_directory(directory)
        if name.startswith(WRITE_PREFIX)
    ]
    # Links and settings of removed releases, unless the directory of releases is not mounted.
    found += [
        os.path.join(directory, name)
        for directory, end in ((layout.venv_links, ""), (layout.settings, ".json"))
        for name in list_directory(directory)
        if name.endswith(end)
        and not os.path.isdir(layout.release(name[: len(name) - len(end)]))
        and os.path.isdir(layout.releases)
    ]
    return found + list_foreign_settings(layout)


def list_foreign_settings(layout: Layout) -> list[str]:
    """Return the settings that other runs have staged. During an activation, units may refer to them."""
    if os.path.lexists(layout.former_settings):
        return []
    staged = [
        os.path.join(layout.settings, name)
        for name in list_directory(layout.settings)
        if name.startswith(NEXT_SETTINGS)
    ]
    return [path for path in staged if path != layout.staged_settings]


def remove_leftovers(store: ReleaseStore) -> None:
    """Remove the files of interrupted runs. The caller holds the deploy lock."""
    layout = store.layout
    for path in _list_unfinished(layout):
        _delete(path)
    store.read_releases()
    for path, error in store.damaged.items():
        # The record of a newer version of the collection is valid for that version.
        if os.path.lexists(path) and not isinstance(error, FormatError):
            os.replace(path, path + ".damaged")
    for name in list_directory(layout.records):
        release = name[: -len(".json")] if name.endswith(".json") else None
        record = store.read_record(release) if release else None
        if release and record and record["state"] != "bad" and not os.path.isdir(layout.release(release)):
            os.unlink(os.path.join(layout.records, name))
    _remove_unused_venvs(layout)


def prune_releases(store: ReleaseStore, keep: int) -> list[str]:
    """Remove old releases and unused virtual environments. Returns their names.

    Keeps the live and the previous release, the last keep good ones, and all unknown names. The log of activations
    has the order; times of files are not used.
    """
    layout, releases = store.layout, store.read_releases()
    last = {entry["release"]: position for position, entry in enumerate(store.read_activations())}
    good = sorted(
        (name for name, record in releases.items() if record["state"] != "bad"),
        key=lambda name: (last.get(name, -1), releases[name]["staged"]),
    )
    kept = {*good[-keep:], store.find_live(), store.find_previous(), layout.find_linked_release(layout.next)}
    removed = [name for name in releases if name not in kept]
    for name in removed:
        _remove_directory(layout.releases, name)
        _unlink_if_exists(os.path.join(layout.venv_links, name))
        _unlink_if_exists(os.path.join(layout.settings, name + ".json"))
        if releases[name]["state"] != "bad":
            _unlink_if_exists(layout.record_file(name))
    return removed + _remove_unused_venvs(layout)


def _list_unused_venvs(layout: Layout) -> list[str]:
    if not list_directory(layout.records):
        # Nothing was deployed here, so the virtual environments have other users.
        return []
    links = [layout.venv, *read_registered_links(layout.venvs)]
    links += [os.path.join(layout.venv_links, name) for name in list_directory(layout.venv_links)]
    links += [os.path.join(layout.release(name), ".venv") for name in list_directory(layout.releases)]
    used = {os.path.basename(os.path.realpath(link)) for link in links if os.path.islink(link)}
    return [name for name in list_directory(layout.venvs) if VENV_NAME.match(name) and name not in used]


def _remove_unused_venvs(layout: Layout) -> list[str]:
    """Remove the virtual environments that no release uses, unless one is being built."""
    removed = _list_unused_venvs(layout)
    if not removed:
        return []
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(os.path.join(layout.venvs, ".lock"), os.O_RDWR | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return []
        for name in removed:
            _remove_directory(layout.venvs, name)
    return removed


def _remove_directory(directory: str, name: str) -> None:
    """Rename a directory and remove it, so that it is never incomplete under its name."""
    aside = os.path.join(directory, REMOVED + name)
    os.rename(os.path.join(directory, name), aside)
    _delete(aside)


def _delete(path: str) -> None:
    """Remove a file, a link or a directory. An interrupted adoption may leave a link in place of a directory."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _unlink_if_exists(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
