# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch a release's archive from a web server, verified on its way to the disk. Private to the collection."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import ssl
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.parse import urlsplit

from ansible.module_utils.urls import ConnectionError as SetupError
from ansible.module_utils.urls import open_url

from ansible_collections.flaskops.production.plugins.module_utils._releases import ReleaseError

BLOCK_BYTES = 1 << 20
# Seconds for which the server may be silent.
TIMEOUT = 60


def fetch_archive(url: str, credentials: str, destination: str, sha256: str, size: int) -> None:
    """Fetch exactly these bytes into a new file. Credentials are `user:password` in base64, and not sent elsewhere."""
    digest, received = hashlib.sha256(), 0
    with _convert_errors(url):
        response = open_url(
            url,
            headers={"Authorization": f"Basic {credentials}"} if credentials else {},
            unredirected_headers=["Authorization"],
            use_netrc=not credentials,
            timeout=TIMEOUT,
            # The bytes as they are: a server may call a .tar.gz encoded.
            decompress=False,
        )
    with contextlib.closing(response), open(destination, "xb", opener=_open_private) as file:
        while received <= size:
            with _convert_errors(url):
                block = _read_block(response)
            if not block:
                break
            received += len(block)
            digest.update(block)
            file.write(block)
    _check_content(_format_url(url, response.geturl()), (digest.hexdigest(), received), (sha256, size))


def _check_content(seen: str, found: tuple[str, int], wanted: tuple[str, int]) -> None:
    (sha256, received), (wanted_sha256, size) = found, wanted
    if received < size:
        fault = f"ended after {received} of {size} bytes"
    elif received > size:
        fault = f"is larger than the {size} bytes of the archive"
    elif sha256 != wanted_sha256:
        fault = f"has SHA-256 {sha256}, but {wanted_sha256} was expected"
    else:
        return
    raise ReleaseError(f"{seen} {fault}: run again; if it stays so, remove the file there and publish it again.")


def _read_block(response: http.client.HTTPResponse) -> bytes:
    """The next bytes; none at the end, which may come too early."""
    try:
        return response.read(BLOCK_BYTES)
    except http.client.IncompleteRead as error:
        return error.partial


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


@contextlib.contextmanager
def _convert_errors(url: str) -> Iterator[None]:
    """Tell what came instead of the archive, in one sentence."""
    try:
        yield
    except HTTPError as error:
        # Of a redirect in a circle, urllib tells a story in several lines, the server's own words last.
        answer = f"{error.code} {(str(error.reason).splitlines() or [''])[-1]}"
        raise ReleaseError(f"{_format_url(url, error.geturl())} answered {answer}: {_format_advice(error)}") from None
    except (OSError, http.client.HTTPException, ValueError, SetupError) as error:
        reason = getattr(error, "reason", None) or error
        advice = (
            "check that this host can reach the server, through its proxy if it has one, and that the server works."
        )
        if isinstance(reason, ssl.SSLCertVerificationError):
            advice = "install the certificate of the server's authority on this host, or correct release_pull_url."
        raise ReleaseError(f"{url} can't be fetched ({str(reason).rstrip('.')}): {advice}") from None


def _format_advice(error: HTTPError) -> str:
    if error.code in (404, 410):
        return "publish the archive there, or set release_pull_directory to the directory that this server serves."
    if error.code in (401, 403):
        return "let this host read it, or correct user and password in release_pull_url."
    if error.code < 400:
        return "it redirects without end; look at the server, or correct release_pull_url."
    return "look at the server, or correct release_pull_url."


def _format_url(url: str, final: str) -> str:
    """Where the answer came from; of a redirect, no query, in which a key may be, and no user."""
    if final == url:
        return url
    parts = urlsplit(final)
    return f"{url} (redirected to {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path})"
