# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove the values of environment files and credentials from the output of programs."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterable
from urllib.parse import unquote

HIDDEN = "********"
# A quoted value may have several lines.
ASSIGNMENT = re.compile(
    r"""^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=("(?:[^"\\]|\\[\s\S])*"(?=[ \t]*$)|'[^']*'(?=[ \t]*$)|.*$)""",
    re.MULTILINE,
)
# A shorter value is usually a flag, a number or a word; hiding it would damage most messages.
MIN_WORD_LENGTH = 8
SECRET_NAME = re.compile(r"SECRET|PASS|TOKEN|KEY|CREDENTIAL|SALT|DSN", re.IGNORECASE)
MIN_SECRET_LENGTH = 4
# A value that nobody has made up as a word, whatever its name.
RANDOM_VALUE = re.compile(r"(?=\S*[0-9])(?=\S*[A-Za-z])\S{16,}\Z")
URL_PASSWORD = re.compile(r"://[^\s/@]*?:([^\s@]+)@")
URL_USER_INFO = re.compile(r"://[^\s/@]+@")
JSON_VALUE = re.compile(r':\s*"((?:[^"\\]|\\.)+)"')
# More than a process can be given.
ENVIRONMENT_CHARACTERS = 1 << 21
# How much of a file with a secret is looked at.
MAX_CREDENTIAL_BYTES = 1 << 16


def hide_secrets(text: str, env_file: str, credentials: Iterable[str] = ()) -> str:
    """Replace the values of an environment file in a text, such as the output of a failed application.

    credentials holds the contents of other files with secrets.
    """
    try:
        secrets, words = find_secrets(_read(env_file, ENVIRONMENT_CHARACTERS))
    except FileNotFoundError:
        secrets, words = set(), set()
    except OSError:
        # Of one that can't be read, such as a link in a circle, nobody knows what to hide.
        return HIDDEN
    for credential in credentials:
        secrets |= find_credential_secrets(credential)
    for value in sorted(secrets | words, key=len, reverse=True):
        if value in secrets:
            text = text.replace(value, HIDDEN)
        else:
            # Only whole words: names of modules, units and files may contain the same word.
            text = re.sub(rf"(?<![\w/-])(?<!\w\.){re.escape(value)}(?![\w/-]|\.\w)", HIDDEN, text)
    return text


def _read(path: str, characters: int) -> str:
    with open(path, encoding="utf-8", errors="replace", opener=_open_regular_file) as file:
        return file.read(characters)


def _open_regular_file(path: str, flags: int) -> int:
    """Open a file. A named pipe, which another user may have put there, counts as missing and stops nobody."""
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return fd


def find_secrets(environment: str) -> tuple[set[str], set[str]]:
    """Return the values of an environment file to hide: secrets, and values that are hidden as whole words only.

    Secrets are the values of variables with names such as PASSWORD, passwords in URLs, and values that look random.
    Paths are not hidden. Other values are hidden as whole words if they are long enough.
    """
    secrets: set[str] = set()
    words: set[str] = set()
    for name, raw in ASSIGNMENT.findall(environment):
        value = unquote_value(raw)
        if SECRET_NAME.search(name):
            secrets |= {shown for shown in _list_spellings(value) if len(shown) >= MIN_SECRET_LENGTH}
        elif not value.startswith("/"):
            secret = RANDOM_VALUE.match(value) or URL_USER_INFO.search(value)
            (secrets if secret else words).update(
                shown for shown in _list_spellings(value) if len(shown) >= MIN_WORD_LENGTH
            )
        secrets |= {
            shown
            for word in URL_PASSWORD.findall(value)
            for shown in (word, unquote(word))
            if len(shown) >= MIN_SECRET_LENGTH
        }
    return secrets, words


def find_credential_secrets(text: str) -> set[str]:
    """Return the values of a file with secrets to hide: the whole content, its lines, and assigned values in it."""
    found = {
        text.strip(),
        *(line.strip() for line in text.splitlines()),
        *JSON_VALUE.findall(text),
        *URL_PASSWORD.findall(text),
    }
    found |= {unquote_value(raw) for _name, raw in ASSIGNMENT.findall(text)}
    return {shown for value in found for shown in _list_spellings(value) if len(shown) >= MIN_SECRET_LENGTH}


def read_credentials(directives: Iterable[str], unit: str) -> list[str]:
    """Return the contents of the credentials of a unit: of the files that it loads, and of those set in the unit.

    Encrypted credentials can be read while the unit runs.
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
                    found.append(_read(file, MAX_CREDENTIAL_BYTES))
    return found


def unquote_value(raw: str) -> str:
    """Remove the quotes and escapes of a value as systemd does."""
    raw = raw.strip()
    if len(raw) > 1 and raw[0] == raw[-1] == '"':
        return re.sub(r'\\(["\\`$])', r"\1", raw[1:-1])
    return raw[1:-1] if len(raw) > 1 and raw[0] == raw[-1] == "'" else raw


def _list_spellings(value: str) -> set[str]:
    """Return the value, its lines, and the forms in which tracebacks and logs show it."""
    return {value, *map(str.strip, value.splitlines()), repr(value)[1:-1], unquote(value)}
