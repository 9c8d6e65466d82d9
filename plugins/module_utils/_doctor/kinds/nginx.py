# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings on Nginx and its certificates."""

from __future__ import annotations

from ansible_collections.flaskops.production.plugins.module_utils._doctor.kinds.kind import FindingKind

NGINX = {
    "nginx-missing": FindingKind(
        "note",
        "There is no Nginx on the host",
        "The web server of the site was not examined.",
        "Examine the web server or load balancer of the site.",
    ),
    "nginx-not-running": FindingKind("error", "Nginx does not run", "The site is down.", "systemctl start nginx"),
    "nginx-config-invalid": FindingKind(
        "error",
        "Nginx refuses its configuration",
        "The running configuration stays, no change takes effect, and after a restart Nginx does not start.",
        "nginx -t && systemctl reload nginx  # when the error that nginx -t names is fixed",
    ),
    "nginx-no-site": FindingKind(
        "warning",
        "No site of Nginx uses the application",
        "It runs, but visitors cannot reach it through this Nginx.",
        "Add a server block with proxy_pass to its socket: the role nginx_site does.",
    ),
    "nginx-proxy-mismatch": FindingKind(
        "error",
        "Nginx uses another socket than the application's",
        "Visitors get 502 Bad Gateway.",
        "Set proxy_pass in {path} to http://{listen}",
    ),
    "nginx-duplicate-name": FindingKind(
        "error",
        "Two sites have the same name",
        "Nginx only warns, and silently serves one of them.",
        "systemctl reload nginx  # when the name is removed from one of the files",
    ),
    "nginx-alias-missing": FindingKind(
        "error",
        "Nginx serves files from a missing directory",
        "All of them get 404 Not Found: pages have no styles or pictures.",
        "systemctl reload nginx  # when the path in {file} is corrected",
    ),
    "nginx-alias-traversal": FindingKind(
        "error",
        "A location without a slash exposes files outside of its directory",
        "GET {location}../ reads files beside the directory, such as .env of the application.",
        "systemctl reload nginx  # when the location in {file} ends with a slash: location ^~ {location}/ {{ … }}",
    ),
    "nginx-alias-slash": FindingKind(
        "error",
        "An alias lacks the slash at its end",
        "Nginx appends the rest of the URL without a slash, so every file gets 404 Not Found.",
        "systemctl reload nginx  # when the alias in {file} ends with a slash",
    ),
    "nginx-pins-release": FindingKind(
        "warning",
        "Nginx serves files of one release",
        "After the next deploy these files are outdated, and later removed with the release.",
        "Name shared/static/, or a path through the link to the live release, in {file}.",
    ),
    "nginx-alias-elsewhere": FindingKind(
        "warning",
        "Nginx serves another directory than the application's",
        "Files that are uploaded or collected do not appear on the site.",
        "systemctl reload nginx  # when the alias in {file} is {own}/",
    ),
    "nginx-exposes-tree": FindingKind(
        "error",
        "Nginx serves the application's own files",
        "Any visitor can download source code, settings and data by name.",
        "Serve only static and media directories in {file}.",
    ),
    "nginx-permission-errors": FindingKind(
        "warning",
        "Nginx was refused access",
        "Requests got 403, 404 or 502.",
        "namei -l {path}  # shows the directory or file that Nginx's user cannot enter",
    ),
    "nginx-connections-exhausted": FindingKind(
        "warning",
        "Nginx has run out of connections",
        "Requests failed. A request that waits for the application takes two connections of worker_connections.",
        "systemctl reload nginx  # when nginx.conf has worker_connections 4096 and worker_rlimit_nofile 8192",
    ),
    "certificate-expired": FindingKind(
        "error",
        "A certificate has expired",
        "Browsers refuse the site.",
        "systemctl reload nginx  # when it is renewed",
    ),
    "certificate-expiring": FindingKind(
        "warning",
        "A certificate expires soon",
        "Automatic renewal replaces it a month before, so the renewal probably fails.",
        "systemctl reload nginx  # when it is renewed; the log of the ACME client has the reason",
    ),
    "certificate-unreadable": FindingKind(
        "error",
        "A certificate cannot be read",
        "Nginx does not start with it.",
        "systemctl reload nginx  # when a PEM certificate is in its place",
    ),
}
