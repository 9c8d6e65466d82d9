# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of all settings, and names that are meant to be one of them."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path

ROLES = Path(__file__).parents[3] / "roles"
# What the playbooks read themselves, before a role is there.
OF_PLAYBOOKS = frozenset(
    {
        "adopt_from",
        "adopt_leave",
        "adopt_unit",
        "doctor_fail_on",
        "doctor_html",
        "doctor_json",
        "doctor_recent",
        "flask_app_hosts",
        "flask_app_max_fail_percentage",
        "flask_app_only",
        "flask_app_serial",
        "flask_apps",
        "status_json",
    }
)
# What hooks are told, and what the roles record about a host.
TO_READ = frozenset(
    {"release_facts", "release_live", "release_ends", "release_resolved", "release_statuses", "venv_build"}
)
# The options of an entry point stand at this depth of an argument specification, and derived variables at none.
OPTION = re.compile(r"^      ([a-z][a-z0-9_]*):$", re.MULTILINE)
DERIVED = re.compile(r"^([a-z][a-z0-9_]*):", re.MULTILINE)
# Names that are counted through are deliberate.
COUNTED = re.compile(r"_?[0-9]+\Z")
# A short name is near to many words.
SHORT = 8


@functools.lru_cache(maxsize=None)
def settings() -> dict[str, frozenset[str]]:
    """The variables that each role documents, by the prefix of their names."""
    found = {}
    for path in sorted(ROLES.glob("*/meta/argument_specs.yml")):
        prefix = f"{path.parents[1].name}_"
        names = OPTION.findall(path.read_text(encoding="utf-8"))
        found[prefix] = frozenset(name for name in names if name.startswith(prefix))
    return found


@functools.lru_cache(maxsize=None)
def known() -> frozenset[str]:
    """All names that the collection reads or offers to be read."""
    derived = (DERIVED.findall(path.read_text(encoding="utf-8")) for path in sorted(ROLES.glob("*/vars/main.yml")))
    return frozenset().union(OF_PLAYBOOKS, TO_READ, *settings().values(), *derived)


def misspelt(names: Iterable[str]) -> list[tuple[str, str]]:
    """Names that nothing reads, each with the setting that is meant by it."""
    found = []
    for name in sorted(names):
        if _may_be_meant(name.partition("_")[0]) and name not in known() and not COUNTED.search(name):
            near = nearest(name, known())
            if near:
                found.append((name, near))
    return found


def nearest(name: str, among: Iterable[str]) -> str:
    """The name that this one is a slip of the pen from; empty where there is none."""
    found = []
    for other in sorted(among):
        limit = 1 if _own_part(other) < SHORT else 2
        if abs(len(name) - len(other)) <= limit:
            slips = distance(name, other)
            if slips <= limit:
                found.append((slips, other))
    return min(found)[1] if found else ""


def _own_part(name: str) -> int:
    """How long a name is without the prefix of its role."""
    prefix = max((prefix for prefix in settings() if name.startswith(prefix)), key=len, default="")
    return len(name) - len(prefix)


@functools.lru_cache(maxsize=None)
def _may_be_meant(word: str) -> bool:
    """Whether a name that begins with this word may be meant for one of the settings; few of a host's variables do."""
    words = {name.partition("_")[0] for name in known()} | {prefix.replace("_", "") for prefix in settings()}
    return word in words or any(abs(len(word) - len(other)) <= 1 and distance(word, other) <= 1 for other in words)


def distance(one: str, other: str) -> int:
    """How many slips lead from one word to the other: a letter left out, added, mistaken, or two exchanged."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        before, previous, row = row, before, [i]
        for j, right in enumerate(other, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (left != right)))
            if i > 1 and j > 1 and left == other[j - 2] and one[i - 2] == right:
                row[j] = min(row[j], previous[j - 2] + 1)
    return row[-1]
