# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Translate the command line and the configuration file of an adopted Gunicorn into settings of the roles."""

from __future__ import annotations

import ast
import os
import re
import shlex
from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._doctor.discovery import parse_exec_start

CALLABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*(:[A-Za-z_][A-Za-z0-9_.]*(\(.*\))?)?$")
# Gunicorn's options without a value.
FLAGS = ("--preload", "--daemon", "-D", "--reload", "--capture-output", "--no-sendfile", "--reuse-port", "-R")
SHORT = {"-w": "workers", "-k": "worker-class", "-t": "timeout", "-c": "config", "-b": "bind", "-n": "name"}
DEFAULT_FILE = "gunicorn.conf.py"
# Numeric options with a variable of their own.
VARIABLES = {
    "workers": "gunicorn_systemd_workers",
    "threads": "gunicorn_systemd_threads",
    "timeout": "gunicorn_systemd_timeout",
    "graceful-timeout": "gunicorn_systemd_graceful_timeout",
    "max-requests": "gunicorn_systemd_max_requests",
    "max-requests-jitter": "gunicorn_systemd_max_requests_jitter",
    "backlog": "gunicorn_systemd_backlog",
}
# Numeric options without a variable of their own, and their names in gunicorn_systemd_settings.
SETTINGS = {
    "keep-alive": "keepalive",
    "keepalive": "keepalive",
    "worker-connections": "worker_connections",
    "limit-request-line": "limit_request_line",
    "limit-request-fields": "limit_request_fields",
    "limit-request-field-size": "limit_request_field_size",
}
# Options that name files which Gunicorn writes.
LOG_OPTIONS = ("access-logfile", "error-logfile", "log-file", "pid")
LEVELS = ("debug", "info", "warning", "error", "critical")
WORKERS = ("sync", "gthread", "gevent", "eventlet")
# Options that the units and the role set, or that the plan derives from other sources.
OWN_OPTIONS = {
    *("bind", "config", "wsgi", "chdir", "user", "u", "group", "g", "umask", "m", "pid", "pidfile", "p", "name"),
    *("proc-name", "worker-tmp-dir", "forwarded-allow-ips", "proxy-allow-ips", "capture-output", "reuse-port"),
    *("no-control-socket", "control-socket", "control-socket-disable"),
}


class GunicornSettings(NamedTuple):
    """The variables, the WSGI callable, and the options without a variable."""

    variables: dict[str, object]
    wsgi: str
    left: list[str]


def parse_command(unit: dict[str, str]) -> list[str]:
    """Return the words of the command that starts Gunicorn, without a shell around it."""
    words = parse_exec_start(unit)
    if len(words) > 2 and os.path.basename(words[0]) in ("sh", "bash", "dash"):
        inner = re.split(r"&&|;|\|\|", words[-1] if " " in words[-1] else " ".join(words[2:]))[-1]
        words = [word for word in shlex.split(inner) if word != "exec"]
    return words


def parse_options(words: list[str]) -> dict[str, str]:
    """Return the options of Gunicorn's command line by their long names. The WSGI callable has the name `wsgi`."""
    start = next((number for number, word in enumerate(words) if os.path.basename(word) == "gunicorn"), None)
    if start is None:
        return {}
    found: dict[str, str] = {}
    pending = words[start + 1 :]
    while pending:
        word = pending.pop(0)
        if word in FLAGS:
            found[word.lstrip("-")] = ""
        elif word.startswith("--") and "=" in word:
            name, _separator, value = word[2:].partition("=")
            found[name] = value
        elif word.startswith("-"):
            found[SHORT.get(word, word.lstrip("-"))] = pending.pop(0) if pending else ""
        elif CALLABLE.match(word):
            found["wsgi"] = word if ":" in word else f"{word}:application"
    return found


def list_log_files(unit: dict[str, str]) -> list[str]:
    """Return the files that Gunicorn itself writes: its logs and its PID file, relative to its working directory."""
    found = parse_options(parse_command(unit))
    return [found[name] for name in LOG_OPTIONS if found.get(name)]


def find_config_file(unit: dict[str, str]) -> str:
    """Return the configuration file of Gunicorn, relative to its working directory. It may be missing."""
    return parse_options(parse_command(unit)).get("config", "") or DEFAULT_FILE


def parse_config(text: str) -> tuple[dict[str, str], list[str]]:
    """Parse a configuration file of Gunicorn without running it.

    Return the settings with constant values, and the names of those with computed values.
    """
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError):
        return {}, ["the whole file, which is not Python of this host's version"]
    found: dict[str, str] = {}
    computed: list[str] = []
    for item in statements:
        if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)) and not item.name.startswith("_"):
            computed.append(item.name)
        elif isinstance(item, (ast.Assign, ast.AnnAssign)):
            targets = item.targets if isinstance(item, ast.Assign) else [item.target]
            for target in (target for target in targets if isinstance(target, ast.Name)):
                _parse_setting(target.id.replace("wsgi_app", "wsgi").replace("_", "-"), item.value, found, computed)
    return found, computed


def _parse_setting(name: str, value: ast.expr | None, found: dict[str, str], computed: list[str]) -> None:
    try:
        literal = ast.literal_eval(value) if value is not None else None
    except ValueError:
        computed.append(name)
        return
    if isinstance(literal, (str, int, float)) and not isinstance(literal, bool):
        found[name] = str(literal)
    elif literal is True:
        found[name] = ""
    elif literal not in (None, False):
        computed.append(name)


def read_gunicorn_settings(unit: dict[str, str], text: str) -> GunicornSettings:
    """Return the settings for a service's unit and the text of its configuration file, which may be empty."""
    from_command = parse_options(parse_command(unit))
    from_file, computed = parse_config(text)
    known = {**from_file, **from_command}
    variables: dict[str, object] = {}
    more: dict[str, object] = {}
    left = [
        f"{name} (computed by its file)" for name in computed if name not in from_command and name not in OWN_OPTIONS
    ]
    for name, value in known.items():
        if name in VARIABLES and value.isdigit():
            variables[VARIABLES[name]] = int(value)
        elif name in SETTINGS and value.isdigit():
            more[SETTINGS[name]] = int(value)
        elif name == "worker-class" and value in WORKERS:
            variables["gunicorn_systemd_worker_class"] = value
        elif name in ("log-level", "loglevel") and value.lower() in LEVELS:
            variables["gunicorn_systemd_log_level"] = value.lower()
        elif name not in OWN_OPTIONS:
            left.append(name)
    if variables.get("gunicorn_systemd_worker_class") == "sync" and variables.get("gunicorn_systemd_threads", 1) != 1:
        # Gunicorn has replaced it by the class that has threads.
        variables["gunicorn_systemd_worker_class"] = "gthread"
    if more:
        variables["gunicorn_systemd_settings"] = more
    return GunicornSettings(variables, known.get("wsgi", ""), sorted(left))
