# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The candidate of an adoption: the adopted release on a socket of its own, beside the old deployment."""

from __future__ import annotations

import os
import time

from ansible_collections.flaskops.production.plugins.module_utils._adoption.record import write_root_file
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._releases.settings_set import reload_units
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import (
    read_unit_properties,
    run_systemctl,
)
from ansible_collections.flaskops.production.plugins.module_utils._systemd.process import pause_processes

# Units in this directory do not survive a reboot.
RUNTIME_UNITS = "/run/systemd/system"
# Seconds to wait for a process to end.
TIMEOUT = 60
PROXIES = ("/usr/lib/systemd/systemd-socket-proxyd", "/lib/systemd/systemd-socket-proxyd")


class AdoptionCandidate:
    """The units of the candidate. Requests for its socket wait until a process of the service accepts them."""

    def __init__(self, layout: Layout, name: str) -> None:
        self.service, self.socket_unit = f"{name}-adoption.service", f"{name}-adoption.socket"
        self.socket = os.path.join(layout.root, "run", "adoption.sock")

    def listen(self, units: dict[str, str]) -> None:
        """Write the units and start the socket. `units` are texts by unit name."""
        for unit in (self.service, self.socket_unit):
            write_root_file(get_runtime_path(unit), units[unit].encode())
        reload_units()
        code, output = run_systemctl("start", self.socket_unit)
        if code:
            raise ReleaseError(f"{self.socket_unit} did not start: {output}")

    def pause(self) -> None:
        """Stop the processes with SIGSTOP, so that requests wait."""
        pause_processes(self.service)

    def answer_waiting(self) -> None:
        """Answer the waiting requests with a new process, which reads the data as it is now."""
        paused = read_unit_properties(self.service)["MainPID"]
        run_systemctl("kill", "--signal=SIGKILL", self.service)
        deadline = time.monotonic() + TIMEOUT
        while read_unit_properties(self.service)["MainPID"] == paused != "0" and time.monotonic() < deadline:
            time.sleep(0.05)
        # A waiting request may have started it already.
        run_systemctl("start", self.service)

    def forward_waiting(self, address: str) -> None:
        """Forward the waiting requests to another address, such as that of the old service."""
        if not os.path.exists(get_runtime_path(self.socket_unit)):
            return
        # The unit is replaced before the process ends, because a waiting request starts the service again at once.
        write_root_file(get_runtime_path(self.service), format_proxy_unit(self.socket_unit, address).encode())
        reload_units()
        self.answer_waiting()

    def remove(self) -> None:
        """Stop the socket and remove the units. The service must have been stopped."""
        run_systemctl("stop", self.socket_unit)
        for path in (get_runtime_path(self.service), get_runtime_path(self.socket_unit), self.socket):
            if os.path.lexists(path):
                os.unlink(path)
        reload_units()


def get_runtime_path(unit: str) -> str:
    return os.path.join(RUNTIME_UNITS, unit)


def format_proxy_unit(socket_unit: str, address: str) -> str:
    """Return the text of a service that forwards connections of a socket. Each connection takes six files."""
    # Without the program, waiting requests fail. It reports readiness only since systemd 253.
    proxy = next((path for path in PROXIES if os.path.exists(path)), "/bin/false")
    return (
        "[Unit]\n"
        f"Requires={socket_unit}\n"
        "StartLimitIntervalSec=0\n"
        "[Service]\n"
        "Type=simple\n"
        f"ExecStart={proxy} --connections-max=10000 {address}\n"
        "LimitNOFILE=65536\n"
    )
