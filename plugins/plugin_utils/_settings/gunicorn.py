# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a mapping of Gunicorn's settings."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
# The settings of Gunicorn 21 to 27 that have a value: gunicorn.config.KNOWN_SETTINGS without hooks, which are
# functions, and without settings of the command line.
KNOWN_NAMES = """
    access_log_format accesslog asgi_disconnect_grace_period asgi_lifespan asgi_loop backlog bind ca_certs
    capture_output casefold_http_method cert_reqs certfile chdir ciphers control_socket control_socket_disable
    control_socket_mode daemon default_proc_name dirty_apps dirty_graceful_timeout dirty_threads dirty_timeout
    dirty_workers disable_redirect_access_to_syslog do_handshake_on_connect dogstatsd_tags enable_backlog_metric
    enable_stdio_inheritance errorlog forwarded_allow_ips forwarder_headers graceful_timeout group header_map
    http2_cleartext http2_initial_window_size http2_max_concurrent_streams http2_max_frame_size
    http2_max_header_list_size http_parser http_protocols initgroups keepalive keyfile limit_request_field_size
    limit_request_fields limit_request_line logconfig logconfig_dict logconfig_json logger_class loglevel
    max_requests max_requests_jitter paste permit_obsolete_folding permit_unconventional_http_method
    permit_unconventional_http_version pidfile preload_app proc_name protocol proxy_allow_ips proxy_protocol
    pythonpath raw_env raw_paste_global_conf reload reload_engine reload_extra_files reuse_port root_path
    secure_scheme_headers sendfile spew ssl_version statsd_host statsd_prefix strip_header_spaces
    suppress_ragged_eofs syslog syslog_addr syslog_facility syslog_prefix threads timeout tmp_upload_dir
    tolerate_dangerous_framing umask user uwsgi_allow_ips websocket_max_message_size worker_class
    worker_connections worker_tmp_dir workers wsgi_app
"""
# Settings that must be functions, which YAML cannot express.
HOOK_NAMES = """
    child_exit dirty_post_fork dirty_worker_exit dirty_worker_init nworkers_changed on_dirty_starting on_exit
    on_reload on_starting post_fork post_request post_worker_init pre_exec pre_fork pre_request ssl_context
    when_ready worker_abort worker_exit worker_int
"""
KNOWN = frozenset(KNOWN_NAMES.split())
HOOKS = frozenset(HOOK_NAMES.split())
# Options of the command line whose names differ from their settings.
COMMAND_LINE_NAMES = {
    "access_logfile": "accesslog",
    "access_logformat": "access_log_format",
    "env": "raw_env",
    "error_logfile": "errorlog",
    "log_config": "logconfig",
    "log_file": "errorlog",
    "log_level": "loglevel",
    "log_syslog": "syslog",
    "log_syslog_facility": "syslog_facility",
    "log_syslog_prefix": "syslog_prefix",
    "log_syslog_to": "syslog_addr",
    "name": "proc_name",
    "paster": "paste",
    "pid": "pidfile",
    "preload": "preload_app",
}


# Settings that the units set, because other values would break the handover.
SET_BY_UNITS = frozenset(
    [
        "bind",
        "chdir",
        "child_exit",
        "daemon",
        "group",
        "pidfile",
        "post_worker_init",
        "preload_app",
        "reload",
        "umask",
        "user",
        "when_ready",
        "worker_exit",
        "wsgi_app",
    ]
)
# Settings that have a variable of the role.
SET_BY_VARIABLES = {
    "access_log_format": "gunicorn_systemd_access_log_format",
    "accesslog": "gunicorn_systemd_access_log",
    "backlog": "gunicorn_systemd_backlog",
    "errorlog": "gunicorn_systemd_log_files",
    "graceful_timeout": "gunicorn_systemd_graceful_timeout",
    "loglevel": "gunicorn_systemd_log_level",
    "max_requests": "gunicorn_systemd_max_requests",
    "max_requests_jitter": "gunicorn_systemd_max_requests_jitter",
    "threads": "gunicorn_systemd_threads",
    "timeout": "gunicorn_systemd_timeout",
    "worker_class": "gunicorn_systemd_worker_class",
    "workers": "gunicorn_systemd_workers",
}


def check_gunicorn_settings(settings: object, variable: str) -> list[str]:
    """Return a sentence for each problem. The sentences name settings, but not their values."""
    if not isinstance(settings, Mapping):
        return [f"{variable} is '{settings}', but must be a mapping of settings to values."]
    names, errors = list(settings), []
    found = [name for name in names if name in SET_BY_UNITS]
    if found:
        errors.append(
            f"{variable} has {', '.join(found)}, which the units decide: remove {', '.join(sorted(SET_BY_UNITS))}."
        )
    found = [name for name in names if name in SET_BY_VARIABLES]
    if found:
        use = ", ".join(SET_BY_VARIABLES[name] for name in found)
        errors.append(f"{variable} has {', '.join(found)}, which has its own variable: use {use}.")
    unknown = [name for name in names if name not in KNOWN | SET_BY_UNITS and name not in SET_BY_VARIABLES]
    errors += [_describe_unknown(name, variable) for name in unknown]
    # Health checks read the environment file.
    raw = settings.get("raw_env") or []
    if any(str(item).startswith("SCRIPT_NAME=") for item in ([raw] if isinstance(raw, str) else raw)):
        errors.append(
            f"{variable}.raw_env has SCRIPT_NAME: set it in flask_app_env, where the health check finds it, too."
        )
    return errors


def _describe_unknown(name: object, variable: str) -> str:
    if not isinstance(name, str) or not NAME.match(name.replace("-", "_")):
        return f"{variable} has '{name}', but names of Gunicorn's settings have lower-case letters, digits and '_'."
    if name in HOOKS:
        return f"{variable} has {name}, which must be a function in Gunicorn's configuration file: remove it."
    similar = _find_similar(name)
    if not similar:
        return f"{variable} has {name}, which is not a setting of Gunicorn and would be ignored: remove it."
    return f"{variable} has {name}, but Gunicorn's setting is {similar}: use {SET_BY_VARIABLES.get(similar, similar)}."


def _find_similar(name: str) -> str:
    """Return the setting with a similar name, or an empty string."""
    plain = name.replace("-", "_")
    if plain in KNOWN or plain in COMMAND_LINE_NAMES:
        return COMMAND_LINE_NAMES.get(plain, plain)
    joined = {setting.replace("_", ""): setting for setting in KNOWN}
    near = difflib.get_close_matches(plain.replace("_", ""), sorted(joined), n=1, cutoff=0.85)
    return joined[near[0]] if near else ""
