# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The message of a failed activation: cause, live release, and next command."""

from __future__ import annotations

import os

from ansible_collections.flaskops.production.plugins.module_utils._app.health import add_script_name, check_health
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ModuleError
from ansible_collections.flaskops.production.plugins.module_utils._releases.activation import SITE
from ansible_collections.flaskops.production.plugins.module_utils._releases.failure import (
    ActivationError,
    RejectedError,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.options import ActivateOptions
from ansible_collections.flaskops.production.plugins.module_utils._releases.settings import is_activation_unfinished


def describe_live_release(layout: Layout, name: str, health: dict | None) -> str:
    """Return a sentence about the live release and its response to the health check."""
    live = layout.find_live()
    if not live:
        return "Nothing is live on this host."
    if health is None:
        return f"{live} is live."
    try:
        failure = check_health(layout, health, name, attempts=1).failure
    except (ModuleError, OSError) as error:
        failure = str(error)
    if failure:
        return f"{live} is live, but does not serve: {failure}."
    return f"{live} is live and answers GET {add_script_name(health['path'], layout.env_file)}."


def format_failure(error: ActivationError, layout: Layout, options: ActivateOptions, settings: list[str]) -> str:
    """Return the message of a failed activation. settings are the paths of the staged settings."""
    is_rejected = isinstance(error, RejectedError)
    # A new site that does not lead to the release is at fault itself. The option may name the link to it.
    site = os.path.basename(options.site)
    is_at_fault = is_rejected or (error.phase == SITE and site in map(os.path.basename, settings))
    is_same_release = options.release == layout.find_live()
    subject = _format_subject(options.release, settings, is_same_release)
    verdict = "was rejected" if is_at_fault else "was not activated"
    first, *rest = f"{subject} {verdict} ({error.phase}): {error.problem}".rstrip(".").split("\n")
    lines = [f"{first}.", *rest]
    if error.cause.text():
        lines.append(error.cause.text())
    if settings and is_activation_unfinished(layout):
        lines.append("Not all earlier settings could be restored: the next run restores them.")
    elif settings:
        lines.append("The settings are as they were before.")
    if not is_at_fault:
        lines.append("The release is not marked as rejected: the host is at fault, or the live release fails as well.")
    elif not is_rejected and not is_same_release:
        lines.append("The release is not marked as rejected: Gunicorn answered as it should.")
    lines.append(describe_live_release(layout, options.name, options.health))
    advice = (
        _format_advice(settings, is_same_release) if is_at_fault else "Fix the host (playbook doctor) and run again"
    )
    # Rounded down, because the unit may log its first lines within the same second.
    lines.append(f"{advice}. The whole log: journalctl --unit={error.unit} --since=@{int(error.since)}")
    return "\n".join(lines)


def _format_subject(release: str | None, settings: list[str], is_same_release: bool) -> str:
    changed = ", ".join(settings)
    if settings and is_same_release:
        return f"The change of {changed}"
    subject = release or "The new process"
    return f"{subject} with new settings ({changed})" if settings else subject


def _format_advice(settings: list[str], is_same_release: bool) -> str:
    if not settings:
        return "Fix the release and deploy again"
    return "Fix the settings and run again" if is_same_release else "Fix the release or the settings, and run again"
