# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of other users, such as names of files and logs, as a person may see it or paste it. Private."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from typing import Any

# What moves the cursor, starts an escape sequence or turns the direction of writing, and bytes that are no UTF-8, which
# Python keeps as surrogates. Newlines and tabs stay.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match.group())
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00  # the byte itself
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def printable(text: str) -> str:
    """The text without characters that a terminal or a page would obey instead of showing them."""
    return _UNPRINTABLE.sub(_escaped, text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """The same without line breaks and tabs, so that a name cannot pass for another line of a message."""
    return printable(text).replace("\n", r"\x0a").replace("\t", r"\x09")


def printable_data(data: Any) -> Any:
    """The same for every text in what is shown or written as JSON."""
    if isinstance(data, str):
        return printable(data)
    if isinstance(data, Mapping):
        return {printable_data(key): printable_data(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [printable_data(item) for item in data]
    return data


def shell_quoted(text: str) -> str:
    """The text as one word of a command that a person may paste into a shell."""
    if not _UNPRINTABLE.search(text) and "\n" not in text and "\t" not in text:
        return shlex.quote(text)
    # bash and zsh read the escapes; another shell finds no such file.
    safe = re.compile(rb"[A-Za-z0-9_@%+=:,./-]")
    parts = (bytes([byte]) for byte in os.fsencode(text))
    return "$'" + "".join(part.decode() if safe.match(part) else f"\\x{part[0]:02x}" for part in parts) + "'"
