# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the expiry of a certificate, for which Python's ssl module has no public function."""

from __future__ import annotations

import base64
import calendar
import os
import re
import time

from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Certificate
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import open_file

# The maximum bytes of a file with a chain of certificates.
MAX_BYTES = 1 << 20
PEM = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----(.+?)-----END ", re.S)
# Tags of DER.
VERSION, UTC_TIME, GENERALIZED_TIME = 0xA0, 0x17, 0x18
# The position of the validity in a certificate without its optional version: after serial, algorithm and issuer.
VALIDITY = 3


def read_certificate(path: str) -> Certificate:
    """Return the first certificate of a PEM file with its expiry."""
    try:
        with os.fdopen(open_file(path), "rb") as file:
            match = PEM.search(file.read(MAX_BYTES))
        if not match:
            raise ValueError("no certificate in PEM")
        return Certificate(path, parse_expiry(base64.b64decode(match.group(1))))
    except (OSError, ValueError) as error:
        return Certificate(path, None, str(error))


def parse_expiry(certificate: bytes) -> float:
    """Return the end of a certificate's validity in seconds since the epoch. Raises ValueError if it is not DER."""
    try:
        (_tag, signed), *_signature = _parse_elements(_parse_elements(certificate)[0][1])
        fields = [content for tag, content in _parse_elements(signed) if tag != VERSION]
        tag, content = _parse_elements(fields[VALIDITY])[1]
        text = content.decode("ascii")
        if tag == UTC_TIME:
            # RFC 5280: years from 50 are those of the 20th century.
            text = ("20" if text[:2] < "50" else "19") + text
        elif tag != GENERALIZED_TIME:
            raise ValueError("no time")
        return calendar.timegm(time.strptime(text, "%Y%m%d%H%M%SZ"))
    except (IndexError, ValueError):
        raise ValueError("not a certificate in DER") from None


def _parse_elements(data: bytes) -> list[tuple[int, bytes]]:
    """Return the tags and contents of consecutive DER elements. Raises IndexError or ValueError if data is not DER."""
    found = []
    position = 0
    while position < len(data):
        tag, length = data[position], data[position + 1]
        position += 2
        if length & 0x80:
            # The length is in the next bytes.
            end = position + (length & 0x7F)
            length = int.from_bytes(data[position:end], "big")
            position = end
        if position + length > len(data):
            raise ValueError("truncated")
        found.append((tag, data[position : position + length]))
        position += length
    return found
