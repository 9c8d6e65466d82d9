# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the files and directories of an application, and the routes to them."""

from __future__ import annotations

import contextlib
import os
import re

from ansible_collections.flaskops.production.plugins.module_utils._app.health import ENVIRONMENT_BYTES
from ansible_collections.flaskops.production.plugins.module_utils._doctor.discovery import find_working_directory
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import list_route, read_node, scan_tree
from ansible_collections.flaskops.production.plugins.module_utils._files.paths import is_within
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import read_file


def read_tree(facts: Facts, scanned: int) -> None:
    root, unit = facts.root, facts.unit
    data = [
        os.path.join(root, *parts) for parts in (["run"], ["shared"], ["shared", "media"], ["shared", "logs"], ["logs"])
    ]
    listens = facts.listen.replace("unix:", "", 1) if facts.listen.startswith("unix:") else ""
    paths = [root, facts.live, facts.code, *data, *facts.served(), listens, os.path.dirname(listens), facts.program]
    paths += [
        find_working_directory(unit),
        os.path.join(root, ".env"),
        os.path.join(root, "shared", ".env"),
        facts.releases,
    ]
    paths += [path.lstrip("-") for path in facts.env_files] + [os.path.join(facts.code, ".env")]
    for path in paths:
        if path:
            add_node(facts, path)
    for path in [root, facts.code, *facts.served(), *facts.media, listens, find_working_directory(unit), facts.program]:
        if path:
            facts.routes[path] = list_route(path)
    # If the application's directory is the code, exclude subdirectories of the layout.
    exclude = tuple(
        os.path.join(root, name) for name in ("shared", "run", "logs", "venv", "venvs", "releases", ".deploy")
    )
    for path in facts.served():
        if is_within(path, root) and not is_within(root, path) and path != facts.code:
            facts.public += scan_tree(path)[0]
    facts.tree, facts.truncated = scan_tree(facts.code, exclude if facts.code == root else (), scanned)
    for directory in (root, os.path.join(root, "shared")):
        if os.path.isdir(directory) and directory != facts.code:
            facts.top_level += [
                item
                for name in sorted(os.listdir(directory))
                for item in [read_node(os.path.join(directory, name))]
                if item
            ]
    links = [item.path for item in facts.tree if item.target]
    facts.link_targets = [os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path))) for path in links]
    # Final targets of links. A database file needs its directory too, for its journal.
    ends = [os.path.realpath(path) for path in links]
    beside = [os.path.dirname(path) for path in ends if os.path.isfile(path)]
    facts.link_targets += ends + [path for path in beside if path not in (root, os.path.join(root, "shared"))]
    facts.link_targets += _find_named_data(facts)


def add_node(facts: Facts, path: str) -> None:
    item = read_node(path)
    if item:
        facts.nodes[path] = item


def _find_named_data(facts: Facts) -> list[str]:
    """Return the paths in shared/ that an environment file names, such as the directory of a database."""
    found = []
    for path in facts.env_files:
        # A user may have replaced the environment file of an old deployment.
        with contextlib.suppress(OSError):
            text = read_file(path.lstrip("-"), ENVIRONMENT_BYTES).decode("utf-8", "replace")
            found += re.findall(rf"{re.escape(facts.root)}/shared/[^/\s\"':;,?]+", text)
    return found
