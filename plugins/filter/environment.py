# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment files for systemd's EnvironmentFile=, quoted so that every value arrives as it was written."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ansible.errors import AnsibleFilterError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# systemd.exec(5), EnvironmentFile=: within double quotes, a backslash keeps each of these as it is.
SPECIAL = re.compile(r'(["\\`$])')


def environment_faults(environment: object) -> list[str]:
    """Sentences on what can't be written to an environment file. They name variables, never values."""
    if not isinstance(environment, Mapping):
        return [f"flask_app_env is {_kind(environment)}, but must be a mapping of names to values."]
    return [fault for name, value in environment.items() for fault in [_fault(name, value)] if fault]


def _fault(name: object, value: object) -> str | None:
    if not isinstance(name, str) or not NAME.match(name):
        return f"flask_app_env has the name '{name}', but a name must be letters, digits and '_', no digit first."
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        advice = ": put it in quotes" if isinstance(value, bool) else ""
        return f"flask_app_env.{name} is {_kind(value)}, but must be a string or a number{advice}."
    if not str(value).isprintable() and any("\ud800" <= character <= "\udfff" for character in str(value)):
        return f"flask_app_env.{name} has a character that can't be written as UTF-8."
    if any(ord(character) < 32 and character != "\t" or ord(character) == 127 for character in str(value)):
        return f"flask_app_env.{name} has a line break or control character, but a value must be one line of text."
    return None


def _kind(value: object) -> str:
    """What a user would call it; Ansible has types of its own for each."""
    if value is None:
        return "nothing"
    kinds = ((bool, "true or false"), ((int, float), "a number"), (str, "a text"), (Mapping, "a mapping"))
    return next((kind for types, kind in kinds if isinstance(value, types)), "a list")


def environment_file(environment: Mapping) -> str:
    """The text of an environment file, sorted by name, one variable a line."""
    faults = environment_faults(environment)
    if faults:
        raise AnsibleFilterError(" ".join(faults))
    quoted = {name: SPECIAL.sub(r"\\\1", str(environment[name])) for name in sorted(environment)}
    return "".join(f'{name}="{value}"\n' for name, value in quoted.items())


class FilterModule:
    """Filters for environment files."""

    def filters(self) -> dict:
        return {"environment_faults": environment_faults, "environment_file": environment_file}
