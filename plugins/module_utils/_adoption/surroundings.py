# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the surroundings of an old deployment: environment, open files, logs, other services, files beside the code."""

from __future__ import annotations

import os
import re

from ansible_collections.flaskops.production.plugins.module_utils._adoption.environment import build_environment
from ansible_collections.flaskops.production.plugins.module_utils._adoption.gunicorn import list_log_files
from ansible_collections.flaskops.production.plugins.module_utils._adoption.places import Surroundings
from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import list_tops
from ansible_collections.flaskops.production.plugins.module_utils._adoption.settings import (
    find_dotenv,
    list_env_files,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.unit import parse_unit
from ansible_collections.flaskops.production.plugins.module_utils._doctor.discovery import names_path
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import Node, scan_tree
from ansible_collections.flaskops.production.plugins.module_utils._doctor.system import (
    HostSystem,
    list_files_open_for_writing,
)
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import read_unit_properties

# The maximum number of files of an old deployment to read, including uploads.
MAX_FILES = 500000


def read_surroundings(
    facts: Facts, name: str, root: str, unit_text: str, leave: tuple[str, ...], system: HostSystem
) -> Surroundings:
    if not facts.unit:
        return Surroundings()
    logs = [os.path.normpath(os.path.join(facts.code, path)) for path in list_log_files(facts.unit)]
    for values in parse_unit(unit_text).values():
        logs += [path for value in values for path in re.findall(r"^(?:append|file|truncate):(/.*)$", value)]
    return Surroundings(
        environment=_read_environment(facts),
        opened=tuple(list_files_open_for_writing(facts.unit)),
        logs=tuple(logs),
        units=tuple(find_other_units(facts, name, system)),
        beside=tuple(scan_beside(facts, root)),
        leave=leave,
    )


def _read_environment(facts: Facts) -> str:
    files = list_env_files(facts)
    dotenv = find_dotenv(facts, files)
    try:
        text = build_environment(facts.unit["Id"], [dotenv] if dotenv else [], files, list_tops(facts))
    except OSError:
        return ""  # the plan reports the file
    return text.decode("utf-8", "surrogateescape")


def scan_beside(facts: Facts, root: str) -> list[Node]:
    """Return everything in the old deployment except the code, hidden names and the new layout."""
    if facts.root == facts.code:
        return []
    own = [os.path.join(root, name) for name in (".deploy", "releases", "venvs", "run")]
    hidden = [
        os.path.join(facts.root, name)
        for name in os.listdir(facts.root)
        if name.startswith(".") or facts.root == root and name == "shared"
    ]
    return scan_tree(facts.root, (facts.code, facts.releases, *own, *hidden), MAX_FILES)[0]


def find_other_units(facts: Facts, name: str, system: HostSystem) -> list[tuple[str, bool]]:
    """Return other services of the same deployment, each with whether it runs or will be started."""
    found = []
    own = (facts.unit["Id"], f"{name}.service", f"{name}-next.service")
    for unit, text in system.read_service_files().items():
        if unit not in own and any(names_path(text, top) for top in [*list_tops(facts), facts.live]):
            state = read_unit_properties(unit, "ActiveState,UnitFileState,TriggeredBy")
            triggers = state["TriggeredBy"].split()
            active = [read_unit_properties(other, "ActiveState")["ActiveState"] for other in triggers]
            runs = state["ActiveState"] not in ("inactive", "failed") or state["UnitFileState"] == "enabled"
            found.append((unit, runs or "active" in active))
    return found
