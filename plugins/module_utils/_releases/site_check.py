# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last check of an activation: a request to the site through Nginx, like a visitor's."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import ssl
import time
from typing import NamedTuple, cast
from urllib.parse import urljoin, urlsplit

from ansible_collections.flaskops.production.plugins.module_utils._app.health import (
    add_script_name,
    read_listener_pids,
    send_health_request,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._core.connections import BoundedMixin, connect
from ansible_collections.flaskops.production.plugins.module_utils._files.foreign import read_application
from ansible_collections.flaskops.production.plugins.module_utils._nginx.parser import (
    Directive,
    Server,
    build_config,
    parse_directives,
)

# The maximum number of redirects that the check follows on this host.
MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
PORTS = {"http": 80, "https": 443}
# If a site has one of these directives, Nginx itself may answer with one of these statuses.
RESTRICTIONS = ("auth_basic", "auth_request", "deny", "limit_conn", "limit_req", "ssl_verify_client")
RESTRICTED = (400, 401, 403, 429)

_LISTEN = re.compile(r"(?:(?P<host>\[[^\]]*\]|[^:\[\]]+):)?(?P<port>[0-9]+)")
_ANY = {None: "127.0.0.1", "*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "::1"}


class Listener(NamedTuple):
    """An address of the site to which this host can connect."""

    host: str
    server: Server


class ServedSite(NamedTuple):
    """A site of an application: the name to request, all server names, and the listeners by scheme and port."""

    name: str
    exact: bool  # whether the name is a server name of the site, and not derived from a wildcard
    names: tuple[str, ...]
    listeners: dict[tuple[str, int], Listener]


class SiteResult(NamedTuple):
    """The result of a check through Nginx. `by_release` is true if Gunicorn itself returns the wrong status."""

    failure: str | None
    by_release: bool = False


def find_site(path: str, application: str, host: str) -> ServedSite | None:
    """Read the application's site from a file. Return None if this collection has not written it for the application.

    `host` is the Host header of the health check. It is requested if it is a server name of the site.
    """
    with contextlib.suppress(OSError):
        if read_application(os.path.realpath(path)) == application:
            with open(path, encoding="utf-8", errors="replace") as file:
                return parse_site(file.read(), host)
    return None


def parse_site(text: str, host: str) -> ServedSite | None:
    """Return the site described by the text of its file, or None if this host cannot connect to it."""
    listeners: dict[tuple[str, int], Listener] = {}
    found: list[str] = []
    for server in build_config((Directive("http", (), parse_directives(text), ""),)).servers:
        found += server.names
        for listen, options in zip(server.listens, server.options):
            match = _LISTEN.fullmatch(listen)
            if listen.startswith("unix:"):
                continue
            address, port = (match["host"], int(match["port"])) if match else (listen, PORTS["http"])
            scheme = "https" if "ssl" in options else "http"
            listeners.setdefault((scheme, port), Listener(_ANY.get(address, (address or "").strip("[]")), server))
    if not listeners:
        return None
    names = tuple(found) or ("_",)
    bare = re.sub(r":[0-9]+$", "", host).lower()
    if _matches_name(names, bare):
        return ServedSite(bare, True, names, listeners)
    exact = [name for name in names if "*" not in name and not name.startswith(".")]
    return ServedSite(exact[0] if exact else names[0].replace("*", "www").strip("."), bool(exact), names, listeners)


def _matches_name(names: tuple[str, ...], name: str) -> bool:
    """Return whether one of Nginx's server names, which may have wildcards, matches a name."""
    return any(
        pattern == "_"
        or (pattern.startswith(".") and (name == pattern[1:] or name.endswith(pattern)))
        or (pattern.startswith("*.") and name.endswith(pattern[1:]))
        or (pattern.endswith(".*") and name.startswith(pattern[:-1]))
        or pattern.lower() == name
        for pattern in names
    )


def check_site(layout: Layout, application: str, health: dict, path: str) -> SiteResult:
    """Repeat the health check through Nginx until it passes. Without a site of the application, it passes."""
    site = find_site(path, application, health["host"])
    result = SiteResult(None)
    if site is None:
        return result
    for attempt in range(health["attempts"]):
        if attempt:
            time.sleep(health["interval"])
        result = _request_site(layout, application, health, site)
        if result.failure is None:
            break
    return result


def _request_site(layout: Layout, application: str, health: dict, site: ServedSite) -> SiteResult:
    # A site with TLS may have both schemes. Start with HTTP, which may redirect to HTTPS.
    name, (scheme, port) = site.name, sorted(site.listeners)[0]
    url = f"{scheme}://{_format_authority(name, scheme, port)}{add_script_name(health['path'], layout.env_file)}"
    for _hop in range(MAX_REDIRECTS + 1):
        scheme, port, target = _split_url(url)
        listener = site.listeners[scheme, port]
        answer, location = _send_request(listener, url, name, health)
        if answer in health["status"]:
            return SiteResult(None)
        if answer not in REDIRECTS or not location:
            break
        url = urljoin(url, location)
        name = urlsplit(url).hostname or ""
        # Do not follow redirects to other servers, such as a load balancer with HTTPS.
        if not _matches_name(site.names, name) or _split_url(url)[:2] not in site.listeners:
            return SiteResult(None)
    else:
        return SiteResult(f"GET {url} through Nginx was redirected {MAX_REDIRECTS} times and more")
    if isinstance(answer, int) and answer in RESTRICTED and _is_restricted(listener.server, target):
        return SiteResult(None)
    host = _format_authority(name, scheme, port)
    headers = {**health["headers"], "X-Forwarded-Proto": scheme, "X-Forwarded-Host": host}
    own = send_health_request(layout.socket, target, host, health["timeout"], headers, read_listener_pids(application))
    if own == answer and not site.exact:
        return SiteResult(None)
    expected = " or ".join(str(status) for status in health["status"])
    failure = f"GET {url} through Nginx answered {answer}, expected {expected}"
    if own in health["status"]:
        return SiteResult(
            f"{failure}, although Gunicorn answered {own} over its socket{_format_error_log(listener.server)}"
        )
    return SiteResult(f"{failure}, and Gunicorn answered {own} to Host {host}", True)


def _format_authority(name: str, scheme: str, port: int) -> str:
    return name if port == PORTS[scheme] else f"{name}:{port}"


def _split_url(url: str) -> tuple[str, int, str]:
    """Return the scheme, the port and the request target of a URL. The port is 0 if it is invalid."""
    parts = urlsplit(url)
    try:
        port = parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:
        port = 0
    return parts.scheme, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


class _BoundedTls(BoundedMixin, ssl.SSLSocket):
    """With TLS."""


def _send_request(listener: Listener, url: str, name: str, health: dict) -> tuple[int | str, str]:
    """Return the status of Nginx's response, or the reason for no response, and the Location header.

    Does not verify the certificate, which the doctor examines, and does not read the body.
    The timeout is for the whole request: while Nginx is down, any process may listen on its port.
    """
    scheme, port, target = _split_url(url)
    connection = http.client.HTTPConnection(name, port, timeout=health["timeout"])
    deadline = time.monotonic() + health["timeout"]
    try:
        connection.sock = connect((listener.host, port), deadline)
        if scheme == "https":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.sslsocket_class = _BoundedTls
            tls = cast(_BoundedTls, context.wrap_socket(connection.sock, server_hostname=name))
            tls.deadline = deadline
            connection.sock = tls
        headers = {"Host": _format_authority(name, scheme, port), "User-Agent": "release-health", **health["headers"]}
        connection.request("GET", target, headers={**headers, "Connection": "close"})
        response = connection.getresponse()
        return response.status, response.getheader("Location") or ""
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"nothing ({getattr(error, 'strerror', None) or error or type(error).__name__})", ""
    finally:
        connection.close()


def _is_restricted(server: Server, target: str) -> bool:
    """Return whether directives of the site restrict access to this target."""
    statements = list(server.statements)
    for item in server.statements:
        modifier = item.words[0] if len(item.words) > 1 else ""
        if item.name == "location" and (modifier.startswith("~") or target.startswith(item.words[-1])):
            statements += item.block
    return any(item.name in RESTRICTIONS and item.words != ("off",) for item in statements)


def _format_error_log(server: Server) -> str:
    logs = [log for log in server.error_logs if log.startswith("/")]
    return f" (its log: {logs[-1]})" if logs else ""
