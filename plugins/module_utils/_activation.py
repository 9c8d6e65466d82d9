# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The switch of one host to a release, and the way back. Private to the collection."""

from __future__ import annotations

import json
import os
import re
import time
from typing import Callable

from ansible_collections.flaskops.production.plugins.module_utils._releases import (
    Home,
    ReleaseError,
    link_environment,
)
from ansible_collections.flaskops.production.plugins.module_utils._service import (
    cause,
    fault,
    journal,
    show,
    systemctl,
    working_directory,
)
from ansible_collections.flaskops.production.plugins.module_utils._static_files import collect
from ansible_collections.flaskops.production.plugins.module_utils._symlink import (
    SymlinkError,
    read,
    swap,
    sync_filesystem,
)


class Rejected(Exception):
    """A release that did not come up: in which phase, and what was seen."""

    def __init__(self, phase: str, seen: str, unit: str, since: float) -> None:
        super().__init__(seen)
        self.phase, self.seen, self.unit, self.since = phase, seen, unit, since


class Activation:
    """One switch on one host. While it is under way, the link next exists; a later run that finds it completes it."""

    def __init__(self, home: Home, name: str, release: str | None, health: dict | None) -> None:
        self.home, self.release, self.health = home, release, health
        self.unit, self.candidate = f"{name}.service", f"{name}-next.service"
        self.candidate_env = f"/run/{name}-next.env"
        self.after = os.path.join("releases", release) if release else None
        before = home.recorded() or home.live()
        # A link that some other tool has put there is what to return to, too.
        self.before = os.path.join("releases", before) if before else _link_text(home.app)
        self.directory = home.release(release) if release else os.path.realpath(home.app)
        # A release that is live already may be on its way to another set of dependencies.
        self.environment_before = home.proven_environment(release) if release and release == before else None
        self.since = time.time()
        # Without the release role there is no environment for a candidate, and the service is just restarted.
        self.gated = bool(release) or os.path.lexists(os.path.join(self.directory, ".venv"))

    def run(self, record: Callable[[], None]) -> None:
        """Switch, and record it. When that fails, what served before serves again, and the error is raised."""
        if systemctl("daemon-reload")[0]:
            raise ReleaseError("systemctl daemon-reload failed: is systemd running on this host?")
        sync_filesystem(self.home.root)
        try:
            if self.release:
                link_environment(self.home, self.release, self.home.environment(self.release))
            if self.gated:
                # Pages of the release may ask for new files as soon as the candidate serves; files that the live
                # release has too are replaced only when the candidate has proved itself.
                self.collect_static(self.directory, replace=False)
                self.start_candidate()
            try:
                self.collect_static(self.directory, replace=True)
                self.switch(self.after)
                self.restart(self.directory)
                if self.gated:
                    # So far the candidate may have answered.
                    self.stop_candidate()
                    self.verify()
            except (Rejected, ReleaseError, SymlinkError, OSError) as error:
                self.switch_back(error)
                raise
            record()
        except (Rejected, ReleaseError, SymlinkError, OSError):
            if self.environment_before:
                link_environment(self.home, self.release, self.environment_before)
            raise
        finally:
            self.end()

    def start_candidate(self) -> None:
        since = time.time()
        swap(self.home.next, os.path.relpath(self.directory, self.home.root))
        health = json.dumps(self.health and {key: self.health[key] for key in ("path", "host", "status", "headers")})
        with open(self.candidate_env, "w", encoding="ascii") as file:
            file.write('RELEASE_HEALTH="{}"\n'.format(re.sub(r'(["\\$`])', r"\\\1", health)))
        # A candidate left over from a killed activation would make a start do nothing.
        if systemctl("restart", self.candidate)[0]:
            raise Rejected("candidate", not_started(self.home, self.candidate, since), self.candidate, since)
        unit = show(self.candidate)
        # Where a host has no room for two copies, the candidate is only imported and gone by now.
        if unit["Type"] != "oneshot" and working_directory(unit["MainPID"]) != os.path.realpath(self.directory):
            raise Rejected("candidate", "it ended right after its start", self.candidate, since)

    def stop_candidate(self) -> None:
        systemctl("stop", self.candidate)
        systemctl("reset-failed", self.candidate)

    def end(self) -> None:
        if not os.path.lexists(self.home.next):
            return
        self.stop_candidate()
        for path in (self.candidate_env, self.home.next):
            if os.path.lexists(path):
                os.unlink(path)

    def switch(self, target: str | None) -> None:
        """Point app at a release, and venv at the environment of whatever app is."""
        if target is None:
            return
        if read(self.home.app) != target:
            swap(self.home.app, target)
        fixed = os.path.join("app", ".venv")
        if os.path.lexists(os.path.join(self.home.app, ".venv")) and read(self.home.venv) != fixed:
            swap(self.home.venv, fixed)

    def restart(self, directory: str, back: bool = False) -> None:
        """Restart the service, and prove that it is the release and that it answers."""
        since = time.time()
        if systemctl("restart", self.unit)[0]:
            raise Rejected("service", not_started(self.home, self.unit, since), self.unit, since)
        runs = working_directory(show(self.unit)["MainPID"])
        if runs != os.path.realpath(directory):
            raise Rejected("service", f"{self.unit} runs {runs}", self.unit, since)
        if back:
            # What was rejected must not answer in place of what serves again.
            self.stop_candidate()
        self.verify()

    def verify(self) -> None:
        """Ask over the socket."""
        since = time.time()
        seen = fault(self.home, self.health)
        if seen:
            raise Rejected("health", seen, self.unit, since)

    def switch_back(self, seen: Exception) -> None:
        """Serve again what served before; without anything before, stop."""
        if self.after is None:
            return
        if self.before is None:
            systemctl("stop", self.unit)
            systemctl("reset-failed", self.unit)
            if os.path.islink(self.home.app):
                os.unlink(self.home.app)
            return
        directory = os.path.realpath(os.path.join(self.home.root, self.before))
        try:
            if self.environment_before:
                link_environment(self.home, self.release, self.environment_before)
            self.switch(self.before)
            self.restart(directory, back=True)
            self.collect_static(directory, replace=True)
        except (Rejected, ReleaseError, SymlinkError, OSError) as error:
            raise Rejected(
                "way back",
                f"{seen}, and the way back to {os.path.basename(directory)} failed too: {error}",
                self.unit,
                self.since,
            ) from error

    def collect_static(self, directory: str, replace: bool) -> None:
        """Copy the release's static files into shared/static; files of other releases stay."""
        collect(self.home, directory, dict(self.home.record(os.path.basename(directory)) or {}), replace)


def not_started(home: Home, unit: str, since: float) -> str:
    """Why a unit did not start, in a few words."""
    said = cause(journal(home, unit, since))
    return f"it did not start ({said})" if said else "it did not start"


def _link_text(path: str) -> str | None:
    return os.readlink(path) if os.path.islink(path) else None


def check(home: Home, release: str | None) -> None:
    """Refuse a release that is not complete on this host."""
    if release is None:
        return
    if release not in home.known():
        there = ", ".join(sorted(home.known())) or "none"
        raise ReleaseError(f"The release {release} is not on this host; complete there: {there}.")
    record = home.record(release) or {}
    if record.get("build") and not record.get("built"):
        raise ReleaseError(f"The release {release} was never built (release_build_command): deploy it again.")
    environment = home.environment(release)
    if environment is None or not os.path.isdir(os.path.join(home.venvs, environment)):
        raise ReleaseError(f"The release {release} has no set of dependencies: stage it again.")
