# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the service of an application, its directory and its addresses."""

from __future__ import annotations

import os
import re
import shlex

from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import load_text
from ansible_collections.flaskops.production.plugins.module_utils._doctor.system import HostSystem

# Names of links to the live release in common deployment tools, and names of directories with code.
LIVE_NAMES = ("app", "current", "live")
CODE_NAMES = (*LIVE_NAMES, "src", "code", "source")
SERVERS = re.compile(r"\b(gunicorn|uwsgi|waitress|hypercorn|uvicorn|mod_wsgi)", re.I)


def parse_exec_start(unit: dict[str, str]) -> list[str]:
    """Return the command line of a unit's ExecStart."""
    match = re.search(r"argv\[\]=(.*?) ; ", unit.get("ExecStart", "") + " ; ")
    words = match.group(1) if match else ""
    try:
        return shlex.split(words)
    except ValueError:
        return words.split()


def find_root(directory: str) -> str:
    """Return the application's directory for a service's working directory."""
    parent, name = os.path.split(directory.rstrip("/"))
    if os.path.basename(parent) == "releases":
        return os.path.dirname(parent)
    return parent if name in CODE_NAMES and parent.count("/") >= 2 else directory.rstrip("/")


def find_working_directory(unit: dict[str, str]) -> str:
    """Return the directory in which the service runs its server, which --chdir may change."""
    directory = unit.get("WorkingDirectory", "").lstrip("!-")
    words = parse_exec_start(unit)
    for position, word in enumerate(words):
        if word == "--chdir" and position + 1 < len(words):
            directory = words[position + 1]
        elif word.startswith("--chdir="):
            directory = word.split("=", 1)[1]
    return directory


def detect_application(system: HostSystem, name: str, root: str) -> tuple[str, str, dict[str, str], list[str]]:
    """Return the application's name, directory and unit, and the guesses made for those that were not given."""
    guesses: list[str] = []
    root = root.rstrip("/")
    unit = system.read_unit(f"{name}.service") if name else {}
    if not unit or unit.get("LoadState") not in ("loaded", "masked"):
        unit = {}
        names = [key for key, text in system.read_service_files().items() if _names_application(key, text, name, root)]
        names = [key for key in names if not key.endswith("-next.service")]
        if names:
            unit = system.read_unit(names[0])
            guesses.append(f"{names[0]} is its service: the unit names {root or name}.")
            if len(names) > 1:
                guesses.append(f"Not examined: {', '.join(names[1:])}. Their units name it too.")
    if not root:
        directory = find_working_directory(unit)
        root = find_root(directory) if directory.startswith("/") else f"/srv/{name}"
        reason = f"{unit.get('Id')} runs in {directory}" if directory else "no service names another one"
        guesses.append(f"{root} is its directory: {reason}.")
    if not name:
        name = unit.get("Id", "").rsplit(".", 1)[0] or os.path.basename(root)
        guesses.append(f"{name} is its name: {'its service' if unit else 'its directory'} has this name.")
    return name, root, unit, guesses


def _names_application(key: str, text: str, name: str, root: str) -> bool:
    if root and names_path(text, root):
        return True
    return bool(name and not root and SERVERS.search(text) and re.search(rf"\b{re.escape(name)}\b", key + text))


def names_path(text: str, path: str) -> bool:
    """Return whether a unit names a path or a path below it."""
    return re.search(rf"(?m)^[^#;\n]*{re.escape(path)}(/|\s|$)", text) is not None


def find_listen_address(unit: dict[str, str], socket_unit: dict[str, str], directory: str) -> str:
    """Return the address of the service: `unix:/path` or `host:port`; empty if it is unknown."""
    listen = re.search(r"^(\S+) \(Stream\)", socket_unit.get("Listen", ""), re.M)
    if listen:
        return f"unix:{listen.group(1)}" if listen.group(1).startswith("/") else listen.group(1)
    words = parse_exec_start(unit)
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
        match = re.search(r"(?m)^\s*bind\s*=\s*\[?\s*[\"']([^\"']+)[\"']", load_text(path))
        bind = match.group(1) if match else ""
    if bind.startswith("unix:"):
        path = re.sub(r"^unix:(//)?(?=.)", "", bind)
        return "unix:" + os.path.normpath(os.path.join(directory or "/", path))
    return f"127.0.0.1:{bind.rsplit(':', 1)[1]}" if bind.startswith(("0.0.0.0:", "localhost:", ":")) else bind
