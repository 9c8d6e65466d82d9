# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a mapping of environment variables."""

from __future__ import annotations

import re
from collections.abc import Mapping

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# Variables that Gunicorn reads before its configuration file, with the settings to use in their place.
REPLACEMENTS = {"WEB_CONCURRENCY": "gunicorn_systemd_workers", "GUNICORN_CMD_ARGS": "gunicorn_systemd_settings"}
# Variables that systemd and Gunicorn set.
RESERVED = (
    *("GUNICORN_FD", "GUNICORN_PID", "LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID", "MAINPID", "NOTIFY_SOCKET"),
    *("RELEASE_HEALTH", "WATCHDOG_PID", "WATCHDOG_USEC"),
)


def check_environment(environment: object, variable: str = "flask_app_env") -> list[str]:
    """Return a sentence for each problem. The sentences name variables, but not their values."""
    if not isinstance(environment, Mapping):
        return [f"{variable} is {_describe_type(environment)}, but must be a mapping of names to values."]
    problems = (_find_problem(variable, name, decrypt_text(environment[name])) for name in environment)
    return [problem for problem in problems if problem]


def decrypt_text(value: object) -> object:
    """Return the text of an inline vault value. Before ansible-core 2.19, its type is not a string."""
    return str(value) if getattr(value, "__ENCRYPTED__", False) else value


def _find_problem(variable: str, name: object, value: object) -> str | None:
    if not isinstance(name, str) or not NAME.match(name):
        return f"{variable} has the name '{name}', but a name must be letters, digits and '_', no digit first."
    if variable == "flask_app_env" and name in REPLACEMENTS:
        return f"flask_app_env has {name}, which does not have its documented effect here: set {REPLACEMENTS[name]}."
    if variable == "flask_app_env" and name in RESERVED:
        return f"flask_app_env has {name}, which systemd and Gunicorn set: remove it."
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        advice = ": put it in quotes" if isinstance(value, bool) else ""
        return f"{variable}.{name} is {_describe_type(value)}, but must be a string or a number{advice}."
    if not str(value).isprintable() and any("\ud800" <= character <= "\udfff" for character in str(value)):
        return f"{variable}.{name} has a character that cannot be written as UTF-8."
    if any(ord(character) < 32 and character not in "\t\n" or ord(character) == 127 for character in str(value)):
        return f"{variable}.{name} has a control character, which systemd does not accept."
    return None


def _describe_type(value: object) -> str:
    """Return the type of a value in words."""
    if value is None:
        return "nothing"
    kinds = ((bool, "true or false"), ((int, float), "a number"), (str, "a string"), (Mapping, "a mapping"))
    return next((kind for types, kind in kinds if isinstance(value, types)), "a list")
