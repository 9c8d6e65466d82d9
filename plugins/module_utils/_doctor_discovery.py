# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which service runs an application, from where, and where it listens. Private to the collection."""

from __future__ import annotations

import os
import re
import shlex

from ansible_collections.flaskops.production.plugins.module_utils._doctor_files import text_of
from ansible_collections.flaskops.production.plugins.module_utils._doctor_system import System

# The links that deployment tools switch, and what a directory with code is called.
CURRENT = ("app", "current", "live")
CODE = (*CURRENT, "src", "code", "source")
SERVERS = re.compile(r"\b(gunicorn|uwsgi|waitress|hypercorn|uvicorn|mod_wsgi)", re.I)


def argv(unit: dict[str, str]) -> list[str]:
    """The command line of a unit's ExecStart."""
    match = re.search(r"argv\[\]=(.*?) ; ", unit.get("ExecStart", "") + " ; ")
    words = match.group(1) if match else ""
    try:
        return shlex.split(words)
    except ValueError:
        return words.split()


def base_of(directory: str) -> str:
    """The application's directory, of the one that a service runs in."""
    parent, name = os.path.split(directory.rstrip("/"))
    if os.path.basename(parent) == "releases":
        return os.path.dirname(parent)
    return parent if name in CODE and parent.count("/") >= 2 else directory.rstrip("/")


def directory_of(unit: dict[str, str]) -> str:
    directory = unit.get("WorkingDirectory", "").lstrip("!-")
    words = argv(unit)
    for position, word in enumerate(words):
        if word == "--chdir" and position + 1 < len(words):
            directory = words[position + 1]
        elif word.startswith("--chdir="):
            directory = word.split("=", 1)[1]
    return directory


def discover(system: System, name: str, root: str) -> tuple[str, str, dict[str, str], list[str]]:
    """The application's name, root and service, as far as they were not given, and what was guessed."""
    guesses: list[str] = []
    root = root.rstrip("/")
    unit = system.show(f"{name}.service") if name else {}
    if not unit or unit.get("LoadState") not in ("loaded", "masked"):
        unit = {}
        names = [key for key, text in system.unit_files().items() if _belongs(key, text, name, root)]
        names = [key for key in names if not key.endswith("-next.service")]
        if names:
            unit = system.show(names[0])
            guesses.append(f"{names[0]} runs it: the unit names {root or name}.")
            if len(names) > 1:
                guesses.append(f"Not looked at: {', '.join(names[1:])}, which name it too.")
    if not root:
        directory = directory_of(unit)
        root = base_of(directory) if directory.startswith("/") else f"/srv/{name}"
        why = f"{unit.get('Id')} runs in {directory}" if directory else "no service says another place"
        guesses.append(f"{root} is its directory: {why}.")
    if not name:
        name = unit.get("Id", "").rsplit(".", 1)[0] or os.path.basename(root)
        guesses.append(f"{name} is its name: that of {'its service' if unit else 'its directory'}.")
    return name, root, unit, guesses


def _belongs(key: str, text: str, name: str, root: str) -> bool:
    if root and names_path(text, root):
        return True
    return bool(name and not root and SERVERS.search(text) and re.search(rf"\b{re.escape(name)}\b", key + text))


def names_path(text: str, path: str) -> bool:
    """Whether a unit names a path, or one below it."""
    return re.search(rf"(?m)^[^#;\n]*{re.escape(path)}(/|\s|$)", text) is not None


def addresses(unit: dict[str, str], socket_unit: dict[str, str], directory: str) -> str:
    """Where the service listens: `unix:/path` or `host:port`; empty when nothing says it."""
    listen = re.search(r"^(\S+) \(Stream\)", socket_unit.get("Listen", ""), re.M)
    if listen:
        return f"unix:{listen.group(1)}" if listen.group(1).startswith("/") else listen.group(1)
    words = argv(unit)
    bind, config = "", ""
    for position, word in enumerate(words):
        value = words[position + 1] if position + 1 < len(words) else ""
        if word in ("-b", "--bind"):
            bind = bind or value
        elif word.startswith(("--bind=", "-b=")):
            bind = bind or word.split("=", 1)[1]
        elif word in ("-c", "--config"):
            config = value
        elif word.startswith("--config="):
            config = word.split("=", 1)[1]
    if not bind and words and SERVERS.search(" ".join(words)):
        path = os.path.join(directory or "/", config or "gunicorn.conf.py")
        match = re.search(r"(?m)^\s*bind\s*=\s*\[?\s*[\"']([^\"']+)[\"']", text_of(path))
        bind = match.group(1) if match else ""
    if bind.startswith("unix:"):
        path = re.sub(r"^unix:(//)?(?=.)", "", bind)
        return "unix:" + os.path.normpath(os.path.join(directory or "/", path))
    return f"127.0.0.1:{bind.rsplit(':', 1)[1]}" if bind.startswith(("0.0.0.0:", "localhost:", ":")) else bind
