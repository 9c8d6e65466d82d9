# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kind of each setting, beside its type in the argument specification."""

from __future__ import annotations

import dataclasses

from ansible_collections.flaskops.production.plugins.plugin_utils._settings.checks import (
    SANDBOX,
    check_app_environment,
    check_credentials,
    check_headers,
    check_locations,
    check_name,
    check_root,
)
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.environment import check_environment
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.gunicorn import check_gunicorn_settings
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.kinds import (
    ABSOLUTE,
    ACCOUNT,
    ADDRESSES,
    ANY,
    BATCHES,
    BY_RULE,
    DURATION,
    FILE,
    GROUP,
    HOST_NAME,
    IS_UNIT_PATH,
    LINE,
    LOG,
    NETWORKS,
    NOT_NEGATIVE,
    PORT,
    RELATIVE,
    SECONDS,
    SIZE,
    STATUSES,
    TASK_FILES,
    URL,
    WHOLE,
    WITH_SOURCE,
    CustomKind,
    Kind,
    ListKind,
    at_least,
    hide_credentials,
    hide_url_secrets,
    matches,
    served_url,
    url_paths,
)
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.systemd import (
    check_systemd_drop_in,
    check_systemd_settings,
)

SETTING_KINDS: dict[str, Kind | CustomKind] = {
    # flask_app
    "flask_app_name": CustomKind(check_name),
    "flask_app_root": CustomKind(check_root),
    "flask_app_user": BY_RULE,
    "flask_app_group": BY_RULE,
    "flask_app_owner": BY_RULE,
    "flask_app_web_group": Kind(matches(ACCOUNT), "the name of the group that Nginx runs as, such as www-data"),
    "flask_app_wsgi": Kind(
        matches(r"[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_.]*([(][^\n]*[)])?"),
        "module:callable or module:factory(), such as wsgi:app or flaskr:create_app()",
    ),
    "flask_app_env": CustomKind(check_app_environment),
    # venv
    "venv_python": Kind(
        matches(rf"python3([.][0-9]+)?|{ABSOLUTE}"),
        "python3, a versioned name such as python3.12, or the absolute path of an interpreter",
    ),
    "venv_requirements": ListKind(
        matches(f"{RELATIVE}|{ABSOLUTE}"),
        "hold names below venv_source without '..', such as requirements/production.txt, or absolute paths",
    ),
    "venv_packages": ListKind(
        matches(r"[^-\s][^\n]*"),
        "hold requirements such as gunicorn>=24.1.1, without options before the name",
        hide_credentials("(://)[^/@]+@"),
    ),
    "venv_index_url": Kind(
        matches(URL),
        "the URL of a package index, such as https://pypi.example.org/simple",
        hide_credentials("(://)?[^/@]+@"),
    ).or_empty(),
    "venv_extra_index_urls": ListKind(
        matches(URL),
        "hold URLs of package indexes, such as https://pypi.example.org/simple",
        hide_credentials("(://)?[^/@]+@"),
    ),
    "venv_find_links": ListKind(
        matches(f"{RELATIVE}|{ABSOLUTE}|{URL}"),
        "hold directories, absolute or below venv_source without '..', or URLs",
        hide_credentials("(://)[^/@]+@"),
    ),
    "venv_uv": Kind(matches(ABSOLUTE), "the absolute path of uv on the host").or_empty(),
    "venv_environment": CustomKind(check_environment),
    "venv_timeout": SECONDS,
    "venv_source": Kind(matches(ABSOLUTE), "the absolute path of a directory on the host"),
    "venv_link": Kind(matches(ABSOLUTE), "the absolute path of a link on the host, such as /srv/myapp/venv"),
    # gunicorn_systemd
    "gunicorn_systemd_workers": WHOLE,
    "gunicorn_systemd_threads": WHOLE,
    "gunicorn_systemd_worker_class": Kind(
        matches("[A-Za-z_][A-Za-z0-9_.]*"), "the name of a WSGI worker of Gunicorn, such as gthread, sync or gevent"
    ),
    "gunicorn_systemd_timeout": SECONDS,
    "gunicorn_systemd_graceful_timeout": SECONDS,
    "gunicorn_systemd_start_timeout": SECONDS,
    "gunicorn_systemd_max_requests": NOT_NEGATIVE,
    "gunicorn_systemd_max_requests_jitter": NOT_NEGATIVE,
    "gunicorn_systemd_backlog": WHOLE,
    "gunicorn_systemd_socket_group": GROUP.with_example("www-data"),
    "gunicorn_systemd_log_rotations": WHOLE,
    "gunicorn_systemd_access_log_format": LINE,
    "gunicorn_systemd_settings": CustomKind(check_gunicorn_settings),
    "gunicorn_systemd_hardening": CustomKind(lambda value, name: check_systemd_settings(value, name, SANDBOX)),
    "gunicorn_systemd_read_write_paths": ListKind(
        IS_UNIT_PATH, "hold absolute paths without spaces, ':' or '%', such as /var/lib/myapp"
    ),
    "gunicorn_systemd_credentials": CustomKind(check_credentials),
    "gunicorn_systemd_memory_max": Kind(
        matches("[0-9]+[KMGT]?|[0-9]+([.][0-9]+)?%|infinity"),
        "a size such as 512M, a share of the memory such as 40%, infinity",
    ).or_empty(),
    "gunicorn_systemd_tasks_max": Kind(matches("[0-9]+%?|infinity"), "a number such as 256, infinity").or_empty(),
    "gunicorn_systemd_limit_nofile": Kind(
        matches("[0-9]+(:[0-9]+)?|infinity"), "a number such as 65536, infinity"
    ).or_empty(),
    "gunicorn_systemd_cpu_quota": Kind(
        matches("[0-9]+([.][0-9]+)?%"), "a share of one processor such as 50% or 200%"
    ).or_empty(),
    "gunicorn_systemd_unit_overrides": CustomKind(check_systemd_drop_in),
    # nginx_site
    "nginx_site_server_name": Kind(
        matches(f"{HOST_NAME}( {HOST_NAME})*"),
        "host names separated by single spaces, such as 'example.org www.example.org', or '_' for every name",
    ),
    "nginx_site_listen": PORT,
    "nginx_site_tls_listen": PORT,
    "nginx_site_tls_certificate": FILE.or_empty(),
    "nginx_site_tls_certificate_key": FILE.or_empty(),
    "nginx_site_tls_trusted_certificate": FILE.or_empty(),
    "nginx_site_tls_resolver": ADDRESSES,
    "nginx_site_acme_webroot": dataclasses.replace(
        FILE, accepted="the absolute path of a directory on the host, without a slash at its end, such as /var/www/acme"
    ).or_empty(),
    "nginx_site_hsts_max_age": at_least(0, "a number of seconds, such as 63072000, or 0 for no such header"),
    "nginx_site_real_ip_from": NETWORKS,
    "nginx_site_real_ip_header": Kind(
        matches("[A-Za-z][A-Za-z0-9-]*"), "the name of a header, of letters, digits and -, such as X-Forwarded-For"
    ),
    "nginx_site_client_max_body_size": SIZE.with_example("16m"),
    "nginx_site_client_header_timeout": DURATION.with_example("15s"),
    "nginx_site_client_body_timeout": DURATION.with_example("30s"),
    "nginx_site_large_client_header_buffers": Kind(
        matches("[1-9][0-9]* [1-9][0-9]*[kK]?"), "a number of buffers, a space and the size of each, such as '4 8k'"
    ),
    "nginx_site_proxy_connect_timeout": DURATION.with_example("5s"),
    "nginx_site_proxy_read_timeout": DURATION.with_example("60s"),
    "nginx_site_proxy_send_timeout": DURATION.with_example("60s"),
    "nginx_site_proxy_buffer_size": Kind(
        matches("[1-9][0-9]*[kK]?"), "a number of bytes above 0, or a number followed by k, such as 16k"
    ),
    "nginx_site_backlog": at_least(0, "a number of requests, or 0 for no warning"),
    "nginx_site_rate_limit": Kind(
        matches("[1-9][0-9]*r/[sm]"), "a number of requests per second or minute, such as 10r/s or 300r/m"
    ).or_empty(),
    "nginx_site_rate_limit_burst": at_least(0, "a number of requests of at least 0"),
    "nginx_site_static_url": served_url("/static/"),
    "nginx_site_media_url": served_url("/media/"),
    "nginx_site_static_expires": Kind(
        matches("0|off|max|[1-9][0-9]*(s|m|h|d|w|M|y)?"),
        "0, off, max, or a number followed by s, m, h, d, w, M or y, such as 30d",
    ),
    # The value is written in quotes, so it must not contain one, and must not end with a backslash.
    "nginx_site_static_immutable": Kind(
        matches(r'([^"\\\s]|\\[^"\s])+'),
        "a regular expression without quotation marks and white space, such as [.-][0-9a-f]{8,}[.]",
    ).or_empty(),
    "nginx_site_gzip_types": ListKind(matches("[a-z]+/[a-z0-9.+*-]+"), "be a list of media types, such as text/css"),
    "nginx_site_websocket_urls": url_paths("/ws", "/live/"),
    "nginx_site_websocket_timeout": DURATION.with_example("1h"),
    "nginx_site_long_poll_urls": url_paths("/events", "/poll/"),
    "nginx_site_long_poll_timeout": DURATION.with_example("5m"),
    "nginx_site_locations": CustomKind(check_locations),
    "nginx_site_access_log": Kind(lambda value: value == "off" or LOG.accepts(value), f"{LOG.accepted}, or off"),
    "nginx_site_error_log": LOG,
    "nginx_site_unlogged_urls": url_paths("/health", "/status/"),
    "nginx_site_extra": ANY,
    "nginx_site_extra_http": ANY,
    # release
    **dict.fromkeys(
        (
            *("release_directory", "release_archive", "release_archive_checksum", "release_archive_signature"),
            *("release_archive_minisign_key", "release_archive_gpg_keyring", "release_git_repo", "release_git_ref"),
            *("release_git_gpg_keyring", "release_git_allowed_signers", "release_strip_components"),
            *("release_subdirectory", "release_exclude", "release_name"),
            *("release_shared_paths", "release_static_paths"),
        ),
        WITH_SOURCE,
    ),
    "release_pull_url": Kind(
        matches(r"https?://[^\s?#]+"),
        "an http or https URL without a query, such as https://releases.example.org/",
        hide_url_secrets,
    ).or_empty(),
    "release_pull_directory": BY_RULE,
    "release_build_command": ANY,
    "release_build_timeout": SECONDS,
    "release_migrate_command": ANY,
    "release_health_path": Kind(matches("/[!-~]*"), "a path that starts with '/', without spaces, such as /health"),
    "release_health_status": STATUSES,
    "release_health_host": Kind(matches("[A-Za-z0-9.:_-]+"), "a host name, such as www.example.org"),
    "release_health_headers": CustomKind(check_headers),
    "release_health_attempts": WHOLE,
    "release_health_interval": at_least(0, "a number of seconds of at least 0"),
    "release_health_timeout": Kind(lambda value: value > 0, "a number of seconds above 0"),
    "release_activation_timeout": at_least(
        0, "a whole number of seconds, or 0 for as long as the timeouts of the units and of the health check allow"
    ),
    "release_keep": WHOLE,
    "release_before_stage": TASK_FILES,
    "release_after_stage": TASK_FILES,
    "release_before_activate": TASK_FILES,
    "release_after_activate": TASK_FILES,
    "release_on_failure": TASK_FILES,
    "release_rollback_to": Kind(
        matches("[A-Za-z0-9][A-Za-z0-9._-]{0,63}"), "the name of a release, as status.yml shows it"
    ).or_empty(),
    # The playbooks
    "flask_app_serial": BATCHES,
    "flask_app_max_fail_percentage": Kind(
        matches("100|[0-9]{1,2}([.][0-9]+)?"),
        "a number from 0 to 100: the share of the hosts that may fail or be out of reach without ending the rollout",
    ),
    "adopt_from": Kind(
        lambda value: value.startswith("/") and "/../" not in f"{value}/",
        "the absolute path of a directory on the host, without '..', such as /home/ada/shop",
    ),
    "adopt_unit": Kind(
        matches("[A-Za-z0-9][A-Za-z0-9:_.@-]*"), "the name of a systemd service, such as shop or shop.service"
    ),
    "adopt_leave": ListKind(
        matches(r"/(?!.*/[.][.](/|$)).*|[A-Za-z0-9][A-Za-z0-9:_.@-]*[.]service"),
        "have absolute paths on the host, without '..', and names of services with '.service', such as "
        "/home/ada/shop/backups and shop-worker.service",
    ),
}
