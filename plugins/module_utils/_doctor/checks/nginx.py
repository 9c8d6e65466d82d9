# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check Nginx's state, proxies, locations and certificates."""

from __future__ import annotations

import os
import re
import time
from typing import Iterator

from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.finding import Finding, create_finding
from ansible_collections.flaskops.production.plugins.module_utils._files.paths import is_within
from ansible_collections.flaskops.production.plugins.module_utils._nginx.parser import Location, find_conflicts

# The days before its expiry at which a certificate should be renewed.
CERTIFICATE_DAYS = 14


def examine_nginx(facts: Facts) -> Iterator[Finding]:
    """Yield findings on Nginx's state, proxies, locations and certificates."""
    if facts.nginx_state == "missing":
        yield create_finding("nginx-missing", "no program called nginx", "nginx")
        return
    if facts.nginx_state.startswith("invalid"):
        errors = [line for line in facts.nginx_output.splitlines() if "[emerg]" in line or "[alert]" in line]
        yield create_finding(
            "nginx-config-invalid", " ".join(errors or facts.nginx_output.split()), "no error from nginx -t"
        )
    if facts.nginx_state.endswith("masked"):
        yield create_finding("unit-masked", "nginx.service is masked", "a unit that is not masked", unit="nginx")
    elif facts.nginx_state.endswith("stopped"):
        yield create_finding("nginx-not-running", "nginx.service is not active", "active")
    yield from _examine_server_names(facts)
    yield from _examine_proxies(facts)
    for site in facts.sites():
        for location in site.locations:
            if not location.proxy:
                yield from _examine_location(facts, location)
    yield from _examine_certificates(facts)
    if facts.nginx_exhausted:
        found = f"{len(facts.nginx_exhausted)} lines, the last one: {facts.nginx_exhausted[-1]}"
        yield create_finding("nginx-connections-exhausted", found, "two connections for each waiting request")
    if facts.nginx_errors:
        found = f"{len(facts.nginx_errors)} lines, the last one: {facts.nginx_errors[-1]}"
        match = re.search(r'"(/[^"]+)" failed|unix:(/[^:\s]+)', facts.nginx_errors[-1])
        path = (match.group(1) or match.group(2)) if match else facts.root
        yield create_finding("nginx-permission-errors", found, "none", path)


def _examine_server_names(facts: Facts) -> Iterator[Finding]:
    ours = {name.lower() for site in facts.sites() for name in site.names}
    for name, address in dict.fromkeys(find_conflicts(facts.nginx_output)):
        if name.lower() in ours:
            files = [site.file for site in facts.config.servers if name.lower() in map(str.lower, site.names)]
            found = f"'{name}' on {address} in {' and '.join(dict.fromkeys(files))}"
            yield create_finding("nginx-duplicate-name", found, "one site for each name and address", files[0])


def _examine_proxies(facts: Facts) -> Iterator[Finding]:
    if not facts.listen:
        return
    proxies = [(location.proxy, site.file) for site in facts.sites() for location in site.locations if location.proxy]
    if any(proxy == facts.listen for proxy, _file in proxies):
        return
    # A TCP address or another socket in the application's directory was meant for this application.
    mismatched = [
        (proxy, file) for proxy, file in proxies if not proxy.startswith("unix:") or is_within(proxy[5:], facts.root)
    ]
    if mismatched:
        proxy, file = mismatched[0]
        yield create_finding(
            "nginx-proxy-mismatch", f"proxy_pass to {proxy} in {file}", facts.listen, file, listen=facts.listen
        )
    else:
        yield create_finding("nginx-no-site", f"no proxy_pass to {facts.listen}", "a server block with this proxy_pass")


def _examine_location(facts: Facts, location: Location) -> Iterator[Finding]:
    served, alias = location.directory, location.alias
    if not served:
        return
    found = (
        f"location {location.path} {{ {'alias ' + alias if alias else 'root ' + location.root}; }} in {location.file}"
    )
    values = {"file": location.file, "location": location.path}
    if alias.endswith("/") and not location.path.endswith("/"):
        yield create_finding("nginx-alias-traversal", found, f"location {location.path}/", served, **values)
    elif alias and not alias.endswith("/") and location.path.endswith("/") and not os.path.isfile(alias):
        yield create_finding("nginx-alias-slash", found, f"alias {alias}/", served, **values)
    exposed = [facts.root, facts.code, os.path.join(facts.root, "shared"), facts.releases]
    exposed += [
        os.path.dirname(file.lstrip("-")) for file in facts.env_files if is_within(file.lstrip("-"), facts.root)
    ]
    real = os.path.realpath(served)
    if real in [os.path.realpath(item) for item in exposed if item]:
        yield create_finding("nginx-exposes-tree", found, "directories with public files only", served, **values)
    elif not os.path.exists(served):
        yield create_finding("nginx-alias-missing", found, "an existing directory", served, **values)
    elif facts.releases and is_within(served, facts.releases):
        yield create_finding("nginx-pins-release", found, "a path that does not name a release", served, **values)
    elif alias and not is_within(real, facts.root):
        own = os.path.join(facts.root, "shared", os.path.basename(location.path.rstrip("/")))
        if os.path.isdir(own):
            yield create_finding("nginx-alias-elsewhere", found, own, served, own=own, **values)


def _examine_certificates(facts: Facts) -> Iterator[Finding]:
    for item in dict.fromkeys(facts.certificates):
        if item.expires is None:
            if "$" not in item.path:
                found = f"{item.path}: {item.error}"
                yield create_finding("certificate-unreadable", found, "a certificate", item.path)
            continue
        until = time.strftime("%Y-%m-%d", time.gmtime(item.expires))
        days = (item.expires - facts.now) / 86400
        if days < 0:
            yield create_finding("certificate-expired", f"{item.path}: since {until}", "a valid certificate", item.path)
        elif days < CERTIFICATE_DAYS:
            expected = f"at least {CERTIFICATE_DAYS} days"
            yield create_finding("certificate-expiring", f"{item.path}: on {until}", expected, item.path)
