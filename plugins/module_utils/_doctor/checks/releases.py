# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the live release, its virtual environment, and the files of interrupted runs."""

from __future__ import annotations

import os
from typing import Iterator

from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.finding import (
    Finding,
    create_finding,
    format_node,
    format_paths,
)

# The age in seconds of a stale deploy lock.
LOCK_AGE = 3600


def examine_releases(facts: Facts) -> Iterator[Finding]:
    """Yield findings on the live release and on files of interrupted runs."""
    if facts.root not in facts.nodes:
        return
    live = facts.nodes.get(facts.live)
    expected = f"a link to a release in {facts.root}/releases"
    if facts.are_releases_missing():
        path = os.path.join(facts.root, "releases")
        yield create_finding(
            "releases-missing", f"{path} is not there", "the directory of the releases", path, name=facts.name
        )
    playbook = "rollback" if facts.previous else "deploy"
    if live is None:
        yield create_finding("live-missing", f"{facts.live} does not exist", expected, facts.live, playbook=playbook)
    elif live.kind != "link":
        yield create_finding("live-not-a-link", format_node(live), expected, facts.live)
    elif facts.are_releases_missing():
        pass  # the live release is missing with all others
    elif facts.code not in facts.nodes:
        found = f"{facts.live} -> {live.target}, which does not exist"
        yield create_finding("live-dangling", found, expected, facts.live, playbook=playbook)
    elif facts.releases and os.path.dirname(facts.code) != os.path.realpath(facts.releases):
        yield create_finding("live-outside-releases", f"{facts.live} -> {facts.code}", expected, facts.live)
    elif facts.managed:
        yield from _examine_live_release(facts)
    yield from _examine_leftovers(facts)


def _examine_live_release(facts: Facts) -> Iterator[Finding]:
    playbook = "rollback" if facts.previous else "deploy"
    if os.path.join(facts.root, ".deploy", "releases", facts.release + ".json") in facts.unreadable:
        return  # reported with the other unreadable records
    if facts.record is None:
        found = f"{facts.code} has no record"
        yield create_finding("live-incomplete", found, "a record of the release", facts.code, playbook=playbook)
    elif facts.record.get("state") == "bad":
        found = f"{facts.release} was rejected: {facts.record.get('reason') or 'no reason recorded'}"
        yield create_finding("live-rejected", found, "a release that passed its checks", facts.code, playbook=playbook)
    if facts.record is not None and facts.last_recorded != facts.release:
        found = f"{facts.release} is live, the last one recorded is {facts.last_recorded or 'none'}"
        yield create_finding("activation-unrecorded", found, "the last entry of activations.log", facts.live)
    if not facts.venv_complete:
        path = os.path.join(facts.root, "venvs", facts.venv)
        yield create_finding(
            "venv-incomplete", f"{path} does not match its record", "an unchanged virtual environment", path
        )
    if facts.missing_interpreter:
        path = os.path.join(facts.root, "venvs", facts.venv)
        yield create_finding("venv-interpreter-missing", facts.missing_interpreter, "an interpreter", path)
    venv, own = os.path.join(facts.root, "venv"), os.path.join(facts.code, ".venv")
    if os.path.lexists(own) and os.path.realpath(venv) != os.path.realpath(own):
        found = f"{venv} leads to {os.path.realpath(venv)}"
        yield create_finding("venv-mismatch", found, os.path.realpath(own), venv, name=facts.name)


def _examine_leftovers(facts: Facts) -> Iterator[Finding]:
    if facts.lock:
        found = "held by {by} on {controller} since {time}, run {run}".format(**facts.lock)
        kind = "lock-stale" if facts.lock_age > LOCK_AGE else "lock-held"
        yield create_finding(
            kind, found, "no deploy lock, unless a deploy is running", os.path.join(facts.root, ".deploy", "lock")
        )
    elif facts.drained:
        found = "drained by {by} since {time}, run {run}".format(**facts.drained)
        place = os.path.join(facts.root, ".deploy", "drained.json")
        yield create_finding("hooks-open", found, "no drained host, unless a deploy is running", place)
    if not facts.lock and facts.candidate:
        yield create_finding(
            "activation-interrupted",
            f"{facts.candidate} exists",
            "no candidate, unless a deploy is running",
            facts.candidate,
        )
    if not facts.lock and facts.unfinished:
        yield create_finding(
            "release-half-staged", format_paths(facts.unfinished), "no unfinished files", facts.unfinished[0]
        )
    # Without the releases, the references to virtual environments are unknown.
    if facts.unused_venvs and not facts.are_releases_missing():
        yield create_finding(
            "venv-unreferenced",
            format_paths(facts.unused_venvs),
            "virtual environments that a release uses",
            facts.unused_venvs[0],
        )
    if facts.unreadable:
        found = f"no record can be read in {format_paths(facts.unreadable)}"
        yield create_finding(
            "record-unreadable", found, "a record of a release in JSON", facts.unreadable[0], name=facts.name
        )
    if facts.unrecorded:
        yield create_finding(
            "release-unrecorded", format_paths(facts.unrecorded), "releases with a record", facts.unrecorded[0]
        )
