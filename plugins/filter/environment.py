# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that write environment files for systemd's EnvironmentFile= and check their variables."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ansible.errors import AnsibleFilterError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# systemd.exec(5), EnvironmentFile=: within double quotes, a backslash escapes these characters.
SPECIAL = re.compile(r'(["\\`$])')


# Variables that Gunicorn reads before its configuration file, each with the setting to use instead.
REPLACEMENTS = {"WEB_CONCURRENCY": "gunicorn_systemd_workers", "GUNICORN_CMD_ARGS": "gunicorn_systemd_settings"}
# Variables that systemd and Gunicorn set.
RESERVED = ("GUNICORN_FD", "GUNICORN_PID", "LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID", "MAINPID", "NOTIFY_SOCKET")
RESERVED += ("RELEASE_HEALTH", "WATCHDOG_PID", "WATCHDOG_USEC")


def environment_faults(environment: object, variable: str = "flask_app_env") -> list[str]:
    """Return a sentence for each invalid environment variable. Sentences name variables, never values."""
    if not isinstance(environment, Mapping):
        return [f"{variable} is {_name_type(environment)}, but must be a mapping of names to values."]
    errors = (_find_error(variable, name, _decrypt(environment[name])) for name in environment)
    return [error for error in errors if error]


def _decrypt(value: object) -> object:
    """Return the text of an inline vault value, which ansible-core before 2.19 represents as a sequence."""
    return str(value) if getattr(value, "__ENCRYPTED__", False) else value


def _find_error(variable: str, name: object, value: object) -> str | None:
    if not isinstance(name, str) or not NAME.match(name):
        return f"{variable} has the name '{name}', but a name must be letters, digits and '_', no digit first."
    if variable == "flask_app_env" and name in REPLACEMENTS:
        return f"flask_app_env has {name}, which does not have its documented effect here: set {REPLACEMENTS[name]}."
    if variable == "flask_app_env" and name in RESERVED:
        return f"flask_app_env has {name}, which systemd and Gunicorn set: remove it."
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        advice = ": put it in quotes" if isinstance(value, bool) else ""
        return f"{variable}.{name} is {_name_type(value)}, but must be a string or a number{advice}."
    if not str(value).isprintable() and any("\ud800" <= character <= "\udfff" for character in str(value)):
        return f"{variable}.{name} has a character that cannot be written as UTF-8."
    if any(ord(character) < 32 and character not in "\t\n" or ord(character) == 127 for character in str(value)):
        return f"{variable}.{name} has a control character, which systemd does not accept."
    return None


def _name_type(value: object) -> str:
    """Return the type of a value in a user's words. Ansible's own types are subclasses of these."""
    if value is None:
        return "nothing"
    kinds = ((bool, "true or false"), ((int, float), "a number"), (str, "a string"), (Mapping, "a mapping"))
    return next((kind for types, kind in kinds if isinstance(value, types)), "a list")


def environment_file(environment: Mapping) -> str:
    """Return the text of an environment file, sorted by name. Raises AnsibleFilterError for invalid variables."""
    errors = environment_faults(environment)
    if errors:
        raise AnsibleFilterError(" ".join(errors))
    quoted = {name: SPECIAL.sub(r"\\\1", str(_decrypt(environment[name]))) for name in sorted(environment)}
    return "".join(f'{name}="{value}"\n' for name, value in quoted.items())


class FilterModule:
    """Filters for environment files."""

    def filters(self) -> dict:
        return {"environment_faults": environment_faults, "environment_file": environment_file}
