# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the places where an old deployment writes, and the texts that name them.

The environment and the code may name data by paths that do not exist after the adoption. What is written beside the
code, or outside of the deployment, is found by these names, by open files, and by what has changed since the start.
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
    is_within,
    load_text,
    read_node,
)
from ansible_collections.flaskops.production.plugins.module_utils._doctor.names import UPLOADS

CODE = re.compile(r"\.(py|pyc|pyi|so|html?|jinja2?|j2|js|css|cfg|toml|ini|ya?ml|po|mo)$")
# A directory without code that has so many files holds data.
LARGE = 2000
# Texts of the code that may name paths, and how long they may be.
TEXTS = re.compile(r"\.(py|cfg|toml|ini|ya?ml|json|conf)$")
TEXT_BYTES = 1 << 20
# Of the code, but no part of the application: they name the deployment that they make.
TOOLS = {"fabfile.py", "setup.py", "conftest.py"}
# Variables that name no data: the units set them anew.
PASSED_OVER = {"PATH", "HOME", "PWD", "SHELL", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH"}
NAME = r"[\w@%+=.~-]"
NAMED = re.compile(r"(?:(?<![\w.~-])/+(?![./])|(?:(?<![\w.~/-])|(?<=:///))(?:\.\./)+)[\w@%+=.~/-]+")
# What is no data of an application, and what every service may write to.
SYSTEM = ("/dev", "/proc", "/sys", "/run", "/tmp", "/var/tmp", "/usr", "/etc", "/bin", "/lib", "/sbin", "/boot")
# What the units hide.
HIDDEN = ("/home", "/root", "/run/user")


class Contents:
    """What is below each directory of a tree."""

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

    def largest(self) -> str:
        """The deepest directory that has most of the files."""
        most = max(self.files.values(), default=0)
        return max((path for path, count in self.files.items() if 2 * count > most), key=len, default="")


class Surroundings(NamedTuple):
    """What is around the code: texts and processes that tell where it writes."""

    # The environment as NAME=value, one on each line.
    environment: str = ""
    # Files that the service has open for writing, and where its unit and Gunicorn log.
    opened: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    # Other units that name the deployment, and whether they run: by themselves or by a timer.
    units: tuple[tuple[str, bool], ...] = ()
    # Everything beside the code.
    beside: tuple[Node, ...] = ()
    # Paths and units that the operator leaves as they are.
    leave: tuple[str, ...] = ()

    def leaves(self, path: str) -> bool:
        return any(is_within(path, left) for left in self.leave)


def named_paths(text: str, code: str) -> list[tuple[str, str]]:
    """The paths that the values of an environment have, each with the variable's name. A relative one starts at ../."""
    found = []
    for name, value in ASSIGNMENT.findall(text):
        for path in NAMED.findall(value) if name not in PASSED_OVER else ():
            # normpath keeps two slashes at the beginning.
            plain = os.path.normpath(os.path.join(code, re.sub(r"^/+", "/", path)))
            found.append((name, plain))
    return list(dict.fromkeys(found))


def written(facts: Facts, tree: Iterable[Node], around: Surroundings) -> list[str]:
    """The files of a tree that the service has written to since it started, or has open."""
    opened = set(around.opened)
    user = facts.runtime_user
    return [
        item.path
        for item in tree
        if item.kind == "file"
        and item.path not in around.logs
        and not (item.path.endswith((".pid", ".pyc")) or CODE.search(item.path) or BESIDE.search(item.path))
        and (
            item.path in opened
            or bool(user and facts.started and item.modified > facts.started and item.uid == user.uid)
        )
    ]


def data_beside(facts: Facts, around: Surroundings) -> dict[str, str]:
    """What beside the code is data, as far as it can be seen, and why."""
    found = {}
    for item in around.beside:
        name = os.path.basename(item.path)
        if item.kind == "directory" and (name in UPLOADS or name == "instance"):
            if any(other.kind == "file" and is_within(other.path, item.path) for other in around.beside):
                found[item.path] = "its name"
        elif item.kind == "file" and is_database_at(item.path):
            found[item.path] = "an SQLite database"
    for path in written(facts, around.beside, around):
        found.setdefault(path, "it has been written to since the service started")
    return found


def is_outside(path: str) -> bool:
    """Whether a path outside of a deployment may hold its data."""
    return not any(is_within(path, top) for top in SYSTEM) or any(is_within(path, top) for top in HIDDEN)


def writable_outside(facts: Facts, path: str, sure: bool) -> str:
    """The directory outside of the deployment that the service writes to; empty where it does not.

    sure: it is known to write there. Otherwise its user has to be allowed to, which says nothing of root.
    """
    item = read_node(path) or read_node(os.path.dirname(path))
    if item is None or item.kind not in ("file", "directory") or not is_outside(path) or facts.runtime_user is None:
        return ""
    if not sure and (not facts.runtime_user.uid or not has_permission(facts.runtime_user, item, 2)):
        return ""
    return item.path if item.kind == "directory" else os.path.dirname(item.path)


def rewrite(text: str, pairs: Iterable[tuple[str, str]], code: str) -> str:
    """The values of an environment with new paths in place of old ones, also of those that begin with ../."""
    new = dict(pairs)
    for old, path in list(new.items()):
        relative = os.path.relpath(old, code)
        if relative.startswith("../"):
            new.setdefault(relative, path)
    names = "|".join(re.escape(name) for name in sorted(new, key=len, reverse=True))
    # An absolute path may follow the slashes of a URL, a relative one only exactly three of them.
    pattern = rf"(?:(?<![\w.~/-])|(?<=:///)|(?<![\w.~-])(?=/))({names})(?![\w.~-])"
    return re.sub(pattern, lambda match: new[match.group(1)], text) if names else text


class Mention(NamedTuple):
    """A line of the code that names a path of the old deployment."""

    file: str
    line: int
    path: str


def mentions(files: Iterable[str], tops: list[str]) -> Iterator[Mention]:
    """Lines of the code that name the old deployment by its absolute path. Comments do not count."""
    names = "|".join(re.escape(top) for top in sorted(tops, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w.~-])(?:{names})(?![\w.~-])(?:/{NAME}+)*")
    for file in files:
        for number, line in enumerate(load_text(file).splitlines(), 1):
            if not line.lstrip().startswith(("#", ";")):
                for path in pattern.findall(line):
                    yield Mention(file, number, path)


def texts_of(tree: Iterable[Node]) -> list[str]:
    """The files of the code that may name paths."""
    found = []
    for item in tree:
        name = os.path.basename(item.path)
        if item.kind == "file" and TEXTS.search(name) and name not in TOOLS and not name.startswith("gunicorn"):
            with contextlib.suppress(OSError):
                if os.lstat(item.path).st_size <= TEXT_BYTES:
                    found.append(item.path)
    return found
