# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Translate the Gunicorn of an adopted service into settings of the roles: its command line and its file."""

from __future__ import annotations

import ast
import os
import re
import shlex
from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._doctor.discovery import parse_exec_start

CALLABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*(:[A-Za-z_][A-Za-z0-9_.]*(\(.*\))?)?$")
# Gunicorn's options without a value, which a WSGI callable may follow.
SWITCHES = ("--preload", "--daemon", "-D", "--reload", "--capture-output", "--no-sendfile", "--reuse-port", "-R")
SHORT = {"-w": "workers", "-k": "worker-class", "-t": "timeout", "-c": "config", "-b": "bind", "-n": "name"}
DEFAULT_FILE = "gunicorn.conf.py"
# Options that are numbers, and the variables that stand for them.
VARIABLES = {
    "workers": "gunicorn_systemd_workers",
    "threads": "gunicorn_systemd_threads",
    "timeout": "gunicorn_systemd_timeout",
    "graceful-timeout": "gunicorn_systemd_graceful_timeout",
    "max-requests": "gunicorn_systemd_max_requests",
    "max-requests-jitter": "gunicorn_systemd_max_requests_jitter",
    "backlog": "gunicorn_systemd_backlog",
}
# Numbers for which only gunicorn_systemd_settings stands, and their names there.
SETTINGS = {
    "keep-alive": "keepalive",
    "keepalive": "keepalive",
    "worker-connections": "worker_connections",
    "limit-request-line": "limit_request_line",
    "limit-request-fields": "limit_request_fields",
    "limit-request-field-size": "limit_request_field_size",
}
LEVELS = ("debug", "info", "warning", "error", "critical")
WORKERS = ("sync", "gthread", "gevent", "eventlet")
# What the units and the role decide, or the plan takes from elsewhere.
DECIDED = {
    *("bind", "config", "wsgi", "chdir", "user", "u", "group", "g", "umask", "m", "pid", "pidfile", "p", "name"),
    *("proc-name", "worker-tmp-dir", "forwarded-allow-ips", "proxy-allow-ips", "capture-output", "reuse-port"),
    *("no-control-socket", "control-socket", "control-socket-disable"),
}


class DirectoryEntry(NamedTuple):
    """The variables, the WSGI callable, and the options that no variable stands for, with the reason."""

    variables: dict[str, object]
    wsgi: str
    left: list[str]


def command(unit: dict[str, str]) -> list[str]:
    """The words of the command that starts Gunicorn, without a shell around it."""
    words = parse_exec_start(unit)
    if len(words) > 2 and os.path.basename(words[0]) in ("sh", "bash", "dash"):
        inner = re.split(r"&&|;|\|\|", words[-1] if " " in words[-1] else " ".join(words[2:]))[-1]
        words = [word for word in shlex.split(inner) if word != "exec"]
    return words


def options(words: list[str]) -> dict[str, str]:
    """What Gunicorn's command line says: long names of options, and `wsgi`."""
    start = next((number for number, word in enumerate(words) if os.path.basename(word) == "gunicorn"), None)
    if start is None:
        return {}
    found: dict[str, str] = {}
    pending = words[start + 1 :]
    while pending:
        word = pending.pop(0)
        if word in SWITCHES:
            found[word.lstrip("-")] = ""
        elif word.startswith("--") and "=" in word:
            name, _separator, value = word[2:].partition("=")
            found[name] = value
        elif word.startswith("-"):
            found[SHORT.get(word, word.lstrip("-"))] = pending.pop(0) if pending else ""
        elif CALLABLE.match(word):
            found["wsgi"] = word if ":" in word else f"{word}:application"
    return found


def configured(text: str) -> tuple[dict[str, str], list[str]]:
    """The plain settings of a configuration file of Gunicorn, and the names of what it computes: nothing is run."""
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
                _set(target.id.replace("wsgi_app", "wsgi").replace("_", "-"), item.value, found, computed)
    return found, computed


def _set(name: str, value: ast.expr | None, found: dict[str, str], computed: list[str]) -> None:
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


def carry_gunicorn(unit: dict[str, str], text: str) -> DirectoryEntry:
    """The settings of a service's Gunicorn. text: its configuration file, as far as it has one."""
    said = options(command(unit))
    settings, computed = configured(text)
    known = {**settings, **said}
    variables: dict[str, object] = {}
    more: dict[str, object] = {}
    left = [f"{name} (computed by its file)" for name in computed if name not in said and name not in DECIDED]
    for name, value in known.items():
        if name in VARIABLES and value.isdigit():
            variables[VARIABLES[name]] = int(value)
        elif name in SETTINGS and value.isdigit():
            more[SETTINGS[name]] = int(value)
        elif name == "worker-class" and value in WORKERS:
            variables["gunicorn_systemd_worker_class"] = value
        elif name in ("log-level", "loglevel") and value.lower() in LEVELS:
            variables["gunicorn_systemd_log_level"] = value.lower()
        elif name not in DECIDED:
            left.append(name)
    if variables.get("gunicorn_systemd_worker_class") == "sync" and variables.get("gunicorn_systemd_threads", 1) != 1:
        # Gunicorn has replaced it by the class that has threads.
        variables["gunicorn_systemd_worker_class"] = "gthread"
    if more:
        variables["gunicorn_systemd_settings"] = more
    return DirectoryEntry(variables, known.get("wsgi", ""), sorted(left))
