# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment variables: what cannot stand in a mapping of them."""

from __future__ import annotations

import re
from collections.abc import Mapping

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# What Gunicorn reads before its configuration file or in place of it, and what systemd and Gunicorn tell each other.
INSTEAD = {"WEB_CONCURRENCY": "gunicorn_systemd_workers", "GUNICORN_CMD_ARGS": "gunicorn_systemd_settings"}
RESERVED = ("GUNICORN_FD", "GUNICORN_PID", "LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID", "MAINPID", "NOTIFY_SOCKET")
RESERVED += ("RELEASE_HEALTH", "WATCHDOG_PID", "WATCHDOG_USEC")


def environment_faults(environment: object, variable: str = "flask_app_env") -> list[str]:
    """Sentences on what can't be an environment. They name variables, never values."""
    if not isinstance(environment, Mapping):
        return [f"{variable} is {_kind(environment)}, but must be a mapping of names to values."]
    return [fault for name in environment for fault in [_fault(variable, name, plain(environment[name]))] if fault]


def plain(value: object) -> object:
    """A text that is encrypted in place, which ansible-core before 2.19 has as a sequence of its own."""
    return str(value) if getattr(value, "__ENCRYPTED__", False) else value


def _fault(variable: str, name: object, value: object) -> str | None:
    if not isinstance(name, str) or not NAME.match(name):
        return f"{variable} has the name '{name}', but a name must be letters, digits and '_', no digit first."
    if variable == "flask_app_env" and name in INSTEAD:
        return f"flask_app_env has {name}, which does not have its documented effect here: set {INSTEAD[name]}."
    if variable == "flask_app_env" and name in RESERVED:
        return f"flask_app_env has {name}, which systemd and Gunicorn set: remove it."
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        advice = ": put it in quotes" if isinstance(value, bool) else ""
        return f"{variable}.{name} is {_kind(value)}, but must be a string or a number{advice}."
    if not str(value).isprintable() and any("\ud800" <= character <= "\udfff" for character in str(value)):
        return f"{variable}.{name} has a character that cannot be written as UTF-8."
    if any(ord(character) < 32 and character not in "\t\n" or ord(character) == 127 for character in str(value)):
        return f"{variable}.{name} has a control character, which systemd does not accept."
    return None


def _kind(value: object) -> str:
    """What a user would call it; Ansible has types of its own for each."""
    if value is None:
        return "nothing"
    kinds = ((bool, "true or false"), ((int, float), "a number"), (str, "a string"), (Mapping, "a mapping"))
    return next((kind for types, kind in kinds if isinstance(value, types)), "a list")
