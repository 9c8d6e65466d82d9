# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the location of a source without its credentials."""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote

URL = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
# host:path, as git reads it: the colon comes before the first slash.
SCP = re.compile(r"^[^/:\s]+:(?!//)")
# With https, a user name may be a secret token. With ssh, it is not (git@…).
PUBLIC_USER_SCHEMES = ("ssh", "git+ssh", "ssh+git")


def is_url(location: str) -> bool:
    return bool(URL.match(location))


def is_remote(repository: str) -> bool:
    """Return True if git reaches the repository over a transport, False if it is a path on the controller."""
    return is_url(repository) or bool(SCP.match(repository))


def _split_authority(location: str) -> tuple[str, str, str]:
    """Split a URL into (scheme, user and password, the rest). A password may hold unquoted slashes."""
    scheme, rest = location.split("://", 1)
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in host:
        user = host.rpartition("@")[0]
    elif "@" in rest and re.search(r":(?!\d*$)", re.sub(r"^\[[^\]]*\]", "", host)):
        user = rest.rpartition("@")[0]
    else:
        return scheme, "", rest
    return scheme, user, rest[len(user) + 1 :]


def redact_location(location: str) -> str:
    """Return a location without user, password and query. The query of a presigned URL holds its key."""
    if not is_url(location):
        return location
    scheme, user, rest = _split_authority(location)
    rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    name = user.partition(":")[0]
    if name and scheme.lower() in PUBLIC_USER_SCHEMES:
        rest = f"{name}@{rest}"
    return f"{scheme}://{rest}"


def redact_text(text: str, location: str) -> str:
    """Remove the secrets of a location from the message of another program."""
    if not is_url(location):
        return text
    scheme, user, rest = _split_authority(location)
    text = text.replace(location, redact_location(location))
    secrets = {user, user.partition(":")[2], rest.partition("?")[2]}
    if scheme.lower() not in PUBLIC_USER_SCHEMES:
        secrets.add(user.partition(":")[0])
    for secret in sorted(secrets, key=len, reverse=True):
        # Text of fewer than four characters is not a secret; replacing it would garble the message.
        if len(secret) > 3 or (secret and secret == user):
            text = text.replace(secret, "***")
    return re.sub(r"(https?://)[^/@\s]+@", r"\1", text)


def parse_credentials(location: str) -> tuple[str, str]:
    """Return the decoded user and password of a URL, each empty if missing."""
    user, __, password = _split_authority(location)[1].partition(":")
    return unquote(user), unquote(password)


def encode_credentials(location: str) -> str:
    """Return `user:password` of a URL in base64, empty if the URL has neither."""
    user, password = parse_credentials(location)
    return base64.b64encode(f"{user}:{password}".encode()).decode() if user or password else ""


def strip_credentials(location: str) -> tuple[str, str]:
    """Return (the URL without user and password, the URL of its server)."""
    scheme, __, rest = _split_authority(location)
    return f"{scheme}://{rest}", f"{scheme}://{re.split(r'[/?#]', rest, maxsplit=1)[0]}"


def has_credentials(location: str) -> bool:
    """Return whether an http or https URL holds a user name, which may be a token."""
    return (
        is_url(location)
        and location.split("://")[0].lower() in ("https", "http")
        and bool(_split_authority(location)[1])
    )
