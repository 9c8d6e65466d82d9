# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take the values of the application's environment out of what its programs said. Private to the collection."""

from __future__ import annotations

import re
from urllib.parse import unquote

HIDDEN = "********"
ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$", re.MULTILINE)
# A shorter value is a switch, a number or a word, and hiding it would make holes into every message.
LONG = 8
SECRET_NAME = re.compile(r"SECRET|PASS|TOKEN|KEY|CREDENTIAL|SALT|DSN", re.IGNORECASE)
SHORT = 4
IN_URL = re.compile(r"://[^\s/@]*?:([^\s@]+)@")


def hide(text: str, env_file: str) -> str:
    """The text without the values of this environment file: an application that fails often says with what."""
    try:
        with open(env_file, encoding="utf-8", errors="replace") as file:
            values = values_of(file.read())
    except FileNotFoundError:
        return text
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return text


def values_of(environment: str) -> set[str]:
    """What is not to be shown of an environment file: long values, those of secrets, and passwords in URLs."""
    found = set()
    for name, raw in ASSIGNMENT.findall(environment):
        value = _unquoted(raw.strip())
        least = SHORT if SECRET_NAME.search(name) else LONG
        found |= {shown for shown in _spellings(value) if len(shown) >= least}
        found |= {shown for word in IN_URL.findall(value) for shown in (word, unquote(word)) if len(shown) >= SHORT}
    return found


def _unquoted(raw: str) -> str:
    """As systemd reads it."""
    if len(raw) > 1 and raw[0] == raw[-1] == '"':
        return re.sub(r'\\(["\\`$])', r"\1", raw[1:-1])
    return raw[1:-1] if len(raw) > 1 and raw[0] == raw[-1] == "'" else raw


def _spellings(value: str) -> set[str]:
    """The value itself, and as a traceback or a log shows it."""
    return {value, repr(value)[1:-1], unquote(value)}
