# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Activate a release on one host, and roll back if it fails."""

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
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout, link_environment
from ansible_collections.flaskops.production.plugins.module_utils._app.live_process import (
    compute_file_digests,
    find_missing_interpreter,
    list_settings_files,
    record_process,
)
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._files.links import (
    SymlinkError,
    read_link,
    swap_link,
    sync_filesystem,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.cause import Cause, find_cause
from ansible_collections.flaskops.production.plugins.module_utils._releases.settings import SettingsChange, reload_units
from ansible_collections.flaskops.production.plugins.module_utils._releases.site_check import check_site
from ansible_collections.flaskops.production.plugins.module_utils._releases.static_files import collect_static_files
from ansible_collections.flaskops.production.plugins.module_utils._systemd.journal import read_journal
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import (
    TIMED_OUT,
    parse_time_span,
    read_unit_properties,
    run_systemctl,
)
from ansible_collections.flaskops.production.plugins.module_utils._systemd.process import read_working_directory

# What tells why a unit did not start.
_STATE = "LoadState,ActiveState,Result"

# Results of a unit that the program itself has brought about; every other one is the host's.
OWN_RESULTS = ("exit-code", "signal", "core-dump", "timeout", "watchdog", "protocol")
# The phase that asks through Nginx, and whose log tells more when that is not answered.
SITE, NGINX_UNIT = "site", "nginx.service"
# Seconds that a job of systemd may take beyond what its unit's own timeouts allow, and until a killed unit has ended.
MARGIN = 10
# The longest wait for a unit that sets no timeout of its own, such as TimeoutStartSec=infinity.
ENDLESS = 600


class ActivationError(Exception):
    """An activation that failed: in which phase, what was seen and why. The release may have nothing to do with it."""

    def __init__(self, phase: str, seen: str, unit: str, since: float, cause: Cause | None = None) -> None:
        super().__init__(seen)
        self.phase, self.seen, self.unit, self.since, self.cause = phase, seen, unit, since, cause or Cause("")


class Rejected(ActivationError):
    """A release that did not come up, by its own fault."""


class Deadline:
    """When an activation is given up. Every step of it waits no longer."""

    def __init__(self, seconds_left: float) -> None:
        self.given, self.end = seconds_left, time.monotonic() + seconds_left

    def within(self, limit: float) -> float:
        """As long as the limit says, and no longer than until the deadline; a moment in any case."""
        return max(1.0, min(limit, self.end - time.monotonic()))

    def passed(self) -> bool:
        return time.monotonic() >= self.end


class Activation:
    """One switch on one host. While it is under way, the link next exists; a later run that finds it completes it."""

    def __init__(
        self, layout: Layout, name: str, release: str | None, health: dict | None, timeout: float = 0, site: str = ""
    ) -> None:
        self.layout, self.name, self.release, self.health, self.timeout = layout, name, release, health, timeout
        # The file of Nginx's site, where the activation ends with a request through Nginx.
        self.site = site
        self.unit, self.candidate = f"{name}.service", f"{name}-next.service"
        self.candidate_env = f"/run/{name}-next.env"
        self.after = os.path.join("releases", release) if release else None
        before = layout.recorded() or layout.live()
        # A link that some other tool has put there is what to return to, too.
        self.before = os.path.join("releases", before) if before else _link_text(layout.app)
        self.directory = layout.release(release) if release else os.path.realpath(layout.app)
        # A release that is live already may be on its way to another set of dependencies.
        self.environment_before = layout.proven_environment(release) if release and release == before else None
        self.since = time.time()
        # Without the release role there is no environment for a candidate, and the service is just restarted.
        self.gated = bool(release) or os.path.lexists(os.path.join(self.directory, ".venv"))
        self.settings = SettingsChange(layout, name, release)
        self.limits: dict[str, tuple[float, float]] = {}
        self.deadline = Deadline(ENDLESS)

    def run(self, record: Callable[[], None]) -> None:
        """Switch, and record it. When that fails, what served before serves again, and the error is raised."""
        reload_units()
        self.deadline = Deadline(self.timeout or self.longest())
        sync_filesystem(self.layout.root)
        try:
            self.restore_socket()
            if self.release:
                link_environment(self.layout, self.release, self.layout.environment(self.release))
            if self.gated:
                # Pages of the release may ask for new files as soon as the candidate serves; files that the live
                # release has too are replaced only when the candidate has proved itself.
                self.collect_static(self.directory, replace=False)
                self.settings.begin(self.before, self.after)
                self.read_limits()
                self.start_candidate()
            try:
                self.collect_static(self.directory, replace=True)
                self.settings.put(lambda: self.switch(self.after))
                self.read_limits()
                self.restart(self.directory)
                if self.gated:
                    # So far the candidate may have answered.
                    self.stop_candidate()
                    self.verify()
                # From here on, nothing but the release answers.
                self.settings.lead_visitors()
                self.verify_site()
            except (ActivationError, ReleaseError, SymlinkError, OSError) as error:
                self.switch_back(error)
                raise
            self.settings.accept()
            record()
        except (ActivationError, ReleaseError, SymlinkError, OSError):
            with contextlib.suppress(ReleaseError, OSError):
                self.settings.undo()
            if self.environment_before:
                link_environment(self.layout, self.release, self.environment_before)
            raise
        finally:
            self.end()
            self.settings.end()

    def run_site(self) -> None:
        """Lead visitors to the live release by a new site. Its process stays."""
        try:
            self.settings.begin_site()
            self.settings.put_site()
            self.settings.lead_visitors()
            self.verify_site()
            self.settings.accept()
        except (ActivationError, ReleaseError, OSError):
            with contextlib.suppress(ReleaseError, OSError):
                self.settings.undo()
            raise
        finally:
            self.settings.end()

    # How long it may take

    def limits_of(self, unit: str) -> tuple[float, float]:
        """How long a unit may take to start and to stop, as it says itself."""
        if unit not in self.limits:
            found = read_unit_properties(unit, "TimeoutStartUSec,TimeoutStopUSec")
            start, stop = (parse_time_span(found.get(name, "")) for name in ("TimeoutStartUSec", "TimeoutStopUSec"))
            self.limits[unit] = (min(start or ENDLESS, ENDLESS), min(stop or ENDLESS, ENDLESS))
        return self.limits[unit]

    def read_limits(self) -> None:
        """Allow what the units allow after a change of settings."""
        if not self.settings.wanted:
            return
        self.limits.clear()
        if not self.timeout:
            self.deadline = Deadline(self.longest())

    def longest(self) -> float:
        """As long as all steps may take that end in time: the candidate, the restart, the health checks."""
        asking = self.health["attempts"] * (self.health["interval"] + self.health["timeout"]) if self.health else 0
        units = [self.unit, self.candidate] if self.gated else [self.unit]
        checks = 3 if self.site else 2
        return sum(sum(self.limits_of(unit)) + MARGIN for unit in units) + checks * asking + MARGIN

    def job(self, verb: str, unit: str) -> tuple[int, str]:
        """Have systemd start, stop or restart a unit. A process that does not end in time is killed."""
        start, stop = self.limits_of(unit)
        limit = MARGIN + (start if verb != "stop" else 0) + (stop if verb != "start" else 0)
        code, said = run_systemctl(verb, unit, timeout=self.deadline.within(limit))
        if code != TIMED_OUT:
            return code, said
        stopping = read_unit_properties(unit)["ActiveState"] == "deactivating"
        run_systemctl("kill", "--signal=SIGKILL", unit)
        if stopping and not (verb == "restart" and self.deadline.passed()):
            # The old process is gone; what was asked for goes on.
            return run_systemctl(verb, unit, timeout=limit)
        if verb != "stop":
            run_systemctl("stop", unit, timeout=MARGIN)
        return code, said

    # Steps

    def restore_socket(self) -> None:
        """Let systemd listen again where the socket's path is gone or leads to another process.

        The service is restarted with its socket.
        """
        socket_unit = f"{self.name}.socket"
        lost = find_socket_failure(self.layout) or find_foreign_listener(self.layout, self.name)
        if lost is None or read_unit_properties(socket_unit, "LoadState")["LoadState"] != "loaded":
            return
        code, said = self.job("restart", socket_unit)
        still = said if code else find_socket_failure(self.layout) or find_foreign_listener(self.layout, self.name)
        if still:
            seen = f"{lost}, and a restart of {socket_unit} did not help: {still}"
            raise ActivationError("socket", seen, socket_unit, self.since)

    def start_candidate(self) -> None:
        since = time.time()
        swap_link(self.layout.next, os.path.relpath(self.directory, self.layout.root))
        health = json.dumps(self.health and {key: self.health[key] for key in ("path", "host", "status", "headers")})
        with open(self.candidate_env, "w", encoding="ascii") as file:
            file.write('RELEASE_HEALTH="{}"\n'.format(re.sub(r'(["\\$`])', r"\\\1", health)))
        # A candidate left over from a killed activation would make a start do nothing.
        code, said = self.job("restart", self.candidate)
        if code:
            raise self.not_started("candidate", self.candidate, since, code, said)
        unit = read_unit_properties(self.candidate)
        # Where a host has no room for two copies, the candidate is only imported and gone by now.
        if unit["Type"] != "oneshot" and read_working_directory(unit["MainPID"]) != os.path.realpath(self.directory):
            raise self.not_started("candidate", self.candidate, since, 0, "it ended right after its start")

    def not_started(self, phase: str, unit: str, since: float, code: int, said: str) -> ActivationError:
        """The error that says why a unit did not start, and by whose fault."""
        state = read_unit_properties(unit, _STATE)
        cause = find_cause(read_journal(unit, since, self.layout.list_env_files()))
        # systemd may have begun to start the service again, and has no result then.
        ended = state.get("Result") in OWN_RESULTS or bool(cause.error)
        own = state.get("LoadState") == "loaded" and ended and not cause.by_host
        kind = Rejected if own and code != TIMED_OUT else ActivationError
        return kind(phase, self.what_was_seen(unit, code, said, state, cause, own), unit, since, cause)

    def what_was_seen(self, unit: str, code: int, said: str, state: dict[str, str], cause: Cause, own: bool) -> str:
        """Why a unit did not start, in a few words."""
        if code == TIMED_OUT:
            return f"it did not start in time and was killed: {said}"
        if state.get("LoadState") != "loaded":
            return f"{unit} is {state.get('LoadState')}"
        if cause.error:
            return f"it did not start: {cause.error}"
        if state.get("Result") == "timeout":
            return f"it did not start within {self.limits_of(unit)[0]:.0f} s (gunicorn_systemd_start_timeout)"
        if not code:
            return said
        return "it did not start" if own else f"it did not start, result {state.get('Result')}: {said}"

    def stop_candidate(self) -> None:
        self.job("stop", self.candidate)
        run_systemctl("reset-failed", self.candidate)

    def end(self) -> None:
        if not os.path.lexists(self.layout.next):
            return
        self.stop_candidate()
        for path in (self.candidate_env, self.layout.next):
            if os.path.lexists(path):
                os.unlink(path)

    def switch(self, target: str | None) -> None:
        """Point app at a release, and venv at the environment of whatever app is."""
        if target is None:
            return
        if read_link(self.layout.app) != target:
            swap_link(self.layout.app, target)
        fixed = os.path.join("app", ".venv")
        if os.path.lexists(os.path.join(self.layout.app, ".venv")) and read_link(self.layout.venv) != fixed:
            swap_link(self.layout.venv, fixed)

    def restart(self, directory: str, back: bool = False) -> None:
        """Restart the service, and prove that it is the release and that it answers."""
        since = time.time()
        # Before the restart: what changes meanwhile may not have been read.
        files = compute_file_digests(read_unit_properties(self.unit), list_settings_files(self.layout))
        code, said = self.job("restart", self.unit)
        if code:
            raise self.not_started("service", self.unit, since, code, said)
        unit = read_unit_properties(self.unit)
        record_process(self.layout, unit.get("InvocationID", ""), files)
        runs = read_working_directory(unit["MainPID"])
        if runs != os.path.realpath(directory):
            raise self.not_started("service", self.unit, since, 0, f"{self.unit} runs {runs}")
        if back:
            # What was rejected must not answer in place of what serves again.
            self.stop_candidate()
        self.verify()

    def verify(self) -> None:
        """Ask over the socket."""
        since = time.time()
        if self.deadline.passed():
            raise ActivationError("health", f"the deadline of {self.deadline.given:.0f} s has passed", self.unit, since)
        found = check_health(self.layout, self.health, self.name)
        if found.failure:
            cause = find_cause(read_journal(self.unit, since, self.layout.list_env_files()))
            kind = ActivationError if found.by_host or cause.by_host else Rejected
            said = f" ({cause.error})" if cause.error else ""
            raise kind("health", found.failure + said, self.unit, since, cause)

    def verify_site(self) -> None:
        """Ask through Nginx, as a visitor does, where this host has the site."""
        since = time.time()
        if self.health is None or not self.site:
            return
        found = check_site(self.layout, self.name, self.health, self.site)
        if found.by_release:
            raise Rejected(SITE, found.failure, self.unit, since)
        if found.failure:
            raise ActivationError(SITE, found.failure, NGINX_UNIT, since)

    def switch_back(self, seen: Exception) -> None:
        """Serve again what served before; without anything before, stop."""
        if self.after is None:
            return
        # Whatever the time was spent on, the way back has as much again.
        self.deadline = Deadline(self.deadline.given)
        if self.before is None:
            self.job("stop", self.unit)
            run_systemctl("reset-failed", self.unit)
            if os.path.islink(self.layout.app):
                os.unlink(self.layout.app)
            return
        directory = os.path.realpath(os.path.join(self.layout.root, self.before))
        try:
            if self.environment_before:
                link_environment(self.layout, self.release, self.environment_before)
            self.settings.undo(lambda: self.switch(self.before))
            self.read_limits()
            self.restart(directory, back=True)
            self.collect_static(directory, replace=True)
        except (ActivationError, ReleaseError, SymlinkError, OSError) as error:
            # What served before fails in the same way, so that nothing of it tells about the release.
            raise ActivationError(
                getattr(seen, "phase", "switch"),
                f"{seen}; {os.path.basename(directory)}, which served before, fails too: {error}",
                self.unit,
                self.since,
                getattr(seen, "cause", None),
            ) from error

    def collect_static(self, directory: str, replace: bool) -> None:
        """Copy the release's static files into shared/static; files of other releases stay."""
        collect_static_files(
            self.layout, directory, dict(self.layout.record(os.path.basename(directory)) or {}), replace
        )


def _link_text(path: str) -> str | None:
    return os.readlink(path) if os.path.islink(path) else None


def check(layout: Layout, release: str | None) -> None:
    """Refuse a release that is not complete on this host."""
    if release is None:
        return
    if release not in layout.known():
        there = ", ".join(sorted(layout.known())) or "none"
        raise ReleaseError(f"The release {release} is not on this host; complete there: {there}.")
    record = layout.record(release) or {}
    if record.get("build") and not record.get("built"):
        raise ReleaseError(f"The release {release} was never built (release_build_command): deploy it again.")
    environment = layout.environment(release)
    lost = environment and find_missing_interpreter(os.path.join(layout.venvs, environment))
    if lost:
        raise ReleaseError(f"The release {release} cannot be started: {lost} Deploy it again, which builds it anew.")
    if environment is None or not os.path.isdir(os.path.join(layout.venvs, environment)):
        raise ReleaseError(f"The release {release} has no set of dependencies: stage it again.")
