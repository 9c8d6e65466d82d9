# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors of an activation, and the reason why a unit did not start."""

from __future__ import annotations

from typing import Mapping

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ModuleError
from ansible_collections.flaskops.production.plugins.module_utils._releases.cause import Cause, find_cause
from ansible_collections.flaskops.production.plugins.module_utils._systemd.journal import read_journal
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import (
    TIMED_OUT,
    read_unit_properties,
)

# The properties of a unit that did not start.
_PROPERTIES = "LoadState,ActiveState,Result"
# Results of a unit that its program causes. The host causes all others.
_PROGRAM_RESULTS = ("exit-code", "signal", "core-dump", "timeout", "watchdog", "protocol")


class ActivationError(ModuleError):
    """A failed activation: its phase, the problem and the cause. The release is not rejected.

    unit is the unit whose journal since a time has the details.
    """

    def __init__(self, phase: str, problem: str, unit: str, since: float, cause: Cause | None = None) -> None:
        super().__init__(problem)
        self.phase, self.problem, self.unit, self.since = phase, problem, unit, since
        self.cause = cause or Cause("")


class RejectedError(ActivationError):
    """A failed activation whose cause is the release itself."""


def build_start_error(
    layout: Layout, phase: str, unit: str, since: float, code: int, output: str, start_timeout: float
) -> ActivationError:
    """Return the error for a unit that did not start. It rejects the release if its program failed.

    code and output are those of systemctl. start_timeout is that of the unit, in seconds.
    """
    properties = read_unit_properties(unit, _PROPERTIES)
    cause = find_cause(read_journal(unit, since, layout.list_env_files()))
    # systemd may be starting the service again, and has no result in that case.
    has_ended = properties.get("Result") in _PROGRAM_RESULTS or bool(cause.error)
    by_release = properties.get("LoadState") == "loaded" and has_ended and not cause.by_host
    if code == TIMED_OUT:
        return ActivationError(phase, f"it did not start in time and was killed: {output}", unit, since, cause)
    problem = _format_problem(unit, code, output, properties, cause, by_release, start_timeout)
    return (RejectedError if by_release else ActivationError)(phase, problem, unit, since, cause)


def _format_problem(
    unit: str,
    code: int,
    output: str,
    properties: Mapping[str, str],
    cause: Cause,
    by_release: bool,
    start_timeout: float,
) -> str:
    if properties.get("LoadState") != "loaded":
        return f"{unit} is {properties.get('LoadState')}"
    if cause.error:
        return f"it did not start: {cause.error}"
    if properties.get("Result") == "timeout":
        return f"it did not start within {start_timeout:.0f} s (gunicorn_systemd_start_timeout)"
    if not code:
        return output
    return "it did not start" if by_release else f"it did not start, result {properties.get('Result')}: {output}"
