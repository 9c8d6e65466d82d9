# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Activate a release on one host, and return to the previous one if that fails."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from typing import Callable

from ansible_collections.flaskops.production.plugins.module_utils._app.health import (
    check_health,
    find_foreign_listener,
    find_socket_failure,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.live_process import (
    compute_file_digests,
    find_missing_interpreter,
    list_settings_files,
    record_process,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._app.venv_links import link_venv
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ModuleError, ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._files.links import (
    read_link,
    swap_link,
    sync_filesystem,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.cause import find_cause
from ansible_collections.flaskops.production.plugins.module_utils._releases.failure import (
    ActivationError,
    RejectedError,
    build_start_error,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.settings import SettingsChange
from ansible_collections.flaskops.production.plugins.module_utils._releases.settings_set import reload_units
from ansible_collections.flaskops.production.plugins.module_utils._releases.site_check import check_site
from ansible_collections.flaskops.production.plugins.module_utils._releases.static_files import collect_static_files
from ansible_collections.flaskops.production.plugins.module_utils._releases.unit_jobs import UnitJobs
from ansible_collections.flaskops.production.plugins.module_utils._systemd.journal import read_journal
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import (
    read_unit_properties,
    run_systemctl,
)
from ansible_collections.flaskops.production.plugins.module_utils._systemd.process import read_working_directory

# The phase of the request through Nginx, and the unit whose log explains its failure.
SITE, NGINX_UNIT = "site", "nginx.service"


class Activation:
    """An activation on one host. The link next exists until it ends; a later run completes an interrupted activation.

    Without a release, the live release gets a new process. timeout is in seconds, 0 for the timeouts of the units.
    site is the file of Nginx's site for the last check, or empty.
    """

    def __init__(
        self, layout: Layout, name: str, release: str | None, health: dict | None, timeout: float = 0, site: str = ""
    ) -> None:
        self.layout, self.store = layout, ReleaseStore(layout)
        self.name, self.release, self.health, self.site = name, release, health, site
        self.unit, self.candidate = f"{name}.service", f"{name}-next.service"
        self.candidate_env = f"/run/{name}-next.env"
        self.after = os.path.join("releases", release) if release else None
        before = self.store.find_recorded() or layout.find_live()
        # Without releases, app may be a link of another tool.
        self.before = os.path.join("releases", before) if before else _read_link_text(layout.app)
        self.directory = layout.release(release) if release else os.path.realpath(layout.app)
        # The live release may get another virtual environment.
        self.venv_before = self.store.find_proven_venv(release) if release and release == before else None
        self.since = time.time()
        # Without a virtual environment in the code there is no candidate, and the service is only restarted.
        self.has_candidate = bool(release) or os.path.lexists(os.path.join(self.directory, ".venv"))
        self.settings = SettingsChange(layout, name, release)
        units = [self.unit, self.candidate] if self.has_candidate else [self.unit]
        self.jobs = UnitJobs(units, health, 3 if site else 2, timeout)

    def run(self, record: Callable[[], None]) -> None:
        """Activate the release, and call record. On failure, returns to the previous release and raises the error."""
        reload_units()
        self.jobs.start_deadline()
        sync_filesystem(self.layout.root)
        try:
            self.restore_socket()
            if self.release:
                link_venv(self.layout, self.release, self.store.find_venv(self.release) or "")
            if self.has_candidate:
                # Pages of the candidate may request new files. Existing files are replaced after its health check.
                self.collect_static(self.directory, replace=False)
                self.settings.prepare(self.before, self.after)
                self._read_new_limits()
                self.start_candidate()
            try:
                self._replace_live()
            except (ModuleError, OSError) as error:
                self.return_to_previous(error)
                raise
            self.settings.accept()
            record()
        except (ModuleError, OSError):
            with contextlib.suppress(ModuleError, OSError):
                self.settings.restore()
            if self.release and self.venv_before:
                link_venv(self.layout, self.release, self.venv_before)
            raise
        finally:
            self.remove_candidate()
            self.settings.discard()

    def _replace_live(self) -> None:
        """Make the release live while the candidate serves, and check it over the socket and through Nginx."""
        self.collect_static(self.directory, replace=True)
        self.settings.install(lambda: self.swap(self.after))
        self._read_new_limits()
        self.restart(self.directory)
        if self.has_candidate:
            # The candidate may have answered the first check.
            self.stop_candidate()
            self.check_release()
        # Only the new release answers from now on.
        self.settings.reload_nginx()
        self.check_site()

    def run_site(self) -> None:
        """Activate a new site for the live release. Its process is kept."""
        try:
            self.settings.prepare_site()
            self.settings.install_site()
            self.settings.reload_nginx()
            self.check_site()
            self.settings.accept()
        except (ModuleError, OSError):
            with contextlib.suppress(ModuleError, OSError):
                self.settings.restore()
            raise
        finally:
            self.settings.discard()

    def _read_new_limits(self) -> None:
        """Read the timeouts of the units again if the settings change them."""
        if self.settings.is_wanted:
            self.jobs.read_new_limits()

    # Steps

    def restore_socket(self) -> None:
        """Restart the socket, and with it the service, if its path is missing or another process listens on it."""
        socket_unit = f"{self.name}.socket"
        problem = self._find_socket_problem()
        if problem is None or read_unit_properties(socket_unit, "LoadState")["LoadState"] != "loaded":
            return
        code, output = self.jobs.run("restart", socket_unit)
        remaining = output if code else self._find_socket_problem()
        if remaining:
            text = f"{problem}, and a restart of {socket_unit} did not help: {remaining}"
            raise ActivationError("socket", text, socket_unit, self.since)

    def _find_socket_problem(self) -> str | None:
        return find_socket_failure(self.layout) or find_foreign_listener(self.layout, self.name)

    def start_candidate(self) -> None:
        """Start the candidate, which runs the health check itself."""
        since = time.time()
        swap_link(self.layout.next, os.path.relpath(self.directory, self.layout.root))
        health = json.dumps(self.health and {key: self.health[key] for key in ("path", "host", "status", "headers")})
        with open(self.candidate_env, "w", encoding="ascii") as file:
            file.write('RELEASE_HEALTH="{}"\n'.format(re.sub(r'(["\\$`])', r"\\\1", health)))
        # If a candidate of a killed activation still runs, a start would do nothing.
        code, output = self.jobs.run("restart", self.candidate)
        if code:
            raise self._build_start_error("candidate", self.candidate, since, code, output)
        unit = read_unit_properties(self.candidate)
        # With the handover "restart", the candidate has only imported the application, and has ended.
        if unit["Type"] != "oneshot" and read_working_directory(unit["MainPID"]) != os.path.realpath(self.directory):
            raise self._build_start_error("candidate", self.candidate, since, 0, "it ended right after its start")

    def _build_start_error(self, phase: str, unit: str, since: float, code: int, output: str) -> ActivationError:
        return build_start_error(self.layout, phase, unit, since, code, output, self.jobs.read_limits(unit)[0])

    def stop_candidate(self) -> None:
        self.jobs.run("stop", self.candidate)
        run_systemctl("reset-failed", self.candidate)

    def remove_candidate(self) -> None:
        """Stop the candidate and remove its files, if it was started."""
        if not os.path.lexists(self.layout.next):
            return
        self.stop_candidate()
        for path in (self.candidate_env, self.layout.next):
            if os.path.lexists(path):
                os.unlink(path)

    def swap(self, target: str | None) -> None:
        """Point the link app at a release, and the link venv at the virtual environment of app."""
        if target is None:
            return
        if read_link(self.layout.app) != target:
            swap_link(self.layout.app, target)
        venv = os.path.join("app", ".venv")
        if os.path.lexists(os.path.join(self.layout.app, ".venv")) and read_link(self.layout.venv) != venv:
            swap_link(self.layout.venv, venv)

    def restart(self, directory: str, is_return: bool = False) -> None:
        """Restart the service, and check that it runs the release in a directory and is healthy."""
        since = time.time()
        # Files that change during the restart may not have been read, so the digests are computed before.
        digests = compute_file_digests(read_unit_properties(self.unit), list_settings_files(self.layout))
        code, output = self.jobs.run("restart", self.unit)
        if code:
            raise self._build_start_error("service", self.unit, since, code, output)
        unit = read_unit_properties(self.unit)
        record_process(self.layout, unit.get("InvocationID", ""), digests)
        running = read_working_directory(unit["MainPID"])
        if running != os.path.realpath(directory):
            raise self._build_start_error("service", self.unit, since, 0, f"{self.unit} runs {running}")
        if is_return:
            # The rejected release must not answer the health check.
            self.stop_candidate()
        self.check_release()

    def check_release(self) -> None:
        """Run the health check over the socket. Raises ActivationError if it fails."""
        since = time.time()
        deadline = self.jobs.deadline
        if deadline.has_passed():
            raise ActivationError("health", f"the deadline of {deadline.seconds:.0f} s has passed", self.unit, since)
        result = check_health(self.layout, self.health, self.name)
        if result.failure:
            cause = find_cause(read_journal(self.unit, since, self.layout.list_env_files()))
            kind = ActivationError if result.by_host or cause.by_host else RejectedError
            reason = f" ({cause.error})" if cause.error else ""
            raise kind("health", result.failure + reason, self.unit, since, cause)

    def check_site(self) -> None:
        """Run the health check through Nginx, if this host has the site. Raises ActivationError if it fails."""
        since = time.time()
        if self.health is None or not self.site:
            return
        result = check_site(self.layout, self.name, self.health, self.site)
        if result.by_release:
            raise RejectedError(SITE, str(result.failure), self.unit, since)
        if result.failure:
            raise ActivationError(SITE, result.failure, NGINX_UNIT, since)

    def return_to_previous(self, error: Exception) -> None:
        """Make the previous release live again. Without a previous release, stop the service."""
        if self.after is None:
            return
        self.jobs.repeat_deadline()
        if self.before is None:
            self.jobs.run("stop", self.unit)
            run_systemctl("reset-failed", self.unit)
            if os.path.islink(self.layout.app):
                os.unlink(self.layout.app)
            return
        directory = os.path.realpath(os.path.join(self.layout.root, self.before))
        try:
            if self.release and self.venv_before:
                link_venv(self.layout, self.release, self.venv_before)
            self.settings.restore(lambda: self.swap(self.before))
            self._read_new_limits()
            self.restart(directory, is_return=True)
            self.collect_static(directory, replace=True)
        except (ModuleError, OSError) as second:
            # The previous release fails in the same way, so the release is not rejected.
            raise ActivationError(
                getattr(error, "phase", "swap"),
                f"{error}; {os.path.basename(directory)}, which was live before, fails too: {second}",
                self.unit,
                self.since,
                getattr(error, "cause", None),
            ) from second

    def collect_static(self, directory: str, replace: bool) -> None:
        """Copy the static files of a release into shared/static. Files of other releases are kept."""
        record = self.store.read_record(os.path.basename(directory))
        collect_static_files(self.layout, directory, dict(record or {}), replace)


def _read_link_text(path: str) -> str | None:
    return os.readlink(path) if os.path.islink(path) else None


def check_complete(store: ReleaseStore, release: str | None) -> None:
    """Raise ReleaseError for a release that is not complete on this host."""
    if release is None:
        return
    releases, layout = store.read_releases(), store.layout
    if release not in releases:
        complete = ", ".join(sorted(releases)) or "none"
        raise ReleaseError(f"The release {release} is not on this host; complete there: {complete}.")
    record = releases[release]
    if record.get("build") and not record.get("built"):
        raise ReleaseError(f"The release {release} was never built (release_build_command): deploy it again.")
    venv = store.find_venv(release)
    missing = venv and find_missing_interpreter(os.path.join(layout.venvs, venv))
    if missing:
        raise ReleaseError(f"The release {release} cannot be started: {missing} Deploy it again, which builds it anew.")
    if venv is None or not os.path.isdir(os.path.join(layout.venvs, venv)):
        raise ReleaseError(f"The release {release} has no virtual environment: stage it again.")
