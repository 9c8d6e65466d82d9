# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the paths that an old deployment writes to, and the texts that name them.

The environment and the code may name data by paths that do not exist after the adoption. Data beside the code, or
outside of the deployment, is found by these names, by open files, and by files modified since the service started.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import Iterable, Iterator, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._adoption.sources import BESIDE, is_database_at
from ansible_collections.flaskops.production.plugins.module_utils._core.secrets import ASSIGNMENT
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import (
    Node,
    has_permission,
    load_text,
    read_node,
)
from ansible_collections.flaskops.production.plugins.module_utils._doctor.names import UPLOADS
from ansible_collections.flaskops.production.plugins.module_utils._files.paths import is_within

CODE = re.compile(r"\.(py|pyc|pyi|so|html?|jinja2?|j2|js|css|cfg|toml|ini|ya?ml|po|mo)$")
# A directory without code that has so many files holds data.
LARGE = 2000
# Files of the code that may name paths, and their maximum size in bytes.
TEXTS = re.compile(r"\.(py|cfg|toml|ini|ya?ml|json|conf)$")
TEXT_BYTES = 1 << 20
# Files in the code that are not part of the application. They may name the old deployment.
TOOLS = {"fabfile.py", "setup.py", "conftest.py"}
# Variables that name no data. The units set them.
IGNORED_VARIABLES = {"PATH", "HOME", "PWD", "SHELL", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH"}
NAME = r"[\w@%+=.~-]"
NAMED = re.compile(r"(?:(?<![\w.~-])/+(?![./])|(?:(?<![\w.~/-])|(?<=:///))(?:\.\./)+)[\w@%+=.~/-]+")
# Directories without data of an application, and those that every service may write to.
SYSTEM = ("/dev", "/proc", "/sys", "/run", "/tmp", "/var/tmp", "/usr", "/etc", "/bin", "/lib", "/sbin", "/boot")
# Directories that the units hide.
HIDDEN = ("/home", "/root", "/run/user")


class Contents:
    """The directories of a tree with Python code, with any code and with databases, and their numbers of files."""

    def __init__(self, tree: Iterable[Node], top: str) -> None:
        self.python: set[str] = set()
        self.code: set[str] = set()
        self.databases: set[str] = set()
        self.files: dict[str, int] = {}
        for item in tree:
            if item.kind != "file":
                continue
            name, here = os.path.basename(item.path), os.path.dirname(item.path)
            if is_database_at(item.path):
                self.databases.add(here)
            is_python, is_code = name.endswith(".py"), CODE.search(name) is not None
            while is_within(here, top):
                self.files[here] = self.files.get(here, 0) + 1
                if is_python:
                    self.python.add(here)
                if is_code:
                    self.code.add(here)
                here = os.path.dirname(here)

    def find_largest(self) -> str:
        """Return the deepest directory with more than half of the files."""
        most = max(self.files.values(), default=0)
        return max((path for path, count in self.files.items() if 2 * count > most), key=len, default="")


class Surroundings(NamedTuple):
    """The environment, open files and logs of a service, other services, and the files beside its code."""

    # The environment as NAME=value, one per line.
    environment: str = ""
    # Files that the service has open for writing, and the log files of its unit and Gunicorn.
    opened: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    # Other units that name the deployment, each with whether it runs or will be started.
    units: tuple[tuple[str, bool], ...] = ()
    # All files beside the code.
    beside: tuple[Node, ...] = ()
    # Paths and units that the user leaves unchanged (adopt_leave).
    leave: tuple[str, ...] = ()

    def is_left(self, path: str) -> bool:
        return any(is_within(path, left) for left in self.leave)


def find_named_paths(text: str, code: str) -> list[tuple[str, str]]:
    """Return the variable and the path for each path in an environment. Relative paths must start with ../."""
    found = []
    for name, value in ASSIGNMENT.findall(text):
        for path in NAMED.findall(value) if name not in IGNORED_VARIABLES else ():
            # normpath keeps two leading slashes.
            plain = os.path.normpath(os.path.join(code, re.sub(r"^/+", "/", path)))
            found.append((name, plain))
    return list(dict.fromkeys(found))


def find_written_files(facts: Facts, tree: Iterable[Node], surroundings: Surroundings) -> list[str]:
    """Return the files of a tree that the service has written to since it started, or has open."""
    opened = set(surroundings.opened)
    user = facts.runtime_user
    return [
        item.path
        for item in tree
        if item.kind == "file"
        and item.path not in surroundings.logs
        and not (item.path.endswith((".pid", ".pyc")) or CODE.search(item.path) or BESIDE.search(item.path))
        and (
            item.path in opened
            or bool(user and facts.started and item.modified > facts.started and item.uid == user.uid)
        )
    ]


def find_data_beside(facts: Facts, surroundings: Surroundings) -> dict[str, str]:
    """Return the data beside the code, with the reason. Detected are uploads, databases and written files."""
    found = {}
    for item in surroundings.beside:
        name = os.path.basename(item.path)
        if item.kind == "directory" and (name in UPLOADS or name == "instance"):
            if any(other.kind == "file" and is_within(other.path, item.path) for other in surroundings.beside):
                found[item.path] = "its name"
        elif item.kind == "file" and is_database_at(item.path):
            found[item.path] = "an SQLite database"
    for path in find_written_files(facts, surroundings.beside, surroundings):
        found.setdefault(path, "it has been written to since the service started")
    return found


def is_outside(path: str) -> bool:
    """Return whether a path outside of a deployment may hold its data."""
    return not any(is_within(path, top) for top in SYSTEM) or any(is_within(path, top) for top in HIDDEN)


def find_writable_outside(facts: Facts, path: str, known: bool) -> str:
    """Return the directory outside of the deployment that the service writes to, or an empty string.

    `known` means that the service writes there. Otherwise, its user must be allowed to write, and must not be root.
    """
    item = read_node(path) or read_node(os.path.dirname(path))
    if item is None or item.kind not in ("file", "directory") or not is_outside(path) or facts.runtime_user is None:
        return ""
    if not known and (not facts.runtime_user.uid or not has_permission(facts.runtime_user, item, 2)):
        return ""
    return item.path if item.kind == "directory" else os.path.dirname(item.path)


def replace_paths(text: str, pairs: Iterable[tuple[str, str]], code: str) -> str:
    """Replace old paths by new ones in the values of an environment, including relative paths that start with ../."""
    new = dict(pairs)
    for old, path in list(new.items()):
        relative = os.path.relpath(old, code)
        if relative.startswith("../"):
            new.setdefault(relative, path)
    names = "|".join(re.escape(name) for name in sorted(new, key=len, reverse=True))
    # An absolute path may follow the slashes of a URL. A relative path may only follow exactly three slashes.
    pattern = rf"(?:(?<![\w.~/-])|(?<=:///)|(?<![\w.~-])(?=/))({names})(?![\w.~-])"
    return re.sub(pattern, lambda match: new[match.group(1)], text) if names else text


class Mention(NamedTuple):
    """A line of the code that names a path of the old deployment."""

    file: str
    line: int
    path: str


def find_mentions(files: Iterable[str], tops: list[str]) -> Iterator[Mention]:
    """Yield the lines of files that name the old deployment by its absolute path. Comments do not count."""
    names = "|".join(re.escape(top) for top in sorted(tops, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w.~-])(?:{names})(?![\w.~-])(?:/{NAME}+)*")
    for file in files:
        for number, line in enumerate(load_text(file).splitlines(), 1):
            if not line.lstrip().startswith(("#", ";")):
                for path in pattern.findall(line):
                    yield Mention(file, number, path)


def list_texts(tree: Iterable[Node]) -> list[str]:
    """Return the files of the code that may name paths."""
    found = []
    for item in tree:
        name = os.path.basename(item.path)
        if item.kind == "file" and TEXTS.search(name) and name not in TOOLS and not name.startswith("gunicorn"):
            with contextlib.suppress(OSError):
                if os.lstat(item.path).st_size <= TEXT_BYTES:
                    found.append(item.path)
    return found
