# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links to virtual environments. A virtual environment is kept while a registered link points to it."""

from __future__ import annotations

import contextlib
import hashlib
import os

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout, list_directory
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import open_directory, sync_directory
from ansible_collections.flaskops.production.plugins.module_utils._files.links import read_link, swap_link

# The directory in venvs/ with a link to each registered link.
REGISTRY = ".links"


def register_link(venvs: str, link: str) -> None:
    """Register a link to a virtual environment of this directory. The links of releases need no registration."""
    if os.path.dirname(link) == Layout(os.path.dirname(venvs)).venv_links:
        return
    registry = os.path.join(venvs, REGISTRY)
    os.makedirs(registry, 0o755, exist_ok=True)
    with open_directory(registry) as fd, contextlib.suppress(FileExistsError):
        os.symlink(link, hashlib.sha256(os.fsencode(link)).hexdigest()[:16], dir_fd=fd)
        sync_directory(fd)


def read_registered_links(venvs: str) -> list[str]:
    """Return the registered links, including removed ones."""
    registry = os.path.join(venvs, REGISTRY)
    paths = [os.path.join(registry, name) for name in list_directory(registry)]
    return [os.readlink(path) for path in paths if os.path.islink(path)]


def link_venv(layout: Layout, release: str, venv: str) -> None:
    """Point the link .venv of a release at a virtual environment."""
    link = os.path.join(layout.release(release), ".venv")
    target = os.path.join("..", "..", "venvs", venv)
    if read_link(link) != target:
        swap_link(link, target)
