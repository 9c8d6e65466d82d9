# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepare a release on a host: remove leftovers, acquire the deploy lock, and stage or update the release."""

from __future__ import annotations

import os
import re
from typing import Any, cast

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.lock import DeployLock
from ansible_collections.flaskops.production.plugins.module_utils._app.pruning import (
    list_leftovers,
    remove_leftovers,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.record import ReleaseRecord
from ansible_collections.flaskops.production.plugins.module_utils._app.rollout import read_drain, read_rollout
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._files import foreign
from ansible_collections.flaskops.production.plugins.module_utils._releases.decision import (
    decide_release,
    format_name_note,
    has_settings,
    is_from_source,
    read_release_state,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.existing_code import (
    adopt_existing_code,
    transfer_shared_data,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.options import (
    ReleaseOptions,
    StageOptions,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.settings import list_staged_changes
from ansible_collections.flaskops.production.plugins.module_utils._releases.shared_paths import (
    check_layout,
    is_adoptable,
    relink_shared_paths,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.staging import stage_release


class Preparation:
    """The preparation of one release on one host."""

    def __init__(self, store: ReleaseStore, lock: DeployLock, options: StageOptions) -> None:
        self.store, self.layout, self.lock = store, store.layout, lock
        self.options, self.release = options, options.release

    def compare(self) -> dict[str, Any]:
        """Compare the host with the release, and acquire the lock if anything is left to do. Stages nothing."""
        self._check()
        if not self.options.check_mode:
            self._remove_leftovers()
        state = {
            **self._read_state(),
            "rollout": read_rollout(self.layout),
            "drained": read_drain(self.layout),
        }
        record = self.store.read_record(state["release"]) or {}
        decision = decide_release(state, record, self.release, is_adoptable(self.layout, self.release))
        is_pending = decision.stage != ""
        if not self.options.check_mode and (any(decision) or not state["migrated"] or state["drained"]):
            self._acquire()
        note = format_name_note(state["release"], self.release.source) if state["present"] and not is_pending else ""
        return {
            **state,
            "pending": is_pending,
            "locked": self.lock.is_held(),
            "changed": False,
            "notes": [note] if note else [],
        }

    def stage(self) -> dict[str, Any]:
        """Stage the release if it is missing and its archive is available. Updates a release that is on the host."""
        self._check()
        is_adopted = is_adoptable(self.layout, self.release)
        if is_adopted and not self.options.check_mode:
            self._acquire()
            adopt_existing_code(self.store, self.release, self.options.run)
            transfer_shared_data(self.layout, self.release)
        if not self.options.check_mode:
            self._remove_leftovers()
        state = self._read_state()
        if state["present"]:
            return self._update(state, is_adopted)
        is_available = self.options.archive.is_available or self.release.is_on_host
        if not is_available or self.options.check_mode:
            return {**state, "changed": True}
        self._acquire()
        remove_leftovers(self.store)
        if self.store.find_by_digest(self.release.source["digest"]):
            # A host with two names in the inventory has staged it in the meantime.
            return {**read_release_state(self.store, self.release), "changed": False}
        try:
            stage_release(self.store, self.release, self.options.archive, self.options.run)
        except BaseException:
            self.lock.release()
            raise
        return {**state, "changed": True}

    def _check(self) -> None:
        check_layout(self.layout, self.release)
        if not self.release.is_on_host and not self.options.check_mode:
            check_unit_user(self.layout, self.release)

    def _acquire(self) -> None:
        self.store.create_directories()
        self.lock.acquire(force=self.options.unlock)

    def _remove_leftovers(self) -> None:
        """Remove the files of a killed run. Raises LockedError if that run is not dead."""
        is_held = self.lock.is_held()
        if list_leftovers(self.layout) or self.lock.read_holder() and not is_held:
            self._acquire()
            remove_leftovers(self.store)
            self.lock.end_step(keep=is_held)

    def _read_state(self) -> dict[str, Any]:
        """Return the state of the release on the host. Staged settings make the process outdated."""
        state = read_release_state(self.store, self.release)
        staged = list_staged_changes(self.layout, self.release.app)
        if staged:
            state["outdated"] = state["outdated"] or f"new settings are staged: {', '.join(staged)}"
        return state

    def _update(self, state: dict[str, Any], is_adopted: bool) -> dict[str, Any]:
        """Update the source and the settings in the record of a release."""
        name = state["release"]
        has_new_source = self._update_source(name)
        notes = self._update_settings(name)
        if notes is not None:
            state["outdated"] = state["outdated"] or "settings of the release changed"
        name_note = format_name_note(name, self.release.source)
        return {
            **state,
            "changed": has_new_source or notes is not None or is_adopted,
            "notes": [*([name_note] if name_note else []), *(notes or [])],
        }

    def _update_source(self, name: str) -> bool:
        """Record the commit of the source if the release was staged from another one. Returns whether it changed.

        A revert commit has the same content as the commit before the reverted one.
        """
        record = self.store.read_record(name)
        if record is None or is_from_source(record, self.release.source):
            return False
        if not self.options.check_mode:
            is_held = self.lock.is_held()
            self.lock.acquire(force=self.options.unlock)
            self.store.write_record(name, {**record, "source": self.release.source["source"]})
            if not is_held:
                self.lock.release()
        return True

    def _update_settings(self, name: str) -> list[str] | None:
        """Apply changed settings to a release on the host. Returns notes for the user, or None without a change."""
        record = self.store.read_record(name) or {}
        if has_settings(record, self.release):
            return None
        before, notes = record.get("shared_paths", []), []
        wanted = [path.rstrip("/") for path in self.release.shared_paths]
        removed = [path for path in before if path.rstrip("/") not in wanted]
        if removed:
            notes.append(
                f"{name} was staged with {', '.join(removed)} in release_shared_paths and still leads there to "
                f"{self.layout.shared}: a removed path takes effect with the next release."
            )
        if self.options.check_mode:
            return notes
        self.lock.acquire(force=self.options.unlock)
        added = [path for path in self.release.shared_paths if path not in before]
        for kept in relink_shared_paths(self.layout, self.layout.release(name), added, self.release):
            notes.append(f"{name} leads to {self.layout.shared} now; its former content is kept in {kept}.")
        is_built = record.get("build") == self.release.build and record["built"]
        changed: dict[str, Any] = {**record, **self.release.format_settings(), "built": is_built}
        self.store.write_record(name, cast(ReleaseRecord, changed))
        return notes


def check_unit_user(layout: Layout, options: ReleaseOptions) -> None:
    """Raise ReleaseError if the service runs as another user, who could not write the files of the commands."""
    path = os.path.join(foreign.UNITS, options.app + ".service")
    try:
        with open(layout.find_settings_file(path), encoding="utf-8", errors="replace") as file:
            text = file.read()
    except FileNotFoundError:
        return
    found = re.findall(r"(?m)^User=(.+)$", text)
    if f"Sockets={options.app}.socket" in text and found and found[-1] != options.user:
        raise ReleaseError(
            f"{options.app}.service runs as {found[-1]}, but flask_app_user is {options.user!r}. Run the playbook "
            f"site, which changes the user and the owner of the data, or set flask_app_user to {found[-1]!r}."
        )
