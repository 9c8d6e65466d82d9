# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check directives of systemd units."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

DIRECTIVE = re.compile(r"[A-Z][A-Za-z0-9]*\Z")
SECTION = re.compile(r"\s*\[(Unit|Service)\]\s*\Z")
SECTIONS = ("Unit", "Service")


def check_systemd_settings(settings: object, variable: str, known: Sequence[str] = ()) -> list[str]:
    """Return a sentence for each directive that cannot be written to a unit. The sentences name the variable."""
    if not isinstance(settings, Mapping):
        return [f"{variable} is '{settings}', but must be a mapping of directives to values."]
    problems = []
    for name, value in settings.items():
        if not isinstance(name, str) or not DIRECTIVE.match(name):
            problems.append(f"{variable} has '{name}', but names of directives are written like ProtectHome.")
        elif known and name not in known:
            problems.append(
                f"{variable} has {name}, but must have directives of the sandbox only: {', '.join(known)}. "
                "Set other directives in gunicorn_systemd_unit_overrides."
            )
        elif not _is_writable(value):
            problems.append(
                f"{variable}.{name} is {str(value)!r}, but must be true, false, a number, one line of text or a list "
                "of such lines."
            )
    return problems


def _is_writable(value: object) -> bool:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return all(
            isinstance(item, (str, int, float)) and not isinstance(item, bool) and _is_line(item) for item in value
        )
    return value is None or isinstance(value, (bool, int, float, str)) and _is_line(value)


def _is_line(value: object) -> bool:
    # A backslash at the end continues the line.
    return "\n" not in str(value) and "\r" not in str(value) and not str(value).endswith("\\")


def check_systemd_drop_in(overrides: object, variable: str) -> list[str]:
    """Return sentences on the problems of a drop-in for the service and its candidate."""
    if not overrides:
        return []
    accepted = "a text that begins with [Service] or [Unit], or a mapping of these two to directives and values"
    if isinstance(overrides, str):
        lines = [line for line in overrides.splitlines() if line.strip() and line.strip()[0] not in "#;"]
        headers = [line for line in lines if line.strip().startswith("[")]
        if lines and (lines[0] not in headers or not all(SECTION.match(line) for line in headers)):
            return [f"{variable} is {overrides.strip()!r}, but must be {accepted}."]
        return []
    if not isinstance(overrides, Mapping):
        return [f"{variable} is '{overrides}', but must be {accepted}."]
    unknown = [str(section) for section in overrides if section not in SECTIONS]
    if unknown:
        return [f"{variable} has {', '.join(unknown)}, but must be {accepted}."]
    return [
        problem
        for section in overrides
        for problem in check_systemd_settings(overrides[section], f"{variable}.{section}")
    ]
