# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare a release with a host, and check whether it may be staged there."""

from __future__ import annotations

import grp
import os
import pwd
import re
from typing import Iterator, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._app.health import HEALTH
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.live_process import read_live_state
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._core.secrets import ASSIGNMENT, unquote_value
from ansible_collections.flaskops.production.plugins.module_utils._core.text import quote_for_shell
from ansible_collections.flaskops.production.plugins.module_utils._files import acl
from ansible_collections.flaskops.production.plugins.module_utils._files.entries import (
    PathEntry,
    TreeError,
    apply_change,
    plan_changes,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import read_file
from ansible_collections.flaskops.production.plugins.module_utils._releases.migrations import is_migrated

# The options that say which release is to be on a host; documented in the module release_stage.
STAGE = {
    "root": {"type": "path", "required": True},
    "app": {"type": "str", "required": True},
    "source": {"type": "dict"},
    "shared_paths": {"type": "list", "elements": "str", "default": []},
    "static_paths": {"type": "list", "elements": "str", "default": []},
    "build": {"type": "str", "default": ""},
    "migrate": {"type": "str", "default": ""},
    "adopt": {"type": "bool", "default": False},
    "owner": {"type": "str", "default": "root"},
    "user": {"type": "str", "required": True},
    "group": {"type": "str", "required": True},
    "web_group": {"type": "str", "default": "www-data"},
    "health": HEALTH,
}
# Settings of a release that its record keeps, so that a change of them is noticed.
SETTINGS = ("shared_paths", "static_paths", "build")
# Names of databases that are files, and how each of SQLite begins.
DATABASE = re.compile(r"\.(db|db3|sqlite|sqlite3)\Z", re.IGNORECASE)
SQLITE = b"SQLite format 3\0"
# An absolute path, alone or as SQLAlchemy and Django's dj-database-url have it.
SQLITE_URL = re.compile(r"(?:sqlite(?:\+\w+)?://(?=//))?/?(?P<path>/[^/?#][^?#]*)")


def is_real(path: str) -> bool:
    """Whether something else than a link stands where a link is to be."""
    return os.path.lexists(path) and not os.path.islink(path)


def on_host(params: dict) -> bool:
    """Whether the release is a copy of code that lies on the host, which the playbook adopt takes over."""
    return "directory" in (params["source"] or {})


def check_links(layout: Layout, params: dict) -> None:
    """Refuse a host whose code or environment was put there by hand, unless it may be adopted."""
    if on_host(params):
        return
    for link, holds in ((layout.app, "code"), (layout.venv, "an environment")):
        if is_real(link) and not params["adopt"]:
            raise ReleaseError(
                f"{link} is not a link but holds {holds}. Run again with -e release_adopt=true to keep it beside the "
                f"releases, or move it away: mv {quote_for_shell(link)} {quote_for_shell(link + '.before')}"
            )


def check_tree(layout: Layout, params: dict) -> None:
    """Refuse a host on which the release could not go live, before anything is changed."""
    check_links(layout, params)
    check_shared_paths(params["shared_paths"])
    check_databases(layout, params)
    check_static_paths(params["static_paths"], params["shared_paths"])
    for name in params["shared_paths"]:
        path, adopted = os.path.join(layout.shared, name), os.path.join(layout.app, name)
        if name.endswith("/") and os.path.lexists(path.rstrip("/")) and not os.path.isdir(path):
            raise ReleaseError(f"release_shared_paths has {name}, a directory, but {path[:-1]} is something else.")
        if name.endswith("/") and not os.path.isdir(path):
            make_shared_directory(layout, name, params, check_mode=True)
        journals = [adopted + suffix for suffix in ("-wal", "-journal") if os.path.lexists(adopted + suffix)]
        if params["adopt"] and is_real(layout.app) and not name.endswith("/") and journals:
            raise ReleaseError(
                f"release_shared_paths has {name}, a database in use ({journals[0]} exists): stop the application "
                "first, or name its directory."
            )
        if not name.endswith("/") and not os.path.isfile(path) and not (params["adopt"] and os.path.isfile(adopted)):
            advice = f"put it there before the deploy, or write {name}/ if it is a directory."
            if DATABASE.search(name):
                advice += " SQLite writes beside its file: share a directory for a database, such as instance/."
            raise ReleaseError(f"release_shared_paths has {name}, a file, but {path} does not exist: {advice}")


def check_databases(layout: Layout, params: dict) -> None:
    """Refuse a file of SQLite in a directory that the application may not write to: every write would fail."""
    for name in params["shared_paths"]:
        place = os.path.realpath(os.path.join(layout.shared, name))
        directory = os.path.dirname(place)
        # An adoption moves the file there.
        path = place if os.path.lexists(place) or not params["adopt"] else os.path.join(layout.app, name)
        if name.endswith("/") or not is_database(path) or may_write(directory, params["user"], params["group"]):
            continue
        raise ReleaseError(
            f"release_shared_paths has {name}, an SQLite database, but {params['user']} may not write to {directory}, "
            "and SQLite writes beside its file: stop the application, move the file to a directory such as "
            f"{layout.shared}/instance that belongs to {params['user']}, and share that directory: instance/."
        )
    # These directories are the application's, or will be.
    own = [os.path.join(layout.shared, name) for name in params["shared_paths"] if name.endswith("/")]
    for setting, path in named_databases(layout):
        directory = os.path.dirname(os.path.realpath(path))
        if not path.startswith(tuple(own)) and not may_write(directory, params["user"], params["group"]):
            raise ReleaseError(
                f"flask_app_env.{setting} names {path}, an SQLite database, but {params['user']} may not write to "
                f"{directory}, and SQLite writes beside its file: name a directory such as instance/ in "
                f"release_shared_paths, and a database in it: {layout.shared}/instance/{os.path.basename(path)}."
            )


def named_databases(layout: Layout) -> Iterator[tuple[str, str]]:
    """The files of SQLite in shared/ that variables of the environment file name, with those variables."""
    try:
        with open(layout.next_settings_file(layout.env_file), encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError:
        return
    for setting, raw in ASSIGNMENT.findall(text):
        found = SQLITE_URL.match(unquote_value(raw.strip()))
        path = os.path.normpath(found["path"]) if found else ""
        if path.startswith(layout.shared + os.sep) and (DATABASE.search(path) or is_database(path)):
            yield setting, path


def is_database(path: str) -> bool:
    """Whether a file is a database of SQLite, or an empty one that will be."""
    try:
        beginning = read_file(path, len(SQLITE))
    except OSError:
        return False
    return beginning == SQLITE or not beginning and bool(DATABASE.search(path))


def may_write(directory: str, user: str, group: str) -> bool:
    """Whether a directory lets the application write to it, as far as its modes tell."""
    try:
        info = os.stat(directory)
    except FileNotFoundError:
        # It would be made by root.
        return False
    if acl.read_acl(directory):
        return True
    try:
        if pwd.getpwnam(user).pw_uid == info.st_uid:
            return bool(info.st_mode & 0o200)
        if info.st_gid in os.getgrouplist(user, grp.getgrnam(group).gr_gid):
            return bool(info.st_mode & 0o020)
    except KeyError:
        # The account is still to be made, so nothing is its own.
        pass
    return bool(info.st_mode & 0o002)


def make_shared_directory(layout: Layout, name: str, params: dict, check_mode: bool = False) -> None:
    """Make a directory of shared/ for the runtime user, by way of directories alone.

    The application may write above it. A link that it has put there must not decide what root makes and gives away.
    """
    path = os.path.join(layout.shared, name).rstrip("/")
    # What Nginx serves belongs to its group, and so does what is put into it.
    mode, group = (0o2750, params["web_group"]) if is_served(name, params) else (0o750, params["group"])
    entry = PathEntry(path, "directory", mode, params["user"], group, parents=True)
    try:
        for change in plan_changes([entry], check_mode):
            if not check_mode:
                apply_change(change)
    except TreeError as error:
        raise ReleaseError(f"release_shared_paths has {name}, which is not in shared/ yet. {error}") from error


def is_served(name: str, params: dict) -> bool:
    """Whether Nginx serves what is below a shared path: below static files, or where it serves files of shared/."""
    return any(name.startswith(top.rstrip("/") + "/") for top in [*params["static_paths"], "static", "media"])


def check_shared_paths(shared_paths: list[str]) -> None:
    """Refuse names that would lead out of the release, or through one another into what is shared."""
    plain = [name.rstrip("/") for name in shared_paths]
    for name in plain:
        if os.path.normpath(name) != name or name.startswith(("/", "../")) or name in (".", ".."):
            raise ReleaseError(f"release_shared_paths has '{name}', but must hold names in the release, without '..'.")
        above = [other for other in plain if name.startswith(other + "/")]
        if above or plain.count(name) > 1:
            raise ReleaseError(f"release_shared_paths has {name} and {(above or [name])[0]}: name only one of them.")


def check_static_paths(static_paths: list[str], shared_paths: list[str]) -> None:
    """Refuse static paths that the application can write to, and a shared path where static files are collected."""
    shared = [name.rstrip("/") for name in shared_paths]
    for name in (os.path.normpath(name) for name in static_paths):
        over = [path for path in shared if name == path or name.startswith(path + "/")]
        if over:
            raise ReleaseError(
                f"release_static_paths has {name}, which is or lies in {over[0]} of release_shared_paths: the "
                "application could have any file of the host served. Take it out of one of them; "
                "nginx_site_locations serves shared data."
            )
    if static_paths and "static" in shared:
        raise ReleaseError(
            "release_shared_paths has static/, but static files of releases are collected in shared/static: set "
            "release_static_paths to [], or share a directory of another name."
        )


def is_as_set(record: dict, params: dict) -> bool:
    """Whether a release has been staged with these settings."""
    return all(record.get(key) == params[key] for key in SETTINGS)


def is_from(record: dict, source: dict) -> bool:
    """Whether a release is recorded with the commit that is asked for: the same bits may come with another one."""
    wanted = (source.get("source") or {}).get("revision")
    return not wanted or (record.get("source") or {}).get("revision") == wanted


class Decision(NamedTuple):
    """What a release still needs on a host, and why; empty texts where it needs nothing."""

    stage: str
    activate: str


def decide(found: dict, record: dict, params: dict, adoptable: bool = False) -> Decision:
    """What is left to do, from what look() has found and the record of the release. The host is not read."""
    release = found["release"]
    if adoptable:
        stage = f"the code in {params['root']} is to be adopted"
    elif not found["present"]:
        stage = f"{release} is not on the host"
    elif not is_as_set(record, params):
        stage = f"settings of {release} changed"
    elif not is_from(record, params["source"]):
        stage = f"{release} is recorded with another commit"
    else:
        stage = ""
    if found["live"] != release:
        activate = f"{release} is not live"
    elif not found["built"]:
        activate = f"{release} is not built"
    else:
        activate = found["outdated"]
    return Decision(stage, activate)


def kept_name(release: str, source: dict) -> str:
    """What to tell about a name chosen for bits that the host has under another one; empty where there is nothing."""
    if not source.get("named") or source["name"] == release:
        return ""
    return (
        f"release_name is {source['name']}, but the host has these bits as {release}, and they keep this name: a name "
        "counts when bits come to a host for the first time."
    )


def look(layout: Layout, params: dict) -> dict:
    """What is on the host."""
    source = params["source"]
    present = layout.with_digest(source["digest"])
    record = layout.record(present or source["name"]) or {}
    rejected = record.get("state") == "bad" and record.get("digest") == source["digest"]
    return {
        **read_live_state(layout, params["app"], params["health"]),
        "app": params["app"],
        "release": present or source["name"],
        "present": bool(present),
        "built": not params["build"] or bool(present) and record.get("build") == params["build"] and record["built"],
        "migrated": not params["migrate"]
        or is_migrated(record.get("migrated"), params["migrate"], layout.next_settings_file(layout.env_file)),
        "bad": record.get("reason", "no reason given") if rejected else "",
    }
