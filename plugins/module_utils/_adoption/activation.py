# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Activate an adopted release in place of an old deployment, in one transaction without the controller.

While the old service is replaced, requests wait in the queue of the candidate's socket.
"""

from __future__ import annotations

import os
import time
from typing import Callable, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._adoption.candidate import AdoptionCandidate
from ansible_collections.flaskops.production.plugins.module_utils._adoption.data import (
    DataCopier,
    DataOrigin,
    DataOwner,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.deployment import (
    OldDeployment,
    format_deployment,
    parse_deployment,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.leftovers import find_leftovers
from ansible_collections.flaskops.production.plugins.module_utils._adoption.record import (
    ACTIVATED,
    ACTIVATING,
    COPYING,
    DONE,
    AdoptionRecord,
    KeptFiles,
    write_root_file,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.routing import Routing, SiteFile
from ansible_collections.flaskops.production.plugins.module_utils._adoption.write_check import (
    WriteCheck,
    list_write_paths,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.health import check_health, send_health_request
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._app.venv_links import link_venv
from ansible_collections.flaskops.production.plugins.module_utils._core.clock import format_now
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import (
    ModuleError,
    ReleaseError,
    format_error,
)
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule
from ansible_collections.flaskops.production.plugins.module_utils._files.links import sync_filesystem
from ansible_collections.flaskops.production.plugins.module_utils._nginx.process import NginxProcess, wait_for_exit
from ansible_collections.flaskops.production.plugins.module_utils._nginx.site_state import SiteError
from ansible_collections.flaskops.production.plugins.module_utils._releases.activation import Activation, check_complete
from ansible_collections.flaskops.production.plugins.module_utils._releases.failure import (
    ActivationError,
    RejectedError,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.settings_set import reload_units
from ansible_collections.flaskops.production.plugins.module_utils._systemd.journal import read_journal
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import (
    read_unit_properties,
    run_systemctl,
)

ERRORS = (ModuleError, SiteError, OSError)
# Seconds for the old service to answer again.
RESTART_TIMEOUT = 60
# Seconds for clients to complete the requests that they send to replaced workers of Nginx: while all other requests
# wait, which Nginx gives up after 60 s, and when no request waits.
SENDING_TIMEOUT, SENDING_TIMEOUT_BESIDE = 20, 60


class ActivateOptions(NamedTuple):
    """The options of the module adoption_activate."""

    release: str
    deployment: OldDeployment
    # The texts of the new units and of Gunicorn's configuration by path, and of the candidate's units by name.
    units: dict[str, str]
    candidate_units: dict[str, str]
    site: SiteFile
    run: dict


class AdoptionActivation:
    """The activation of an adopted release. It can be rolled back until the new service has answered."""

    def __init__(
        self,
        module: AnsibleModule,
        layout: Layout,
        name: str,
        health: dict | None,
        deployment: OldDeployment,
        release: str | None = None,
    ) -> None:
        self.layout, self.health, self.deployment = layout, health, deployment
        self.candidate, self.write_check = AdoptionCandidate(layout, name), WriteCheck(name)
        self.steps = Activation(layout, name, release, health)
        self.steps.candidate = self.candidate.service
        self.unit, self.socket_unit = f"{name}.service", f"{name}.socket"
        self.record = AdoptionRecord(layout)
        self.kept = KeptFiles(self.record)
        self.routing = Routing(module, layout, deployment, self.kept)
        # The time when the old service was stopped, in seconds since the epoch.
        self.stopped = 0.0

    def run(self, options: ActivateOptions, copier: DataCopier, record_release: Callable[[], None]) -> float:
        """Activate the release. Return the seconds for which requests waited."""
        sync_filesystem(self.layout.root)
        self.check_candidate(options)
        for path in options.units:
            self.kept.keep(path, "unit")
        self.record.write(
            state=ACTIVATING, site=options.site._asdict(), installed=False, enabled=self.list_enabled_units()
        )
        # From here on, requests wait.
        self.candidate.pause()
        since = time.monotonic()
        replaced = self.routing.route_to_candidate(options.site, self.candidate.socket)
        # Nginx has read the new site. After a reboot, the old deployment serves again.
        self.kept.restore("nginx")
        wait_for_exit(replaced, SENDING_TIMEOUT)
        self.stop_old_service()
        self.stopped = time.time()
        copier.copy(final=True)
        self.install_units(options.units)
        self.steps.collect_static(self.steps.directory, replace=True)
        self.steps.swap(self.steps.after)
        self.steps.restart(self.steps.directory)
        self.check_writes(self.layout.app, options.candidate_units)
        record_release()
        self.enable_units()
        # From here on, the application writes to the new data, and the old deployment is not restored.
        self.record.write(state=ACTIVATED)
        replaced = self.routing.route_to_service(options.site)
        self.candidate.answer_waiting()
        waited = round(time.monotonic() - since, 1)
        self.finish(replaced)
        return waited

    # Before the old deployment is changed

    def check_candidate(self, options: ActivateOptions) -> None:
        """Start the candidate, and check its health and that it can write to all data."""
        self.kept.keep(self.layout.gunicorn_config, "tree")
        write_root_file(self.layout.gunicorn_config, options.units[self.layout.gunicorn_config].encode())
        self.candidate.listen(options.candidate_units)
        link_venv(self.layout, options.release, self.steps.store.find_venv(options.release) or "")
        self.steps.collect_static(self.steps.directory, replace=False)
        self.steps.start_candidate()
        self.check_writes(self.steps.directory, options.candidate_units)
        failure = check_health(self.layout, self.health, socket_path=self.candidate.socket).failure
        if failure:
            raise RejectedError("candidate", failure, self.candidate.service, self.steps.since)

    def check_writes(self, directory: str, candidate_units: dict[str, str]) -> None:
        paths = list_write_paths(self.layout, directory, self.deployment)
        self.write_check.run(paths, candidate_units[self.write_check.unit])

    # While requests wait

    def stop_old_service(self) -> None:
        code, output = run_systemctl("stop", *self.deployment.units)
        if code or read_unit_properties(self.deployment.unit)["ActiveState"] not in ("inactive", "failed"):
            raise ReleaseError(f"{self.deployment.unit} could not be stopped: {output}")

    def install_units(self, units: dict[str, str]) -> None:
        """Write the units and start the socket. Files with the names of the layout are moved to their kept places."""
        layout = self.layout
        self.record.write(installed=True)
        for link in (layout.app, layout.venv):
            if os.path.lexists(link) and not os.path.islink(link):
                self.kept.move(link)
            else:
                # A link that did not exist is removed by a rollback. The next plan would follow it.
                self.kept.keep(link, "tree")
        for path in self.list_blocking_paths():
            self.kept.move(path)
        for path, text in units.items():
            write_root_file(path, text.encode())
        reload_units()
        for unit in (self.socket_unit, self.unit):
            run_systemctl("reset-failed", unit)
        code, output = run_systemctl("start", self.socket_unit)
        if code:
            raise ReleaseError(f"{self.socket_unit} did not start: {output}")

    def list_blocking_paths(self) -> list[str]:
        """Return files of an old deployment in the same directory that would stay in use, or readable by others."""
        root, code, address = self.layout.root, self.deployment.code, self.deployment.address
        found = [path for path in self.deployment.environment if os.path.dirname(path) == root]
        place = os.path.dirname(address) if address.startswith(root + "/") else root
        if place not in (root, os.path.join(root, "run")) and code not in (place, os.path.dirname(place)):
            only_sockets = all(not os.path.isfile(os.path.join(place, name)) for name in os.listdir(place))
            found += [place] if only_sockets and not place.startswith(os.path.join(root, "releases")) else []
        # Drop-ins for a unit with the name of the new one.
        return [path for path in [*found, f"/etc/systemd/system/{self.unit}.d"] if os.path.lexists(path)]

    # Afterwards

    def finish(self, replaced: list[NginxProcess]) -> None:
        """Complete the activation. It can be repeated."""
        self.enable_units()
        wait_for_exit(replaced, SENDING_TIMEOUT_BESIDE)
        self.remove_candidate()
        sync_filesystem(self.layout.shared)
        self.record.write(state=DONE, time=format_now(), variables=self.deployment.variables)

    def complete(self, site: SiteFile) -> None:
        """Complete an interrupted activation whose new service has answered."""
        replaced = self.routing.route_to_service(site)
        self.candidate.answer_waiting()
        self.finish(replaced)

    def enable_units(self) -> None:
        """Enable the new units, and disable the old ones."""
        run_systemctl("enable", self.socket_unit, self.unit)
        for unit in self.deployment.units:
            if unit not in (self.socket_unit, self.unit):
                run_systemctl("disable", unit)

    def list_enabled_units(self) -> list[str]:
        """Return the enabled units of the old deployment."""
        return [
            unit
            for unit in self.deployment.units
            if read_unit_properties(unit, "UnitFileState").get("UnitFileState") == "enabled"
        ]

    def remove_candidate(self) -> None:
        self.steps.stop_candidate()
        self.write_check.remove()
        self.candidate.remove()
        for path in (self.steps.candidate_env, self.layout.next):
            if os.path.lexists(path):
                os.unlink(path)

    def roll_back(self) -> None:
        """Restore the old deployment, wherever the activation was interrupted."""
        content = self.record.read()
        if content.get("installed"):
            run_systemctl("stop", self.socket_unit, self.unit)
            for unit in {self.socket_unit, self.unit}.difference(self.deployment.units):
                run_systemctl("disable", unit)
        for group in ("unit", "tree"):
            self.kept.restore(group)
        reload_units()
        for unit in content.get("enabled", []):
            run_systemctl("enable", unit)
        run_systemctl("start", *self.deployment.units)
        self.wait_for_old_service()
        is_activating = content.get("state") == ACTIVATING
        # If the sites are restored already, Nginx may still have read the new one.
        replaced = self.routing.reload() if self.kept.restore("nginx") or is_activating else []
        if is_activating:
            self.candidate.forward_waiting(self.deployment.address)
            wait_for_exit(replaced, SENDING_TIMEOUT_BESIDE)
        self.remove_candidate()
        self.kept.clear_notes()
        self.record.write(state=COPYING, installed=False)

    def wait_for_old_service(self) -> None:
        deadline = time.monotonic() + RESTART_TIMEOUT
        while time.monotonic() < deadline:
            if isinstance(send_health_request(self.deployment.address, "/", "localhost", 5), int):
                return
            time.sleep(0.2)


def activate(module: AnsibleModule, layout: Layout, name: str, health: dict | None, options: ActivateOptions) -> dict:
    """Activate the release, or restore the old deployment. Return the results of the module."""
    store = ReleaseStore(layout)
    check_complete(store, options.release)
    old, record = options.deployment, AdoptionRecord(layout)
    content = record.write(deployment=format_deployment(old))
    owner, origin = DataOwner(*content["owner"]), DataOrigin(old.tops, old.user)
    copier = DataCopier(layout, old.moves, owner, origin, content.get("known", {}))
    activation = AdoptionActivation(module, layout, name, health, old, options.release)
    try:
        waited = activation.run(
            options, copier, lambda: store.record_activation(options.release, "deploy", options.run)
        )
    except BaseException as error:
        if record.read().get("state") != ACTIVATED:
            logs = (
                read_journal(error.unit, error.since, layout.list_env_files(), lines=60)
                if isinstance(error, ActivationError)
                else ""
            )
            activation.roll_back()
            if isinstance(error, RejectedError):
                store.set_state(options.release, "bad", reason=f"{error.phase}: {error.problem}")
            if isinstance(error, ERRORS):
                raise ReleaseError(format_failure(error, old.unit, logs, layout)) from error
        raise
    leftover, kept = find_leftovers(old, layout, name, options.release, activation.stopped)
    return {"release": options.release, "waited": waited, "leftover": leftover, "kept": kept}


def format_failure(error: Exception, unit: str, logs: str, layout: Layout) -> str:
    phase = f" ({error.phase})" if isinstance(error, ActivationError) else ""
    journal = f" {error.unit} logged last:\n{logs}\n" if isinstance(error, ActivationError) and logs else ""
    return (
        f"The adoption failed{phase}: {format_error(error, layout.root).rstrip('.')}. {unit} serves as before, and its "
        f"code and data are unchanged.{journal}"
    )


def recover(module: AnsibleModule, layout: Layout, name: str, health: dict | None) -> str:
    """Roll back or complete an interrupted activation. Return the outcome, or an empty string if there was none."""
    content = AdoptionRecord(layout).read()
    if content.get("state") not in (ACTIVATING, ACTIVATED):
        return ""
    deployment = parse_deployment(content["deployment"])
    activation = AdoptionActivation(module, layout, name, health, deployment)
    if content["state"] == ACTIVATING:
        activation.roll_back()
        return f"{deployment.unit} serves again"
    activation.complete(SiteFile(**content["site"]))
    return f"{activation.unit} serves"
