# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last check of an activation: a request for the site, through Nginx, as a visitor sends it. Private."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import ssl
import time
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from ansible_collections.flaskops.production.plugins.module_utils._nginx import Directive, Server, config, parse
from ansible_collections.flaskops.production.plugins.module_utils._ownership import writer
from ansible_collections.flaskops.production.plugins.module_utils._releases import Home
from ansible_collections.flaskops.production.plugins.module_utils._service import (
    Bounded,
    ask,
    connect,
    listeners,
    mounted_path,
)

# How many redirects a visitor follows on this host.
HOPS = 5
REDIRECTS = (301, 302, 303, 307, 308)
PORTS = {"http": 80, "https": 443}
# Where a site has one of these, it is the site that answers with one of those.
RESTRICTIONS = ("auth_basic", "auth_request", "deny", "limit_conn", "limit_req", "ssl_verify_client")
RESTRICTED = (400, 401, 403, 429)

_LISTEN = re.compile(r"(?:(?P<host>\[[^\]]*\]|[^:\[\]]+):)?(?P<port>[0-9]+)")
_ANY = {None: "127.0.0.1", "*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "::1"}


class Door(NamedTuple):
    """Where a server of the site listens, as this host connects to it."""

    host: str
    server: Server


class Site(NamedTuple):
    """The site of an application: its names, the one that a visitor asks for, and its doors, by scheme and port."""

    name: str
    exact: bool  # whether that name is the site's own, and none that a wildcard stands for
    names: tuple[str, ...]
    doors: dict[tuple[str, int], Door]


class Visit(NamedTuple):
    """What a visitor saw: why it is wrong, None when it is right, and whether the release itself answers so."""

    fault: str | None
    by_release: bool = False


def find_site(path: str, application: str, host: str) -> Site | None:
    """The site that Nginx reads from a file; None where this collection did not write one for the application.

    host: the Host header of the health check, which is the visitor's, too, where the site has that name.
    """
    with contextlib.suppress(OSError):
        if writer(os.path.realpath(path)) == application:
            with open(path, encoding="utf-8", errors="replace") as file:
                return read_site(file.read(), host)
    return None


def read_site(text: str, host: str) -> Site | None:
    """The site as its file describes it; None where nobody on this host can connect to it."""
    doors: dict[tuple[str, int], Door] = {}
    found: list[str] = []
    for server in config((Directive("http", (), parse(text), ""),)).servers:
        found += server.names
        for listen, options in zip(server.listens, server.options):
            match = _LISTEN.fullmatch(listen)
            if listen.startswith("unix:"):
                continue
            address, port = (match["host"], int(match["port"])) if match else (listen, PORTS["http"])
            scheme = "https" if "ssl" in options else "http"
            doors.setdefault((scheme, port), Door(_ANY.get(address, (address or "").strip("[]")), server))
    if not doors:
        return None
    names = tuple(found) or ("_",)
    bare = re.sub(r":[0-9]+$", "", host).lower()
    if _is_of(names, bare):
        return Site(bare, True, names, doors)
    exact = [name for name in names if "*" not in name and not name.startswith(".")]
    return Site(exact[0] if exact else names[0].replace("*", "www").strip("."), bool(exact), names, doors)


def _is_of(names: tuple[str, ...], name: str) -> bool:
    """Whether one of these, as server_name of Nginx has them, is or stands for a name."""
    return any(
        pattern == "_"
        or (pattern.startswith(".") and (name == pattern[1:] or name.endswith(pattern)))
        or (pattern.startswith("*.") and name.endswith(pattern[1:]))
        or (pattern.endswith(".*") and name.startswith(pattern[:-1]))
        or pattern.lower() == name
        for pattern in names
    )


def visit(home: Home, application: str, health: dict, path: str) -> Visit:
    """Ask for the site of this file until the answer is right, as the health check says; right where there is none."""
    site = find_site(path, application, health["host"])
    seen = Visit(None)
    for attempt in range(health["attempts"] if site else 0):
        if attempt:
            time.sleep(health["interval"])
        seen = _visit_once(home, application, health, site)
        if seen.fault is None:
            break
    return seen


def _visit_once(home: Home, application: str, health: dict, site: Site) -> Visit:
    # A site with TLS has both, and a visitor may come to the one that redirects to the other.
    name, (scheme, port) = site.name, sorted(site.doors)[0]
    url = f"{scheme}://{_authority(name, scheme, port)}{mounted_path(health['path'], home.env_file)}"
    for _hop in range(HOPS + 1):
        scheme, port, target = _parts(url)
        door = site.doors[scheme, port]
        answer, location = _get(door, url, name, health)
        if answer in health["status"]:
            return Visit(None)
        if answer not in REDIRECTS or not location:
            break
        url = urljoin(url, location)
        name = urlsplit(url).hostname or ""
        # What this host does not serve, such as the HTTPS of a load balancer, cannot be asked for here.
        if not _is_of(site.names, name) or _parts(url)[:2] not in site.doors:
            return Visit(None)
    else:
        return Visit(f"GET {url} through Nginx was redirected {HOPS} times and more")
    if isinstance(answer, int) and answer in RESTRICTED and _is_restricted(door.server, target):
        return Visit(None)
    host = _authority(name, scheme, port)
    headers = {**health["headers"], "X-Forwarded-Proto": scheme, "X-Forwarded-Host": host}
    own = ask(home.socket, target, host, health["timeout"], headers, listeners(application))
    if own == answer and not site.exact:
        return Visit(None)
    expected = " or ".join(str(status) for status in health["status"])
    fault = f"GET {url} through Nginx answered {answer}, expected {expected}"
    if own in health["status"]:
        return Visit(f"{fault}, although Gunicorn answered {own} over its socket{_log_of(door.server)}")
    return Visit(f"{fault}, and Gunicorn answered {own} to Host {host}", True)


def _authority(name: str, scheme: str, port: int) -> str:
    return name if port == PORTS[scheme] else f"{name}:{port}"


def _parts(url: str) -> tuple[str, int, str]:
    """The scheme, the port and the request's target of a URL; port 0 where it has one that is none."""
    parts = urlsplit(url)
    try:
        port = parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:
        port = 0
    return parts.scheme, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


class _BoundedTls(Bounded, ssl.SSLSocket):
    """With TLS."""


def _get(door: Door, url: str, name: str, health: dict) -> tuple[int | str, str]:
    """The status that Nginx answers, or why it does not answer, and where it redirects to.

    The certificate is not verified: whether it is valid for the name is for the doctor to tell. Of the body nothing is
    read: the check over the socket has. The timeout is for all of it: while Nginx is down, anybody may have its port.
    """
    scheme, port, target = _parts(url)
    connection = http.client.HTTPConnection(name, port, timeout=health["timeout"])
    deadline = time.monotonic() + health["timeout"]
    try:
        connection.sock = connect((door.host, port), deadline)
        if scheme == "https":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.sslsocket_class = _BoundedTls
            connection.sock = context.wrap_socket(connection.sock, server_hostname=name)
            connection.sock.deadline = deadline
        headers = {"Host": _authority(name, scheme, port), "User-Agent": "release-health", **health["headers"]}
        connection.request("GET", target, headers={**headers, "Connection": "close"})
        response = connection.getresponse()
        return response.status, response.getheader("Location") or ""
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"nothing ({getattr(error, 'strerror', None) or error or type(error).__name__})", ""
    finally:
        connection.close()


def _is_restricted(server: Server, target: str) -> bool:
    """Whether the site itself keeps some visitors from this path, of whom this host may be one."""
    statements = list(server.statements)
    for item in server.statements:
        modifier = item.words[0] if len(item.words) > 1 else ""
        if item.name == "location" and (modifier.startswith("~") or target.startswith(item.words[-1])):
            statements += item.block
    return any(item.name in RESTRICTIONS and item.words != ("off",) for item in statements)


def _log_of(server: Server) -> str:
    logs = [log for log in server.error_logs if log.startswith("/")]
    return f" (its log: {logs[-1]})" if logs else ""
