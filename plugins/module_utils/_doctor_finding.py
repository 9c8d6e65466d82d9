# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One finding of the doctor, with its remedy for the paths and names that were found. Private to the collection."""

from __future__ import annotations

from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._doctor_catalog import KINDS
from ansible_collections.flaskops.production.plugins.module_utils._text import quote_for_shell


class Finding(NamedTuple):
    """One thing that is wrong, in words for an operator."""

    id: str
    severity: str
    title: str
    seen: str
    expected: str
    why: str
    mend: str
    path: str = ""


def finding(kind: str, seen: str, expected: str, path: str = "", **values: object) -> Finding:
    """A finding of this kind, its remedy filled in."""
    found = KINDS[kind]
    # Names may come from visitors, and the remedy may be pasted into root's shell.
    quoted = {name: quote_for_shell(str(value)) for name, value in {"path": path, **values}.items()}
    mend = found.mend.format(**quoted)
    return Finding(kind, found.severity, found.title, seen, expected, found.why, mend, path)
