# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that write and check directives and drop-ins of systemd units."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ansible.errors import AnsibleFilterError

DIRECTIVE = re.compile(r"[A-Z][A-Za-z0-9]*\Z")
SECTION = re.compile(r"\s*\[(Unit|Service)\]\s*\Z")
SECTIONS = ("Unit", "Service")


def systemd_settings(settings: Mapping) -> str:
    """Return the lines of a unit, one for each value, in the order of the mapping.

    true is written as yes. false, null and an empty string omit the directive. A list is written as one line for each
    value. An empty list is written as a directive without a value, which systemd reads as an empty set.
    Raises AnsibleFilterError for invalid directives.
    """
    errors = systemd_settings_faults(settings, "The mapping")
    if errors:
        raise AnsibleFilterError(" ".join(errors))
    return "".join(f"{name}={value}\n" for name in settings for value in _format_values(settings[name]))


def _format_values(value: object) -> list[str]:
    if value is None or value is False or value == "":
        return []
    if value is True:
        return ["yes"]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [str(item) for item in value] or [""]
    return [str(value)]


def systemd_settings_faults(settings: object, variable: str, known: Sequence[str] = ()) -> list[str]:
    """Return a sentence for each invalid directive. Sentences name the variable that holds the directives."""
    if not isinstance(settings, Mapping):
        return [f"{variable} is '{settings}', but must be a mapping of directives to values."]
    errors = []
    for name, value in settings.items():
        if not isinstance(name, str) or not DIRECTIVE.match(name):
            errors.append(f"{variable} has '{name}', but names of directives are written like ProtectHome.")
        elif known and name not in known:
            errors.append(
                f"{variable} has {name}, but must have directives of the sandbox only: {', '.join(known)}. "
                "Set other directives in gunicorn_systemd_unit_overrides."
            )
        elif not _is_valid_value(value):
            errors.append(
                f"{variable}.{name} is {str(value)!r}, but must be true, false, a number, one line of text or a list "
                "of such lines."
            )
    return errors


def _is_valid_value(value: object) -> bool:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return all(
            isinstance(item, (str, int, float)) and not isinstance(item, bool) and _is_line(item) for item in value
        )
    return value is None or isinstance(value, (bool, int, float, str)) and _is_line(value)


def _is_line(value: object) -> bool:
    # A backslash at the end would join the next line.
    return "\n" not in str(value) and "\r" not in str(value) and not str(value).endswith("\\")


def systemd_drop_in(overrides: object) -> str:
    """Return the text of a drop-in from a text or a mapping of sections. Raises AnsibleFilterError if it is invalid."""
    errors = systemd_drop_in_faults(overrides, "The drop-in")
    if errors:
        raise AnsibleFilterError(" ".join(errors))
    if isinstance(overrides, str):
        return overrides.strip("\n") + "\n" if overrides.strip() else ""
    return "\n".join(f"[{section}]\n{systemd_settings(overrides[section])}" for section in overrides or {})


def systemd_drop_in_faults(overrides: object, variable: str) -> list[str]:
    """Return a sentence for each error in a drop-in for both services."""
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
        error for section in overrides for error in systemd_settings_faults(overrides[section], f"{variable}.{section}")
    ]


class FilterModule:
    """Filters for units of systemd."""

    def filters(self) -> dict:
        return {
            "systemd_drop_in": systemd_drop_in,
            "systemd_drop_in_faults": systemd_drop_in_faults,
            "systemd_settings": systemd_settings,
            "systemd_settings_faults": systemd_settings_faults,
        }
