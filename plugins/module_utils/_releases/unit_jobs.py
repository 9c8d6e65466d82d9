# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start and stop the units of an activation within its deadline."""

from __future__ import annotations

import time
from typing import Any, Mapping

from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import (
    TIMED_OUT,
    parse_time_span,
    read_unit_properties,
    run_systemctl,
)

# The number of seconds that a job may take beyond the timeouts of its unit, and until a killed unit has ended.
MARGIN = 10
# The limit in seconds for a unit without a timeout, such as TimeoutStartSec=infinity.
ENDLESS = 600


class Deadline:
    """The end of an activation. seconds is its whole duration."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.end = seconds, time.monotonic() + seconds

    def limit(self, seconds: float) -> float:
        """Return a number of seconds, or fewer if the deadline is earlier; at least one."""
        return max(1.0, min(seconds, self.end - time.monotonic()))

    def has_passed(self) -> bool:
        return time.monotonic() >= self.end


class UnitJobs:
    """The jobs of systemd during an activation.

    timeout is the duration of the activation in seconds. If it is 0, the units and the health check determine the
    duration: each unit starts and stops once, and the health check is run check_count times.
    """

    def __init__(self, units: list[str], health: Mapping[str, Any] | None, check_count: int, timeout: float) -> None:
        self.units, self.health, self.check_count, self.timeout = units, health, check_count, timeout
        self.limits: dict[str, tuple[float, float]] = {}
        self.deadline = Deadline(ENDLESS)

    def start_deadline(self) -> None:
        """Start the deadline of the activation."""
        self.deadline = Deadline(self.timeout or self._compute_duration())

    def repeat_deadline(self) -> None:
        """Start a deadline of the same duration, for the return to the previous release."""
        self.deadline = Deadline(self.deadline.seconds)

    def read_new_limits(self) -> None:
        """Read the timeouts of the units again after they were changed."""
        self.limits.clear()
        if not self.timeout:
            self.start_deadline()

    def read_limits(self, unit: str) -> tuple[float, float]:
        """Return how many seconds a unit may take to start and to stop."""
        if unit not in self.limits:
            found = read_unit_properties(unit, "TimeoutStartUSec,TimeoutStopUSec")
            start, stop = (parse_time_span(found.get(name, "")) for name in ("TimeoutStartUSec", "TimeoutStopUSec"))
            self.limits[unit] = (min(start or ENDLESS, ENDLESS), min(stop or ENDLESS, ENDLESS))
        return self.limits[unit]

    def _compute_duration(self) -> float:
        health = self.health
        checks = health["attempts"] * (health["interval"] + health["timeout"]) if health else 0
        return sum(sum(self.read_limits(unit)) + MARGIN for unit in self.units) + self.check_count * checks + MARGIN

    def run(self, verb: str, unit: str) -> tuple[int, str]:
        """Start, stop or restart a unit. A process that exceeds its timeout is killed.

        Returns the exit status and the output of systemctl.
        """
        start, stop = self.read_limits(unit)
        limit = MARGIN + (start if verb != "stop" else 0) + (stop if verb != "start" else 0)
        code, output = run_systemctl(verb, unit, timeout=self.deadline.limit(limit))
        if code != TIMED_OUT:
            return code, output
        is_stopping = read_unit_properties(unit)["ActiveState"] == "deactivating"
        run_systemctl("kill", "--signal=SIGKILL", unit)
        if is_stopping and not (verb == "restart" and self.deadline.has_passed()):
            # The old process is killed, so the job can be repeated.
            return run_systemctl(verb, unit, timeout=limit)
        if verb != "stop":
            run_systemctl("stop", unit, timeout=MARGIN)
        return code, output
