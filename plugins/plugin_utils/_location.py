# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a source lies, told without its credentials."""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote

URL = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
# host:path, as git reads it: the colon comes before the first slash.
SCP = re.compile(r"^[^/:\s]+:(?!//)")
# A user name is a secret in https (a token), not in ssh (git@…).
USER_IS_PUBLIC = ("ssh", "git+ssh", "ssh+git")


def is_url(location: str) -> bool:
    return bool(URL.match(location))


def is_remote(repository: str) -> bool:
    """True for a repository that git reaches over a transport; False for a path on this machine."""
    return is_url(repository) or bool(SCP.match(repository))


def _authority(location: str) -> tuple[str, str, str]:
    """(scheme, user part, everything behind it) of a URL; a password with a raw slash or question mark is caught."""
    scheme, rest = location.split("://", 1)
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in host:
        user = host.rpartition("@")[0]
    elif "@" in rest and re.search(r":(?!\d*$)", re.sub(r"^\[[^\]]*\]", "", host)):
        user = rest.rpartition("@")[0]
    else:
        return scheme, "", rest
    return scheme, user, rest[len(user) + 1 :]


def public(location: str) -> str:
    """A location that may be shown: no user and password, no query (presigned URLs carry their key there)."""
    if not is_url(location):
        return location
    scheme, user, rest = _authority(location)
    rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    name = user.partition(":")[0]
    if name and scheme.lower() in USER_IS_PUBLIC:
        rest = f"{name}@{rest}"
    return f"{scheme}://{rest}"


def scrub(text: str, location: str) -> str:
    """Somebody else's message about a location, with the location's secrets taken out."""
    if not is_url(location):
        return text
    scheme, user, rest = _authority(location)
    text = text.replace(location, public(location))
    secrets = {user, user.partition(":")[2], rest.partition("?")[2]}
    if scheme.lower() not in USER_IS_PUBLIC:
        secrets.add(user.partition(":")[0])
    for secret in sorted(secrets, key=len, reverse=True):
        # Below four characters it is no secret, and blanking it would garble the message.
        if len(secret) > 3 or (secret and secret == user):
            text = text.replace(secret, "***")
    return re.sub(r"(https?://)[^/@\s]+@", r"\1", text)


def user_and_password(location: str) -> tuple[str, str]:
    """Both as they are sent to the server; empty if the URL has none."""
    user, __, password = _authority(location)[1].partition(":")
    return unquote(user), unquote(password)


def credentials(location: str) -> str:
    """User and password of a URL as `user:password` in base64, for its host alone; empty when there are none."""
    user, password = user_and_password(location)
    return base64.b64encode(f"{user}:{password}".encode()).decode() if user or password else ""


def without_user(location: str) -> tuple[str, str]:
    """(the URL without user and password, its server alone)."""
    scheme, __, rest = _authority(location)
    return f"{scheme}://{rest}", f"{scheme}://{re.split(r'[/?#]', rest, maxsplit=1)[0]}"


def has_secret_user(location: str) -> bool:
    """Whether a URL holds a user and perhaps a password which nobody else may see."""
    return is_url(location) and location.split("://")[0].lower() in ("https", "http") and bool(_authority(location)[1])
