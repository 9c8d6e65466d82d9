# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the packages of a virtual environment."""

from __future__ import annotations

import glob
import os

from ansible_collections.flaskops.production.plugins.module_utils._python.requirements import normalize_name


def list_packages(environment: str) -> list[str]:
    """Return the packages of a virtual environment with their versions, except pip, setuptools and wheel."""
    found = set()
    for path in glob.glob(os.path.join(environment, "lib", "python3*", "site-packages", "*.dist-info")):
        name, _separator, version = os.path.basename(path)[: -len(".dist-info")].partition("-")
        if normalize_name(name) not in ("pip", "setuptools", "wheel"):
            found.add(f"{normalize_name(name)} {version}")
    return sorted(found)


def list_requested_packages(environment: str) -> list[str]:
    """Return the names of the packages that pip or uv installed by request, not as a dependency."""
    markers = glob.glob(os.path.join(environment, "lib", "python3*", "site-packages", "*.dist-info", "REQUESTED"))
    return sorted({normalize_name(os.path.basename(os.path.dirname(path)).partition("-")[0]) for path in markers})
