# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the names of all settings, and misspelt names of variables."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path

ROLES = Path(__file__).parents[3] / "roles"
# Variables that the playbooks read themselves.
PLAYBOOK_VARIABLES = frozenset(
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
# Variables that the roles set for hooks and playbooks.
RESULT_VARIABLES = frozenset(
    {"release_facts", "release_live", "release_ends", "release_resolved", "release_statuses", "venv_build"}
)
# An option of an entry point in an argument specification, and a variable in vars/main.yml, by their indentation.
OPTION = re.compile(r"^      ([a-z][a-z0-9_]*):$", re.MULTILINE)
DERIVED = re.compile(r"^([a-z][a-z0-9_]*):", re.MULTILINE)
# Numbered names are deliberate.
NUMBERED = re.compile(r"_?[0-9]+\Z")
# Shorter names resemble many words.
SHORT_LENGTH = 8


@functools.lru_cache(maxsize=None)
def list_role_settings() -> dict[str, frozenset[str]]:
    """Return the variables that each role documents, by the prefix of their names."""
    found = {}
    for path in sorted(ROLES.glob("*/meta/argument_specs.yml")):
        prefix = f"{path.parents[1].name}_"
        names = OPTION.findall(path.read_text(encoding="utf-8"))
        found[prefix] = frozenset(name for name in names if name.startswith(prefix))
    return found


@functools.lru_cache(maxsize=None)
def list_known_names() -> frozenset[str]:
    """Return the names of all variables that the collection reads or sets."""
    derived = (DERIVED.findall(path.read_text(encoding="utf-8")) for path in sorted(ROLES.glob("*/vars/main.yml")))
    return frozenset().union(PLAYBOOK_VARIABLES, RESULT_VARIABLES, *list_role_settings().values(), *derived)


def find_misspelt(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the misspelt names, each with the setting that it resembles."""
    found = []
    for name in sorted(names):
        if _is_similar_prefix(name.partition("_")[0]) and name not in list_known_names() and not NUMBERED.search(name):
            near = find_nearest(name, list_known_names())
            if near:
                found.append((name, near))
    return found


def find_nearest(name: str, among: Iterable[str]) -> str:
    """Return the name that differs from this one by a typing error, or an empty string."""
    found = []
    for other in sorted(among):
        limit = 1 if _count_own_characters(other) < SHORT_LENGTH else 2
        if abs(len(name) - len(other)) <= limit:
            errors = compute_distance(name, other)
            if errors <= limit:
                found.append((errors, other))
    return min(found)[1] if found else ""


def _count_own_characters(name: str) -> int:
    """Return the length of a name without the prefix of its role."""
    prefix = max((prefix for prefix in list_role_settings() if name.startswith(prefix)), key=len, default="")
    return len(name) - len(prefix)


@functools.lru_cache(maxsize=None)
def _is_similar_prefix(word: str) -> bool:
    """Return whether the first word of a name resembles that of a setting, which few of a host's variables do."""
    words = {name.partition("_")[0] for name in list_known_names()} | {
        prefix.replace("_", "") for prefix in list_role_settings()
    }
    return word in words or any(
        abs(len(word) - len(other)) <= 1 and compute_distance(word, other) <= 1 for other in words
    )


def compute_distance(one: str, other: str) -> int:
    """Return the number of typing errors between two words: a letter omitted, added or replaced, or two exchanged."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        before, previous, row = row, before, [i]
        for j, right in enumerate(other, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (left != right)))
            if i > 1 and j > 1 and left == other[j - 2] and one[i - 2] == right:
                row[j] = min(row[j], previous[j - 2] + 1)
    return row[-1]
