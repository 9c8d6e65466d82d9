# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of an adoption: the old deployment as it was read, the data to copy, the settings and the obstacles."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, field
from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._adoption.places import Surroundings
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts
from ansible_collections.flaskops.production.plugins.module_utils._files.paths import is_within
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import resolve

# The kind of a move that is an environment file. The others are uploads, database, data, logs, log and key.
ENVIRONMENT = "environment"
ACME_CHALLENGE = "/.well-known/acme-challenge"


class Move(NamedTuple):
    """Data to copy: its path, its new path below shared/, and the name under which the release finds it."""

    kind: str
    source: str
    target: str
    # The name in the release that leads to the data; empty if there is none.
    link: str
    # A name in shared/ between that name and the data; empty if the name leads to the data directly.
    via: str
    reason: str


@dataclass(frozen=True)
class PlanRequest:
    """The input of a plan: the old deployment, and the settings that the user has set."""

    facts: Facts
    root: str
    # Names of settings that are set; the plan does not override them.
    given: frozenset[str] = frozenset()
    shared_paths: list[str] | None = None
    # The text of the service's unit with its drop-ins, and the names that it sets with Environment=.
    unit_text: str = ""
    unit_variables: tuple[str, ...] = ()
    surroundings: Surroundings = field(default_factory=Surroundings)
    # Patterns of names that are not part of a release.
    excluded: tuple[str, ...] = ()

    @functools.cached_property
    def shared(self) -> str:
        return os.path.join(self.root, "shared")

    @functools.cached_property
    def tops(self) -> list[str]:
        return list_tops(self.facts)

    def is_in_old(self, path: str) -> bool:
        return any(is_within(path, top) for top in self.tops)

    def is_in_layout(self, path: str, *names: str) -> bool:
        """Return whether a path is below one of these names in the new layout."""
        return any(is_within(path, os.path.join(self.root, name)) for name in names)

    def is_beside_code(self, path: str) -> bool:
        """Return whether a path is in the old deployment, but neither in the code nor in the new layout."""
        facts = self.facts
        return is_within(path, facts.root) and not is_within(path, facts.code) and not is_within(path, self.root)


def list_tops(facts: Facts) -> list[str]:
    """Return the directories of the old deployment. Links must not lead out of them."""
    return list(dict.fromkeys([resolve(facts.root), facts.code]))


@dataclass
class AdoptionPlan:
    """The steps of an adoption, the settings of the roles, and the obstacles."""

    code: str = ""
    moves: list[Move] = field(default_factory=list)
    # Environment files: the one that the application reads by itself, and those of the unit.
    dotenv: list[str] = field(default_factory=list)
    environment: list[str] = field(default_factory=list)
    # Names of variables that the unit itself sets.
    unit_variables: list[str] = field(default_factory=list)
    # Old paths in values of the environment, and the new paths.
    rewrites: list[tuple[str, str]] = field(default_factory=list)
    # Shared paths that are in shared/ already, because another tool or an earlier run has put them there.
    shared: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)
    variables: dict[str, object] = field(default_factory=dict)
    sites: list[str] = field(default_factory=list)
    attention: list[str] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)

    def includes(self, path: str) -> bool:
        """Return whether a move copies the path."""
        return any(is_within(path, move.source) for move in self.moves)

    def find_move(self, source: str) -> Move | None:
        """Return the move of exactly this path, or None."""
        return next((move for move in self.moves if move.source == source), None)
