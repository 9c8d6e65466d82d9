# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has of a release, and whether it may come there. Private."""

from __future__ import annotations

import os

from ansible_collections.flaskops.production.plugins.module_utils._entries import Entry, TreeError, apply, plan
from ansible_collections.flaskops.production.plugins.module_utils._releases import Home, ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._service import HEALTH, observe

# The options that say which release is to be on a host; documented in the module release_stage.
STAGE = {
    "root": {"type": "path", "required": True},
    "app": {"type": "str", "required": True},
    "source": {"type": "dict"},
    "shared_paths": {"type": "list", "elements": "str", "default": []},
    "static_paths": {"type": "list", "elements": "str", "default": []},
    "build": {"type": "str", "default": ""},
    "adopt": {"type": "bool", "default": False},
    "owner": {"type": "str", "default": "root"},
    "user": {"type": "str", "required": True},
    "group": {"type": "str", "required": True},
    "health": HEALTH,
}
# Settings of a release that its record keeps, so that a change of them is noticed.
SETTINGS = ("shared_paths", "static_paths", "build")


def is_real(path: str) -> bool:
    """Whether something else than a link stands where a link is to be."""
    return os.path.lexists(path) and not os.path.islink(path)


def on_host(params: dict) -> bool:
    """Whether the release is a copy of code that lies on the host, which the playbook adopt takes over."""
    return "directory" in (params["source"] or {})


def check_links(home: Home, params: dict) -> None:
    """Refuse a host whose code or environment was put there by hand, unless it may be adopted."""
    if on_host(params):
        return
    for link, holds in ((home.app, "code"), (home.venv, "an environment")):
        if is_real(link) and not params["adopt"]:
            raise ReleaseError(
                f"{link} is not a link but holds {holds}. Run again with -e release_adopt=true to keep it beside the "
                f"releases, or move it away: mv {link} {link}.before"
            )


def check_tree(home: Home, params: dict) -> None:
    """Refuse a host on which the release could not go live, before anything is changed."""
    check_links(home, params)
    check_shared_paths(params["shared_paths"])
    for name in params["shared_paths"]:
        path, adopted = os.path.join(home.shared, name), os.path.join(home.app, name)
        if name.endswith("/") and os.path.lexists(path.rstrip("/")) and not os.path.isdir(path):
            raise ReleaseError(f"release_shared_paths has {name}, a directory, but {path[:-1]} is something else.")
        if name.endswith("/") and not os.path.isdir(path):
            make_shared_directory(home, name, params, check_mode=True)
        journals = [adopted + suffix for suffix in ("-wal", "-journal") if os.path.lexists(adopted + suffix)]
        if params["adopt"] and is_real(home.app) and not name.endswith("/") and journals:
            raise ReleaseError(
                f"release_shared_paths has {name}, a database in use ({journals[0]} exists): stop the application "
                "first, or name its directory."
            )
        if not name.endswith("/") and not os.path.isfile(path) and not (params["adopt"] and os.path.isfile(adopted)):
            raise ReleaseError(
                f"release_shared_paths has {name}, a file, but {path} does not exist: put it there before the deploy, "
                f"or write {name}/ if it is a directory."
            )


def make_shared_directory(home: Home, name: str, params: dict, check_mode: bool = False) -> None:
    """Make a directory of shared/ for the runtime user, by way of directories alone.

    The application may write above it. A link that it has put there must not decide what root makes and gives away.
    """
    path = os.path.join(home.shared, name).rstrip("/")
    entry = Entry(path, "directory", 0o750, params["user"], params["group"], parents=True)
    try:
        for change in plan([entry], check_mode):
            if not check_mode:
                apply(change)
    except TreeError as error:
        raise ReleaseError(f"release_shared_paths has {name}, which is not in shared/ yet. {error}") from error


def check_shared_paths(shared_paths: list[str]) -> None:
    """Refuse names that would lead out of the release, or through one another into what is shared."""
    plain = [name.rstrip("/") for name in shared_paths]
    for name in plain:
        if os.path.normpath(name) != name or name.startswith(("/", "../")) or name in (".", ".."):
            raise ReleaseError(f"release_shared_paths has '{name}', but must hold names in the release, without '..'.")
        above = [other for other in plain if name.startswith(other + "/")]
        if above or plain.count(name) > 1:
            raise ReleaseError(f"release_shared_paths has {name} and {(above or [name])[0]}: name only one of them.")


def is_as_set(record: dict, params: dict) -> bool:
    """Whether a release has been staged with these settings."""
    return all(record.get(key) == params[key] for key in SETTINGS)


def is_from(record: dict, source: dict) -> bool:
    """Whether a release is recorded with the commit that is asked for: the same bits may come with another one."""
    wanted = (source.get("source") or {}).get("revision")
    return not wanted or (record.get("source") or {}).get("revision") == wanted


def kept_name(release: str, source: dict) -> str:
    """What to tell about a name chosen for bits that the host has under another one; empty where there is nothing."""
    if not source.get("named") or source["name"] == release:
        return ""
    return (
        f"release_name is {source['name']}, but the host has these bits as {release}, and they keep this name: a name "
        "counts when bits come to a host for the first time."
    )


def look(home: Home, params: dict) -> dict:
    """What is on the host."""
    source = params["source"]
    present = home.with_digest(source["digest"])
    record = home.record(present or source["name"]) or {}
    rejected = record.get("state") == "bad" and record.get("digest") == source["digest"]
    return {
        **observe(home, params["app"], params["health"]),
        "app": params["app"],
        "release": present or source["name"],
        "present": bool(present),
        "built": not params["build"] or bool(present) and record.get("build") == params["build"] and record["built"],
        "bad": record.get("reason", "no reason given") if rejected else "",
    }
