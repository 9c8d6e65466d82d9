# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings that a release was live with, as digests."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.live_process import list_settings_files
from ansible_collections.flaskops.production.plugins.module_utils._files import foreign
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import replace_file

_ASSIGNMENT = re.compile(r"(?m)^([A-Za-z_]\w*)[ \t]*=(?!=)(.*)$")
_DIRECTIVE = re.compile(r"(?m)^[ \t]*([a-z_]\w*)[ \t]+([^#;{}\n]*)[;{]")


def record_settings(layout: Layout, name: str, release: str) -> None:
    """Record the settings of a live release. Only root can read them, because weak secrets can be guessed."""
    os.makedirs(layout.settings, 0o755, exist_ok=True)
    text = json.dumps(_compute_digests(layout, name), indent=2, sort_keys=True) + "\n"
    replace_file(os.path.join(layout.settings, f"{release}.json"), text.encode(), 0o600)


def list_changed_settings(layout: Layout, name: str, release: str) -> list[str]:
    """Return the names of settings that have changed since a release was live last. No value is returned."""
    try:
        with open(os.path.join(layout.settings, f"{release}.json"), encoding="utf-8") as file:
            recorded = json.load(file)
    except (OSError, ValueError):
        return []
    found, current = [], _compute_digests(layout, name)
    for path, before in sorted(recorded.items()):
        after = current.get(path, {})
        names = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
        found += [f"{key} in {path}" for key in names]
    return found


def _compute_digests(layout: Layout, name: str) -> dict[str, dict[str, str]]:
    """Return the digests of all assigned values, by path and name."""
    found: dict[str, dict[str, str]] = {}
    unit = os.path.join(foreign.UNITS, f"{name}.service")
    patterns = dict.fromkeys([*list_settings_files(layout), unit], _ASSIGNMENT)
    site = os.path.join(foreign.SITES, f"{name}.conf")
    if foreign.read_application(site) == name:
        patterns[site] = _DIRECTIVE
    for path, pattern in patterns.items():
        values: dict[str, list[str]] = {}
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="surrogateescape") as file:
            for key, value in pattern.findall(file.read()):
                values.setdefault(key, []).append(value.strip())
        found[path] = {
            key: hashlib.sha256("\0".join(assigned).encode("utf-8", "surrogateescape")).hexdigest()
            for key, assigned in values.items()
        }
    return found
