# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that format directives of systemd units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ansible.errors import AnsibleFilterError

from ansible_collections.flaskops.production.plugins.plugin_utils._settings.systemd import (
    check_systemd_drop_in,
    check_systemd_settings,
)


def systemd_settings(settings: Mapping) -> str:
    """Return the lines of a unit, one for each value, in the order of the mapping.

    true is written as yes. false, null and an empty string omit the directive. A list is written as one line for each
    value. An empty list is written as a directive without a value, which systemd reads as an empty set.
    Raises AnsibleFilterError for invalid directives.
    """
    errors = check_systemd_settings(settings, "The mapping")
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


def systemd_drop_in(overrides: object) -> str:
    """Return the text of a drop-in from a text or a mapping of sections. Raises AnsibleFilterError if it is invalid."""
    errors = check_systemd_drop_in(overrides, "The drop-in")
    if errors:
        raise AnsibleFilterError(" ".join(errors))
    if isinstance(overrides, str):
        return overrides.strip("\n") + "\n" if overrides.strip() else ""
    sections = overrides if isinstance(overrides, Mapping) else {}
    return "\n".join(f"[{section}]\n{systemd_settings(sections[section])}" for section in sections)


class FilterModule:
    """Filters for units of systemd."""

    def filters(self) -> dict:
        return {"systemd_drop_in": systemd_drop_in, "systemd_settings": systemd_settings}
