# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare a release with a host, and decide what is left to do."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._app.live_process import read_live_state
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._releases.migrations import is_migrated
from ansible_collections.flaskops.production.plugins.module_utils._releases.options import (
    RECORDED_SETTINGS,
    ReleaseOptions,
)


class Decision(NamedTuple):
    """The reasons to stage and to activate a release. An empty reason means that it is not necessary."""

    stage: str
    activate: str


def read_release_state(store: ReleaseStore, options: ReleaseOptions) -> dict[str, Any]:
    """Return the state of a release on the host, and the live release, as release_stage returns them."""
    source, layout = options.source, store.layout
    present = store.find_by_digest(source["digest"])
    record = store.read_record(present or source["name"]) or {}
    rejected = record.get("state") == "bad" and record.get("digest") == source["digest"]
    is_built = bool(present) and record.get("build") == options.build and record["built"]
    return {
        **read_live_state(layout, options.app, options.health),
        "app": options.app,
        "release": present or source["name"],
        "present": bool(present),
        "built": not options.build or is_built,
        "migrated": not options.migrate
        or is_migrated(record.get("migrated"), options.migrate, layout.find_settings_file(layout.env_file)),
        "bad": record.get("reason", "no reason given") if rejected else "",
    }


def decide_release(
    state: Mapping[str, Any], record: Mapping[str, Any], options: ReleaseOptions, is_adoptable: bool = False
) -> Decision:
    """Decide what is left to do, by the state of a release and its record. Does not read the host."""
    release = state["release"]
    if is_adoptable:
        stage = f"the code in {options.root} is to be adopted"
    elif not state["present"]:
        stage = f"{release} is not on the host"
    elif not has_settings(record, options):
        stage = f"settings of {release} changed"
    elif not is_from_source(record, options.source):
        stage = f"{release} is recorded with another commit"
    else:
        stage = ""
    if state["live"] != release:
        activate = f"{release} is not live"
    elif not state["built"]:
        activate = f"{release} is not built"
    else:
        activate = state["outdated"]
    return Decision(stage, activate)


def has_settings(record: Mapping[str, Any], options: ReleaseOptions) -> bool:
    """Return whether a release is recorded with these settings."""
    wanted = options.format_settings()
    return all(record.get(key) == wanted[key] for key in RECORDED_SETTINGS)


def is_from_source(record: Mapping[str, Any], source: Mapping[str, Any]) -> bool:
    """Return whether a release is recorded with the commit of the source. Several commits can have the same content."""
    wanted = (source.get("source") or {}).get("revision")
    return not wanted or (record.get("source") or {}).get("revision") == wanted


def format_name_note(release: str, source: Mapping[str, Any]) -> str:
    """Return a note if the host has the content of a named release under another name, or an empty string."""
    if not source.get("named") or source["name"] == release:
        return ""
    return (
        f"release_name is {source['name']}, but the host has the same content as {release}, and keeps this name: a "
        "name is used when content is staged for the first time."
    )
