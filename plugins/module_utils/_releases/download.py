# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Download a release's archive from a web server, and verify it while it is written."""

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

from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._core.transfers import read_blocks

# The timeout of the connection and of each read, in seconds.
TIMEOUT = 60


def fetch_archive(url: str, credentials: str, destination: str, sha256: str, size: int) -> None:
    """Download an archive into a new file, and verify its SHA-256 and size in bytes. Raises ReleaseError.

    credentials is `user:password` in base64, or empty. They are not sent to other hosts after a redirect.
    """
    digest, received = hashlib.sha256(), 0
    with _convert_errors(url):
        response = open_url(
            url,
            headers={"Authorization": f"Basic {credentials}"} if credentials else {},
            unredirected_headers=["Authorization"],
            use_netrc=not credentials,
            timeout=TIMEOUT,
            # A server may declare the encoding gzip for a .tar.gz file.
            decompress=False,
        )
    with contextlib.closing(response), open(destination, "xb", opener=_open_private) as file:
        blocks = read_blocks(response)
        while received <= size:
            with _convert_errors(url):
                block = next(blocks, b"")
            if not block:
                break
            received += len(block)
            digest.update(block)
            file.write(block)
    _check_content(_format_url(url, response.geturl()), (digest.hexdigest(), received), (sha256, size))


def _check_content(url: str, found: tuple[str, int], wanted: tuple[str, int]) -> None:
    (sha256, received), (wanted_sha256, size) = found, wanted
    if received < size:
        problem = f"ended after {received} of {size} bytes"
    elif received > size:
        problem = f"is larger than the {size} bytes of the archive"
    elif sha256 != wanted_sha256:
        problem = f"has SHA-256 {sha256}, but {wanted_sha256} was expected"
    else:
        return
    raise ReleaseError(
        f"{url} {problem}: run again; if the error persists, remove the file from the server and publish it again."
    )


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


@contextlib.contextmanager
def _convert_errors(url: str) -> Iterator[None]:
    """Convert errors of a download to a ReleaseError of one sentence."""
    try:
        yield
    except HTTPError as error:
        # For a redirect loop, urllib adds lines before the reason of the server.
        answer = f"{error.code} {(str(error.reason).splitlines() or [''])[-1]}"
        raise ReleaseError(f"{_format_url(url, error.geturl())} answered {answer}: {_format_advice(error)}") from None
    except (OSError, http.client.HTTPException, ValueError, SetupError) as error:
        reason = getattr(error, "reason", None) or error
        advice = "check that the server works, and that this host can reach it, through its proxy if it has one."
        if isinstance(reason, ssl.SSLCertVerificationError):
            advice = "install the CA certificate of the server on this host, or correct release_pull_url."
        raise ReleaseError(f"{url} cannot be downloaded ({str(reason).rstrip('.')}): {advice}") from None


def _format_advice(error: HTTPError) -> str:
    if error.code in (404, 410):
        return "publish the archive there, or set release_pull_directory to a directory that this server serves."
    if error.code in (401, 403):
        return "allow this host to read it, or correct user and password in release_pull_url."
    if error.code < 400:
        return "it is a redirect loop; check the server, or correct release_pull_url."
    return "check the server, or correct release_pull_url."


def _format_url(url: str, final: str) -> str:
    """Format a URL and the one it redirected to, without query and user name, which may be secret."""
    if final == url:
        return url
    parts = urlsplit(final)
    return f"{url} (redirected to {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path})"
