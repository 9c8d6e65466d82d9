# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check shared and static paths, create shared directories, and link the shared paths of a release.

A shared path is a name in a release that is a link to shared/. A slash at its end means a directory.
"""

from __future__ import annotations

import itertools
import os
import shutil
from typing import Iterable

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._core.text import quote_for_shell
from ansible_collections.flaskops.production.plugins.module_utils._files.applying import apply_change
from ansible_collections.flaskops.production.plugins.module_utils._files.changes import plan_changes
from ansible_collections.flaskops.production.plugins.module_utils._files.entries import PathEntry, TreeError
from ansible_collections.flaskops.production.plugins.module_utils._files.links import SymlinkError, exchange_names
from ansible_collections.flaskops.production.plugins.module_utils._releases.databases import (
    DATABASE_NAME,
    check_databases,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.options import ReleaseOptions


def is_not_link(path: str) -> bool:
    """Return whether a path exists and is not a symbolic link."""
    return os.path.lexists(path) and not os.path.islink(path)


def is_adoptable(layout: Layout, options: ReleaseOptions) -> bool:
    """Return whether there is code or a virtual environment in place of a link, and it may be adopted."""
    return options.adopt and (is_not_link(layout.app) or is_not_link(layout.venv))


def check_links(layout: Layout, is_allowed: bool) -> None:
    """Raise ReleaseError if there is code or a virtual environment in place of a link, unless that is allowed."""
    if is_allowed:
        return
    for link, content in ((layout.app, "code"), (layout.venv, "a virtual environment")):
        if is_not_link(link):
            raise ReleaseError(
                f"{link} is not a link but holds {content}. Run again with -e release_adopt=true to keep it beside the "
                f"releases, or move it away: mv {quote_for_shell(link)} {quote_for_shell(link + '.before')}"
            )


def check_layout(layout: Layout, options: ReleaseOptions) -> None:
    """Raise ReleaseError if the release could not become live on this host. Changes nothing."""
    check_links(layout, options.adopt or options.is_on_host)
    check_shared_paths(options.shared_paths)
    check_databases(layout, options)
    check_static_paths(options.static_paths, options.shared_paths)
    for name in options.shared_paths:
        if name.endswith("/"):
            _check_shared_directory(layout, name, options)
        else:
            _check_shared_file(layout, name, options)


def _check_shared_directory(layout: Layout, name: str, options: ReleaseOptions) -> None:
    path = os.path.join(layout.shared, name)
    if os.path.isdir(path):
        return
    if os.path.lexists(path.rstrip("/")):
        raise ReleaseError(f"release_shared_paths has {name}, a directory, but {path[:-1]} is not a directory.")
    create_shared_directory(layout, name, options, check_mode=True)


def _check_shared_file(layout: Layout, name: str, options: ReleaseOptions) -> None:
    path, adopted = os.path.join(layout.shared, name), os.path.join(layout.app, name)
    journals = [adopted + suffix for suffix in ("-wal", "-journal") if os.path.lexists(adopted + suffix)]
    if options.adopt and is_not_link(layout.app) and journals:
        raise ReleaseError(
            f"release_shared_paths has {name}, a database in use ({journals[0]} exists): stop the application "
            "first, or name its directory."
        )
    if os.path.isfile(path) or options.adopt and os.path.isfile(adopted):
        return
    advice = f"put it there before the deploy, or write {name}/ if it is a directory."
    if DATABASE_NAME.search(name):
        advice += " SQLite writes beside its file: share a directory for a database, such as instance/."
    raise ReleaseError(f"release_shared_paths has {name}, a file, but {path} does not exist: {advice}")


def check_shared_paths(shared_paths: Iterable[str]) -> None:
    """Raise ReleaseError for names outside of the release, and for names in or equal to other shared paths."""
    plain = [name.rstrip("/") for name in shared_paths]
    for name in plain:
        if os.path.normpath(name) != name or name.startswith(("/", "../")) or name in (".", ".."):
            raise ReleaseError(f"release_shared_paths has '{name}', but must hold names in the release, without '..'.")
        above = [other for other in plain if name.startswith(other + "/")]
        if above or plain.count(name) > 1:
            raise ReleaseError(f"release_shared_paths has {name} and {(above or [name])[0]}: name only one of them.")


def check_static_paths(static_paths: Iterable[str], shared_paths: Iterable[str]) -> None:
    """Raise ReleaseError for a static path that the application can write to, and for the shared path static/."""
    shared = [name.rstrip("/") for name in shared_paths]
    for name in (os.path.normpath(name) for name in static_paths):
        above = [path for path in shared if name == path or name.startswith(path + "/")]
        if above:
            raise ReleaseError(
                f"release_static_paths has {name}, which is or lies in {above[0]} of release_shared_paths: the "
                "application could have any file of the host served. Remove it from one of them; "
                "nginx_site_locations serves shared data."
            )
    if static_paths and "static" in shared:
        raise ReleaseError(
            "release_shared_paths has static/, but static files of releases are collected in shared/static: set "
            "release_static_paths to [], or share a directory of another name."
        )


def create_shared_directory(layout: Layout, name: str, options: ReleaseOptions, check_mode: bool = False) -> None:
    """Create a shared directory that the application owns, without following links.

    The application may be able to write to the directory above it, and must not redirect what root creates.
    """
    path = os.path.join(layout.shared, name).rstrip("/")
    # New files in a directory that Nginx serves get the group of Nginx.
    mode, group = (0o2750, options.web_group) if _is_served(name, options) else (0o750, options.group)
    entry = PathEntry(path, "directory", mode, options.user, group, parents=True)
    try:
        for change in plan_changes([entry], check_mode):
            if not check_mode:
                apply_change(change)
    except TreeError as error:
        raise ReleaseError(f"release_shared_paths has {name}, which is not in shared/ yet. {error}") from error


def _is_served(name: str, options: ReleaseOptions) -> bool:
    """Return whether Nginx serves a shared path: one below a static path, or below shared/static or shared/media."""
    return any(name.startswith(top.rstrip("/") + "/") for top in [*options.static_paths, "static", "media"])


def link_shared_paths(layout: Layout, release: str, options: ReleaseOptions) -> None:
    """Replace the shared paths of a release that is being staged by links. release is its directory."""
    for name in (name.rstrip("/") for name in options.shared_paths):
        link, text = _prepare_link(layout, release, name, options)
        if os.path.isdir(link) and not os.path.islink(link):
            shutil.rmtree(link)
        elif os.path.lexists(link):
            os.unlink(link)
        os.symlink(text, link)


def relink_shared_paths(layout: Layout, release: str, names: Iterable[str], options: ReleaseOptions) -> list[str]:
    """Replace new shared paths of a release by links, while it may be live. Returns the paths of kept content.

    A request finds the content or the link at any time. The application may have added to the content.
    """
    kept = []
    for name in (name.rstrip("/") for name in names):
        link, text = _prepare_link(layout, release, name, options)
        if not os.path.lexists(link):
            os.symlink(text, link)
            continue
        aside = _find_unused_path(os.path.join(os.path.dirname(link), f".{os.path.basename(link)}.before"))
        replace_by_link(link, aside, text)
        if os.path.islink(aside):
            os.unlink(aside)
        elif has_only_directories(aside):
            shutil.rmtree(aside)
        else:
            kept.append(aside)
    return kept


def _prepare_link(layout: Layout, release: str, name: str, options: ReleaseOptions) -> tuple[str, str]:
    """Create the directories for the link to a shared path. Returns the path of the link and its text."""
    path, link = os.path.join(layout.shared, name), os.path.join(release, name)
    if name + "/" in options.shared_paths and not os.path.isdir(path):
        create_shared_directory(layout, name + "/", options)
    parent = os.path.dirname(link)
    if os.path.realpath(parent) != os.path.normpath(os.path.join(os.path.realpath(release), os.path.dirname(name))):
        raise ReleaseError(f"release_shared_paths has {name}, but the release reaches it through a link.")
    os.makedirs(parent, exist_ok=True)
    # A release that is being staged is as deep as at its final path.
    return link, os.path.relpath(path, parent)


def has_only_directories(path: str) -> bool:
    """Return whether a directory holds nothing but directories, at any depth."""
    if not os.path.isdir(path) or os.path.islink(path):
        return False
    with os.scandir(path) as entries:
        return all(has_only_directories(entry.path) for entry in entries)


def _find_unused_path(path: str) -> str:
    candidates = itertools.chain([path], (f"{path}-{number}" for number in itertools.count(2)))
    return next(candidate for candidate in candidates if not os.path.lexists(candidate))


def replace_by_link(path: str, new_path: str, link_text: str) -> None:
    """Move a file or directory and leave a link, in one step if the kernel supports it."""
    os.symlink(link_text, new_path)
    try:
        exchange_names(path, new_path)
    except SymlinkError:
        os.unlink(new_path)
        os.rename(path, new_path)
        os.symlink(link_text, path)
