# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths of the controller, as a user writes them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ansible import context

# Once its playbook runs, Ansible takes this directory for that of the playbook. Nobody keeps sources in it.
PLAYBOOKS = Path(__file__).parents[2] / "playbooks"


def places(path: str, playbook_directory: str) -> list[str]:
    """The absolute paths that are meant, the likeliest first.

    A relative path is one beside the playbook that runs, as everywhere in Ansible, beside the first playbook of the
    command line, or in the working directory. Where one of this collection's playbooks runs, its own directory does not
    count, also not where `playbook_dir` has made a relative path absolute.
    """
    path = os.path.expanduser(path)
    own = os.path.realpath(playbook_directory) == os.path.realpath(PLAYBOOKS)
    if own and f"{path}/".startswith(f"{playbook_directory}/"):
        path = path[len(playbook_directory) :].lstrip("/") or "."
    if os.path.isabs(path):
        return [os.path.normpath(path)]
    bases = [] if own else [playbook_directory]
    first = first_playbook()
    bases += [os.path.dirname(os.path.abspath(first))] if first else []
    found = [os.path.normpath(os.path.join(base, path)) for base in [*bases, os.getcwd()]]
    return list(dict.fromkeys(found))


def first_playbook() -> str:
    """The file of the first playbook of the command line; empty where that is the name of a collection's playbook."""
    arguments = context.CLIARGS.get("args") if isinstance(context.CLIARGS, Mapping) else None
    name = str(arguments[0]) if isinstance(arguments, (list, tuple)) and arguments else ""
    return name if os.path.isfile(name) else ""
