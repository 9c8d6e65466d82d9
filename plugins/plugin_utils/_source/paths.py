# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve paths on the controller as a user writes them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ansible import context

# Ansible's playbook directory while a playbook of this collection runs. Users keep no sources there.
PLAYBOOKS = Path(__file__).parents[3] / "playbooks"


def list_possible_paths(path: str, playbook_directory: str) -> list[str]:
    """Return the absolute paths that a path may stand for, in order of precedence.

    A relative path is relative to the directory of the playbook that runs, to that of the first playbook on the command
    line, or to the working directory. While a playbook of this collection runs, the collection's own directory is
    skipped, even if `playbook_dir` has made the path absolute.
    """
    path = os.path.expanduser(path)
    own = os.path.realpath(playbook_directory) == os.path.realpath(PLAYBOOKS)
    if own and f"{path}/".startswith(f"{playbook_directory}/"):
        path = path[len(playbook_directory) :].lstrip("/") or "."
    if os.path.isabs(path):
        return [os.path.normpath(path)]
    bases = [] if own else [playbook_directory]
    first = find_first_playbook()
    bases += [os.path.dirname(os.path.abspath(first))] if first else []
    found = [os.path.normpath(os.path.join(base, path)) for base in [*bases, os.getcwd()]]
    return list(dict.fromkeys(found))


def find_first_playbook() -> str:
    """Return the file of the first playbook on the command line, empty if that is a playbook of a collection."""
    arguments = context.CLIARGS.get("args") if isinstance(context.CLIARGS, Mapping) else None
    name = str(arguments[0]) if isinstance(arguments, (list, tuple)) and arguments else ""
    return name if os.path.isfile(name) else ""
