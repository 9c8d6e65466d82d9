# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One finding of the doctor, with its remedy for the paths and names of the host."""

from __future__ import annotations

from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._core.text import one_line, quote_for_shell
from ansible_collections.flaskops.production.plugins.module_utils._doctor.catalog import KINDS


class Finding(NamedTuple):
    """A fault with its remedy, as text for an operator."""

    id: str
    severity: str
    title: str
    found: str
    expected: str
    reason: str
    remedy: str
    path: str = ""


def create_finding(kind_id: str, found: str, expected: str, path: str = "", **values: object) -> Finding:
    """Return a finding with its remedy completed from the path and the values."""
    kind = KINDS[kind_id]
    # Visitors can choose file names, and operators paste remedies into a root shell.
    quoted = {name: quote_for_shell(str(value)) for name, value in {"path": path, **values}.items()}
    remedy = kind.remedy.format(**quoted)
    found, expected, path = one_line(found), one_line(expected), one_line(path)
    return Finding(kind_id, kind.severity, kind.title, found, expected, kind.reason, remedy, path)
