# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take the values of the application's environment and credentials out of what its programs said. Private."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterable
from urllib.parse import unquote

HIDDEN = "********"
# A value in quotes may have several lines.
ASSIGNMENT = re.compile(
    r"""^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=("(?:[^"\\]|\\[\s\S])*"(?=[ \t]*$)|'[^']*'(?=[ \t]*$)|.*$)""",
    re.MULTILINE,
)
# A shorter value is a switch, a number or a word, and hiding it would make holes into every message.
LONG = 8
SECRET_NAME = re.compile(r"SECRET|PASS|TOKEN|KEY|CREDENTIAL|SALT|DSN", re.IGNORECASE)
SHORT = 4
# A value that nobody has made up as a word, whatever its name.
RANDOM = re.compile(r"(?=\S*[0-9])(?=\S*[A-Za-z])\S{16,}\Z")
IN_URL = re.compile(r"://[^\s/@]*?:([^\s@]+)@")
USER_INFO = re.compile(r"://[^\s/@]+@")
IN_JSON = re.compile(r':\s*"((?:[^"\\]|\\.)+)"')
# More than a process can be given.
ENVIRONMENT_CHARACTERS = 1 << 21
# How much of a file with a secret is looked at.
MUCH = 1 << 16


def hide(text: str, env_file: str, credentials: Iterable[str] = ()) -> str:
    """The text without the values of this environment file: an application that fails often says with what.

    credentials: what is in the other files that its service reads secrets from.
    """
    try:
        secrets, words = values_of(_read(env_file, ENVIRONMENT_CHARACTERS))
    except FileNotFoundError:
        secrets, words = set(), set()
    except OSError:
        # Of one that can't be read, such as a link in a circle, nobody knows what to hide.
        return HIDDEN
    for credential in credentials:
        secrets |= values_of_credential(credential)
    for value in sorted(secrets | words, key=len, reverse=True):
        if value in secrets:
            text = text.replace(value, HIDDEN)
        else:
            # As a word of its own: names of modules, units and files may hold the same word.
            text = re.sub(rf"(?<![\w/-])(?<!\w\.){re.escape(value)}(?![\w/-]|\.\w)", HIDDEN, text)
    return text


def _read(path: str, characters: int) -> str:
    with open(path, encoding="utf-8", errors="replace", opener=_ordinary) as file:
        return file.read(characters)


def _ordinary(path: str, flags: int) -> int:
    """Open a file. A named pipe, which another user may have put there, counts as missing and stops nobody."""
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return fd


def values_of(environment: str) -> tuple[set[str], set[str]]:
    """What is not to be shown of an environment file: secrets, wherever they occur, and values to hide as words.

    A secret is what its name says, a password in a URL, and what looks random. A path is none; what else is long enough
    not to be a word of every message is hidden where it stands alone.
    """
    secrets, words = set(), set()
    for name, raw in ASSIGNMENT.findall(environment):
        value = unquoted(raw)
        if SECRET_NAME.search(name):
            secrets |= {shown for shown in _spellings(value) if len(shown) >= SHORT}
        elif not value.startswith("/"):
            secret = RANDOM.match(value) or USER_INFO.search(value)
            (secrets if secret else words).update(shown for shown in _spellings(value) if len(shown) >= LONG)
        secrets |= {shown for word in IN_URL.findall(value) for shown in (word, unquote(word)) if len(shown) >= SHORT}
    return secrets, words


def values_of_credential(text: str) -> set[str]:
    """What is not to be shown of a file with a secret: all of it, its lines, and values that have a name in it."""
    found = {text.strip(), *(line.strip() for line in text.splitlines()), *IN_JSON.findall(text), *IN_URL.findall(text)}
    found |= {unquoted(raw) for _name, raw in ASSIGNMENT.findall(text)}
    return {shown for value in found for shown in _spellings(value) if len(shown) >= SHORT}


def read_credentials(directives: Iterable[str], unit: str) -> list[str]:
    """What is in the credentials of a unit with these directives: the files that it loads, and what is set in the unit.

    Encrypted ones are there while the unit runs.
    """
    found, paths = [], [os.path.join("/run/credentials", unit)]
    for directive in directives:
        name, __, value = directive.partition("=")
        if name.strip() == "LoadCredential":
            paths.append(value.partition(":")[2].strip())
        elif name.strip() == "SetCredential":
            found.append(value.partition(":")[2])
    for path in paths:
        below = [os.path.join(path, name) for name in os.listdir(path)] if os.path.isdir(path) else [path]
        for file in below:
            if os.path.isabs(file) and os.path.isfile(file):
                with contextlib.suppress(OSError):
                    found.append(_read(file, MUCH))
    return found


def unquoted(raw: str) -> str:
    """As systemd reads it."""
    raw = raw.strip()
    if len(raw) > 1 and raw[0] == raw[-1] == '"':
        return re.sub(r'\\(["\\`$])', r"\1", raw[1:-1])
    return raw[1:-1] if len(raw) > 1 and raw[0] == raw[-1] == "'" else raw


def _spellings(value: str) -> set[str]:
    """The value itself and its lines, and as a traceback or a log shows it."""
    return {value, *map(str.strip, value.splitlines()), repr(value)[1:-1], unquote(value)}
