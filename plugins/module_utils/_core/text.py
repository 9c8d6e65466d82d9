# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Escape text of other users, such as file names and logs, for a terminal, a page or a shell."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from typing import Any

# Control characters, which move the cursor or start an escape sequence, characters that change the direction of text,
# and surrogates, with which Python represents bytes that are not UTF-8. Newlines and tabs are not escaped.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00  # the byte itself
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def escape_text(text: str) -> str:
    """Escape characters that a terminal or a browser would interpret instead of showing them."""
    return _UNPRINTABLE.sub(_escape, text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """The same without line breaks and tabs, so that a name cannot pass for another line of a message."""
    return escape_text(text).replace("\n", r"\x0a").replace("\t", r"\x09")


def escape_data(data: Any) -> Any:
    """Escape all strings in a data structure as `escape_text` does."""
    if isinstance(data, str):
        return escape_text(data)
    if isinstance(data, Mapping):
        return {escape_data(key): escape_data(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [escape_data(item) for item in data]
    return data


def quote_for_shell(text: str) -> str:
    """Quote the text as one word of a shell command that users may paste."""
    if not _UNPRINTABLE.search(text) and "\n" not in text and "\t" not in text:
        return shlex.quote(text)
    # bash and zsh interpret these escapes. Other shells do not find the file.
    safe = re.compile(rb"[A-Za-z0-9_@%+=:,./-]")
    parts = (bytes([byte]) for byte in os.fsencode(text))
    return "$'" + "".join(part.decode() if safe.match(part) else f"\\x{part[0]:02x}" for part in parts) + "'"
