# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Derive settings of the role nginx_site from the old sites of the application."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import (
    ACME_CHALLENGE,
    AdoptionPlan,
    PlanRequest,
)
from ansible_collections.flaskops.production.plugins.module_utils._doctor.finding import format_paths
from ansible_collections.flaskops.production.plugins.module_utils._files.paths import is_within
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import open_directory_safely
from ansible_collections.flaskops.production.plugins.module_utils._nginx.parser import Location, Server

# Directives that the role nginx_site writes by itself, or that the derived settings represent.
UNDERSTOOD = {
    *("listen", "server_name", "location", "root", "index", "client_max_body_size", "access_log", "error_log"),
    *("ssl_certificate", "ssl_certificate_key", "ssl_protocols", "ssl_ciphers", "ssl_prefer_server_ciphers"),
    *("ssl_session_cache", "ssl_session_timeout", "ssl_session_tickets", "ssl_dhparam", "http2", "server_tokens"),
    *("proxy_pass", "proxy_set_header", "proxy_redirect", "proxy_http_version", "proxy_buffering", "charset"),
    *("gzip", "gzip_types", "gzip_vary", "gzip_min_length", "keepalive_timeout", "return", "if"),
    *("proxy_read_timeout", "proxy_connect_timeout", "proxy_send_timeout", "client_body_timeout"),
}
# Directives with a setting of the same name, and the values that these settings accept.
TIMEOUTS = ("proxy_read_timeout", "proxy_connect_timeout", "proxy_send_timeout", "client_body_timeout")
DURATION = re.compile(r"[1-9][0-9]*(ms|s|m|h)?$")
# Files in a served directory that are source code. Nginx no longer serves them.
CODE_FILE = re.compile(r"\.(py|pyc|php|cfg|toml|ini)$")


def plan_site(request: PlanRequest, plan: AdoptionPlan) -> None:
    """Add the settings that match the sites that proxy to the old service, and report what they lack."""
    facts = request.facts
    own = [site for site in facts.sites() if proxies_to(site, facts.listen)]
    plan.sites = list(dict.fromkeys(site.file for site in own))
    for file in plan.sites:
        if not _is_owned_by_root(file):
            plan.obstacles.append(
                f"{file}, a site of Nginx, can be replaced by another user than root: move it to /etc/nginx."
            )
    others = [site for site in facts.config.servers if site.file in plan.sites and site not in own]
    foreign = [site for site in others if _serves_files_or_proxies(site) and site not in facts.sites()]
    if foreign:
        names = " ".join(name for site in foreign for name in site.names) or "a site without a name"
        plan.obstacles.append(f"{foreign[0].file} also has {names}: move that to a file of its own first.")
    sites = own + others
    _plan_addresses(sites, plan)
    certificates = [(site.certificates[0], site.keys[0]) for site in sites if site.certificates and site.keys]
    if certificates:
        certificate, key = certificates[0]
        plan.variables.update(nginx_site_tls_certificate=certificate, nginx_site_tls_certificate_key=key)
    sizes = [site.body_size for site in own if site.body_size]
    if sizes:
        plan.variables["nginx_site_client_max_body_size"] = sizes[0]
    _plan_timeouts(own, plan)
    LocationPlanner(request, plan).plan_locations(sites)
    unknown = sorted({item.name for site in sites for item in site.statements} - UNDERSTOOD)
    if unknown and "nginx_site_extra" not in request.given:
        plan.attention.append(
            f"Not adopted from {' and '.join(plan.sites)}: {', '.join(unknown)}. Use nginx_site_extra for it."
        )


def proxies_to(site: Server, address: str) -> bool:
    return any(location.proxy and location.proxy == address for location in site.locations)


def _is_owned_by_root(path: str) -> bool:
    """Return whether only root can replace the file at a path."""
    directory = os.path.dirname(os.path.realpath(path))
    try:
        open_directory_safely(directory, links=False).close()
        return os.stat(directory).st_uid in (0, os.geteuid())
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _serves_files_or_proxies(site: Server) -> bool:
    """Return whether a server block does more than redirect and answer ACME challenges."""
    rest = [location for location in site.locations if not location.path.startswith(ACME_CHALLENGE)]
    return any(location.proxy or location.directory for location in rest)


def _plan_timeouts(sites: list[Server], plan: AdoptionPlan) -> None:
    """Add the timeouts that apply to all requests that a site proxies."""
    for site in sites:
        proxying = [
            item
            for item in site.statements
            if item.name == "location" and any(inner.name == "proxy_pass" for inner in item.block)
        ]
        inside = [inner for item in proxying if item.words[-1] == "/" for inner in item.block]
        for item in [*site.statements, *inside]:
            if item.name not in TIMEOUTS or not item.words:
                continue
            if not DURATION.match(item.words[0]):
                plan.attention.append(f"{item.name} {item.words[0]} in {site.file} is not adopted.")
            elif item.name == "proxy_read_timeout" and _parse_duration(item.words[0]) < _get_worker_timeout(plan):
                plan.attention.append(
                    f"{item.name} {item.words[0]} in {site.file} is shorter than Gunicorn's timeout: Nginx will wait "
                    "as long as Gunicorn."
                )
            else:
                plan.variables[f"nginx_site_{item.name}"] = item.words[0]


def _parse_duration(text: str) -> float:
    """Return the seconds of a duration that DURATION matches."""
    number = text.rstrip("msh")
    return int(number) * {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600}[text[len(number) :]]


def _get_worker_timeout(plan: AdoptionPlan) -> int:
    timeout = plan.variables.get("gunicorn_systemd_timeout")
    return timeout if isinstance(timeout, int) else 0


def _plan_addresses(sites: list[Server], plan: AdoptionPlan) -> None:
    """Add server names, ports, and whether the site is the default server."""
    names = list(dict.fromkeys(name for site in sites for name in site.names if name not in ("", "_")))
    catches_all = any(not site.names or "_" in site.names for site in sites)
    addresses = [address for site in sites for address in site.listens]
    plain: list[int] = []
    tls: list[int] = []
    default = False
    for address, options in (pair for site in sites for pair in zip(site.listens, site.options)):
        port = re.search(r"(?:^|:)([0-9]+)$", address)
        (tls if "ssl" in options else plain).append(int(port.group(1)) if port else 80)
        default = default or "default_server" in options
    http_port = (plain or [80])[0]
    plan.variables["nginx_site_server_name"] = " ".join(names) or "_"
    plan.variables["nginx_site_default_server"] = default or (catches_all and not names)
    plan.variables["nginx_site_listen"] = http_port
    if tls:
        plan.variables["nginx_site_tls_listen"] = tls[0]
    more = sorted({*plain[1:], *tls[1:]} - {http_port, *tls[:1]})
    if more:
        plan.attention.append(f"The site also listens on {', '.join(map(str, more))}, which is not adopted.")
    bound = {address for address in addresses if re.match(r"[0-9]+\.|\[[^]:]*:[^]]*[0-9a-f]", address)}
    if bound:
        plan.attention.append(f"The site listened on {', '.join(sorted(bound))} only, and will on all addresses.")
    plan.variables["nginx_site_ipv6"] = any("[" in address for address in addresses)


class ServedDirectory(NamedTuple):
    """A location that serves files, with its URL and its directory."""

    location: Location
    url: str
    directory: str


class LocationPlanner:
    """Derive the URLs of static files, uploads and further directories from the locations of the old sites."""

    def __init__(self, request: PlanRequest, plan: AdoptionPlan) -> None:
        self.request, self.plan = request, plan
        self.code, self.given = request.facts.code, request.given
        self.static = self.media = ""
        self.more: list[dict[str, str]] = []
        # Directories that are served at /, before a request is proxied.
        self.public: dict[Location, str] = {}

    def plan_locations(self, sites: list[Server]) -> None:
        for location in (location for site in sites for location in site.locations):
            self._plan_location(location)
        for location, directory in self.public.items():
            below = os.path.join(directory, "static")
            if not self.static and not self._is_media_below_static() and self._is_in_code(below):
                self._set_static("/static/", below)
            self._plan_public(location, directory)
        variables = self.plan.variables
        variables["nginx_site_static_url"] = self.static or ("" if self._is_media_below_static() else "/static/")
        variables["nginx_site_media_url"] = self.media
        if self.more:
            variables["nginx_site_locations"] = self.more

    def _is_media_below_static(self) -> bool:
        return self.media.startswith("/static")

    def _is_in_code(self, directory: str) -> bool:
        return os.path.isdir(directory) and is_within(directory, self.code)

    def _set_static(self, url: str, directory: str) -> None:
        self.static = url
        self.plan.variables["release_static_paths"] = [os.path.relpath(directory, self.code)]

    def _plan_location(self, location: Location) -> None:
        directory = os.path.realpath(location.directory) if location.directory else ""
        if location.path.startswith(ACME_CHALLENGE):
            webroot = location.root or location.alias.rstrip("/")[: -len(ACME_CHALLENGE)]
            if webroot:
                self.plan.variables["nginx_site_acme_webroot"] = webroot.rstrip("/")
        elif location.proxy:
            self._report_proxy(location)
        elif location.path == "/":
            if directory and os.path.isdir(directory):
                self.public[location] = directory
        elif not directory:
            self.plan.attention.append(f"location {location.path} in {location.file} is not adopted.")
        else:
            self._plan_directory(ServedDirectory(location, location.path.rstrip("/") + "/", directory))

    def _report_proxy(self, location: Location) -> None:
        if location.proxy != self.request.facts.listen:
            if "nginx_site_extra" not in self.given:
                self.plan.obstacles.append(
                    f"location {location.path} in {location.file} proxies to {location.proxy}: add it to "
                    "nginx_site_extra."
                )
        elif location.path != "/" and not location.path.startswith("@"):
            self.plan.attention.append(f"location {location.path} in {location.file} becomes part of the whole site.")

    def _plan_directory(self, served: ServedDirectory) -> None:
        shared, (location, url, directory) = self.request.shared, served
        move = self.plan.find_move(directory)
        if move and move.target == "media" or directory == os.path.join(shared, "media"):
            self.media = self.media or url
        elif move:
            self._add(url, os.path.join(shared, move.target))
        elif directory == os.path.join(shared, "static"):
            self.static = self.static or url
        elif not is_within(directory, self.code):
            self._add(url, location.directory)
            self.plan.attention.append(
                f"Nginx continues to serve {url} from {location.directory}, which is not copied."
            )
        elif not self.static and not self.plan.includes(directory):
            self._set_static(url, directory)
        elif not (self.static and url.startswith(self.static)):
            self._add(url, os.path.join(self.request.root, "app", os.path.relpath(directory, self.code)))

    def _add(self, url: str, directory: str) -> None:
        self.more.append({"path": url, "directory": directory})

    def _plan_public(self, location: Location, directory: str) -> None:
        """Serve the files of a directory at / that the old site served before it proxied (root with try_files)."""
        inside = is_within(directory, self.code)
        new = os.path.join(self.request.root, "app", os.path.relpath(directory, self.code))
        new = new if inside else location.directory
        urls = [url for url in [self.static, self.media, *(item["path"] for item in self.more)] if url]
        files = []
        for name in sorted(os.listdir(directory)):
            path, url = os.path.join(directory, name), f"/{name}/"
            if name.startswith(".") or any(url.startswith(other) or other.startswith(url) for other in urls):
                continue
            if os.path.isdir(path):
                move = self.plan.find_move(os.path.realpath(path))
                self._add(url, os.path.join(self.request.shared, move.target) if move else os.path.join(new, name))
            elif re.fullmatch(r"[\w.@+-]+", name) and not CODE_FILE.search(name):
                files.append(name)
        if files:
            self._plan_public_files(location, directory, new, files)
        if not inside:
            self.plan.attention.append(
                f"Nginx continues to serve files from {location.directory}, which is not copied."
            )

    def _plan_public_files(self, location: Location, directory: str, new: str, files: list[str]) -> None:
        if "nginx_site_extra" in self.given:
            self.plan.attention.append(
                f"{location.file} serves {format_paths([f'/{name}' for name in files])} from {directory}. These "
                "requests will be proxied to the application; nginx_site_extra can have locations for them."
            )
        else:
            self.plan.variables["nginx_site_extra"] = "".join(
                f"location = /{name} {{ root {new}; disable_symlinks on from={new}; }}\n" for name in files
            )
