# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the running process with the files."""

from __future__ import annotations

import os
import time
from typing import Iterator

from ansible_collections.flaskops.production.plugins.module_utils._doctor.discovery import find_working_directory
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts, find_venv
from ansible_collections.flaskops.production.plugins.module_utils._doctor.finding import (
    Finding,
    create_finding,
    format_paths,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.paths import is_within


def examine_process(facts: Facts) -> Iterator[Finding]:
    """Yield findings on differences between the process and the files."""
    name = facts.name
    if not facts.working_directory:
        return
    directory = os.path.realpath(find_working_directory(facts.unit) or "/")
    if facts.are_releases_missing():
        pass  # a restart would end the last process that serves
    elif facts.working_directory != directory:
        yield create_finding(
            "process-stale-release",
            f"it runs in {facts.working_directory}",
            directory,
            facts.working_directory,
            name=name,
        )
    else:
        changed = [item.path for item in facts.tree if item.path.endswith(".py") and item.modified > facts.started + 1]
        if changed and is_within(facts.code, directory):
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(facts.started))
            yield create_finding(
                "process-stale-code",
                f"changed since {since}: {format_paths(changed)}",
                "unchanged code",
                changed[0],
                name=name,
            )
    venv = find_venv(facts)
    if facts.process_venv and os.path.isdir(venv) and facts.process_venv != venv:
        yield create_finding("process-stale-venv", f"it runs with {facts.process_venv}", venv, venv, name=name)
    elif facts.dependencies_changed > facts.started + 1:
        found = f"{venv} changed since the process started"
        yield create_finding("process-stale-dependencies", found, "an unchanged virtual environment", venv, name=name)
    if facts.replaced_files:
        expected = "the files on the disk"
        yield create_finding(
            "process-replaced-files", format_paths(facts.replaced_files), expected, facts.replaced_files[0], name=name
        )
    if facts.changed_settings:
        found = f"{facts.changed_settings} changed since the process started"
        yield create_finding(
            "process-stale-settings", found, "a process started after the change", facts.changed_settings, name=name
        )
    if facts.health_failure:
        yield create_finding("health-failing", facts.health_failure, "a successful health check", name=name)
