# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules between settings. Each yields a sentence for each problem.

A rule reads the settings of the validated roles, which have their types and kinds, and settings of other roles if they
are set.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.flaskops.production.plugins.plugin_utils._settings import specs
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.kinds import ACCOUNT

Settings = Mapping[str, Any]
# Other variables that rules read: the longest time in seconds that Nginx waits for a response, and the playbook's path.
AWAITED = "__gunicorn_systemd_awaited"
CONTEXT = ("playbook_dir", AWAITED)
HOOKS = (
    *("release_before_stage", "release_after_stage", "release_before_activate", "release_after_activate"),
    "release_on_failure",
)
PRELOAD_SECONDS = 31536000


def check_accounts(settings: Settings) -> Iterator[str]:
    # An application's name that is not a user name is reported by the check of flask_app_name.
    name, user, group, owner = (settings[f"flask_app_{key}"] for key in ("name", "user", "group", "owner"))
    if user == "root" or not (user == name or re.fullmatch(ACCOUNT, user)):
        yield f"flask_app_user is '{user}', but must be a user name other than root, such as myapp."
    if group == "root" or not (group in (user, name) or re.fullmatch(ACCOUNT, group)):
        yield f"flask_app_group is '{group}', but must be a group name other than root, such as myapp."
    if owner == user or not re.fullmatch(ACCOUNT, owner):
        yield (
            f"flask_app_owner is '{owner}', but must be a user name other than flask_app_user ('{user}'): the code "
            "must not belong to the user that runs it."
        )


def check_uv_lock(settings: Settings) -> Iterator[str]:
    installer = settings["venv_installer"]
    if installer != "uv" and any(os.path.basename(name) == "uv.lock" for name in settings["venv_requirements"]):
        yield f"venv_requirements has uv.lock, which only uv reads, but venv_installer is '{installer}': set it to uv."


def check_timeouts(settings: Settings) -> Iterator[str]:
    """Check that a deploy waits for all requests that Nginx waits for. Skipped without the role nginx_site."""
    proxy = settings.get("nginx_site_proxy_read_timeout")
    if proxy is None:
        return
    awaited = int(settings[AWAITED])
    timeout, grace = settings["gunicorn_systemd_timeout"], settings["gunicorn_systemd_graceful_timeout"]
    # A timeout above the default is for slow requests, which Nginx must wait for.
    longest = max(30, awaited)
    if timeout > longest:
        yield (
            f"gunicorn_systemd_timeout is {timeout}, but Nginx gives up after {awaited} s "
            f"(nginx_site_proxy_read_timeout is '{proxy}'): set nginx_site_proxy_read_timeout to {timeout}s or more, "
            f"or gunicorn_systemd_timeout to {longest} or less."
        )
    if grace < awaited:
        yield (
            f"gunicorn_systemd_graceful_timeout is {grace}, but Nginx waits {awaited} s for an answer, so that a "
            f"deploy would cut off a longer request: set gunicorn_systemd_graceful_timeout to {awaited} or more, or "
            f"let nginx_site_proxy_read_timeout and those of nginx_site_locations be {grace}s or less."
        )


def describe_writable_paths(settings: Settings, paths: Iterable[str], reader: str, directory: str) -> str:
    """Describe paths opened by root that the application can replace with links, or return an empty string."""
    own = tuple(f"{settings.get('flask_app_root', '')}/{name}/" for name in ("shared", "run"))
    wrong = [path for path in dict.fromkeys(paths) if path.startswith(own)]
    if not wrong:
        return ""
    listed = "', '".join(wrong)
    return (
        f"'{listed}', where the application may write: {reader} as root, and a link there would lead it to any file. "
        f"Name a file in {directory}."
    )


def check_credential_paths(settings: Settings) -> Iterator[str]:
    paths = map(str, settings["gunicorn_systemd_credentials"].values())
    problem = describe_writable_paths(settings, paths, "systemd reads it", "/etc/credstore")
    if problem:
        yield f"gunicorn_systemd_credentials has {problem}"


def check_log_paths(settings: Settings) -> Iterator[str]:
    paths = (settings["nginx_site_access_log"], settings["nginx_site_error_log"])
    problem = describe_writable_paths(settings, paths, "Nginx opens its logs", "/var/log/nginx")
    if problem:
        yield f"nginx_site_access_log or nginx_site_error_log is {problem}"


def check_tls(settings: Settings) -> Iterator[str]:
    certificate, key = settings["nginx_site_tls_certificate"], settings["nginx_site_tls_certificate_key"]
    port = settings["nginx_site_listen"]
    if bool(certificate) != bool(key):
        yield (
            f"nginx_site_tls_certificate is '{certificate}' and nginx_site_tls_certificate_key is '{key}', but TLS "
            "needs both, and HTTP needs neither."
        )
    if certificate and port == settings["nginx_site_tls_listen"]:
        yield (
            f"nginx_site_listen and nginx_site_tls_listen are both {port}, but must differ: the first redirects to the "
            "second."
        )
    if settings["nginx_site_tls_stapling"] and not certificate:
        yield (
            "nginx_site_tls_stapling is true, but needs nginx_site_tls_certificate: without TLS there is nothing "
            "to staple."
        )


def check_hsts(settings: Settings) -> Iterator[str]:
    age, subdomains = settings["nginx_site_hsts_max_age"], settings["nginx_site_hsts_include_subdomains"]
    if age > 0 and not settings["nginx_site_tls_certificate"] and not settings["nginx_site_real_ip_from"]:
        yield (
            f"nginx_site_hsts_max_age is {age}, but this site has no TLS: set nginx_site_tls_certificate, or "
            "nginx_site_real_ip_from where a load balancer has it, or leave it at 0."
        )
    if settings["nginx_site_hsts_preload"] and not (subdomains and age >= PRELOAD_SECONDS):
        yield (
            "nginx_site_hsts_preload is true, but browsers' lists only take a name with "
            f"nginx_site_hsts_include_subdomains (it is {str(subdomains).lower()}) and nginx_site_hsts_max_age of at "
            f"least {PRELOAD_SECONDS} (it is {age})."
        )


def check_urls(settings: Settings) -> Iterator[str]:
    """Check that each URL is served in one way."""
    urls = Counter(
        [
            *(settings[f"nginx_site_{kind}_url"] for kind in ("static", "media") if settings[f"nginx_site_{kind}_url"]),
            *settings["nginx_site_websocket_urls"],
            *settings["nginx_site_long_poll_urls"],
            *(location["path"] for location in settings["nginx_site_locations"]),
        ]
    )
    repeated = [f"'{url}'" for url, count in urls.items() if count > 1]
    if repeated:
        yield (
            f"{', '.join(repeated)} is more than once among nginx_site_static_url, nginx_site_media_url, "
            "nginx_site_websocket_urls, nginx_site_long_poll_urls and the paths of nginx_site_locations, but a URL is "
            "served in one way only."
        )


def check_pull(settings: Settings) -> Iterator[str]:
    if settings["release_transfer"] != "pull":
        return
    directory = settings["release_pull_directory"]
    if not settings["release_pull_url"]:
        yield (
            "release_pull_url is not set, but release_transfer is 'pull': set it to the URL from which the hosts fetch "
            "the archive, such as https://releases.example.org/."
        )
    if directory and not (directory.startswith("/") and os.path.isdir(directory)):
        yield (
            f"release_pull_directory is '{directory}', but must be the absolute path of an existing directory on the "
            "controller, such as /srv/www/releases, or empty."
        )


def check_hooks(settings: Settings) -> Iterator[str]:
    playbooks, here = os.path.realpath(specs.ROLES.parent / "playbooks"), str(settings.get("playbook_dir", ""))
    for name in HOOKS:
        missing = [path for path in settings[name] if path.startswith("/") and not os.path.exists(path)]
        if missing:
            inside = here and os.path.realpath(here) == playbooks and any(here in path for path in missing)
            advice = (
                "Here playbook_dir is the directory of this collection: use inventory_dir."
                if inside
                else "Correct the path."
            )
            listed = "', '".join(missing)
            yield f"{name} has '{listed}', but there is no such file on the controller. {advice}"


def check_rollback_target(settings: Settings) -> Iterator[str]:
    target = settings["release_rollback_to"]
    if target and settings["release_rollback_rollout"]:
        yield (
            f"release_rollback_to is '{target}' and release_rollback_rollout is true, but only one of them can name "
            "the releases to roll back to."
        )


RULES: dict[str, tuple[Callable[[Settings], Iterator[str]], ...]] = {
    "flask_app": (check_accounts,),
    "venv": (check_uv_lock,),
    "gunicorn_systemd": (check_timeouts, check_credential_paths),
    "nginx_site": (check_tls, check_hsts, check_urls, check_log_paths),
    "release": (check_pull, check_hooks, check_rollback_target),
}
