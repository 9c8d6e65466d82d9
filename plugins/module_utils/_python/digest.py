# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The digest that names a virtual environment, and all inputs that determine its content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from typing import Any, Mapping

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import hash_file
from ansible_collections.flaskops.production.plugins.module_utils._python import local_code
from ansible_collections.flaskops.production.plugins.module_utils._python import requirements as requirements_module
from ansible_collections.flaskops.production.plugins.module_utils._python.interpreter import Interpreter
from ansible_collections.flaskops.production.plugins.module_utils._python.options import VenvSettings
from ansible_collections.flaskops.production.plugins.module_utils._python.requirement_files import (
    RequirementFile,
    find_directories,
)
from ansible_collections.flaskops.production.plugins.module_utils._python.source_directory import compute_tree_digest


def compute_digest(inputs: Mapping[str, Any]) -> str:
    """Return the name of a virtual environment, which is the same on all hosts for the same inputs."""
    canonical = json.dumps(inputs, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()[:12]


def collect_digest_inputs(
    settings: VenvSettings, files: list[RequirementFile], interpreter: Interpreter
) -> dict[str, Any]:
    """Return all inputs that determine the content of a virtual environment. They must be equal on similar hosts."""
    plain = requirements_module.remove_user_info
    inputs = {
        "files": [[file.kind, file.listed, _hash_text(plain(file.text))] for file in files],
        "archives": _hash_local_archives(settings, files),
        "packages": sorted(plain(package) for package in settings.packages),
        "installer": settings.installer,
        "index_url": plain(settings.index_url or ""),
        "extra_index_urls": [plain(url) for url in settings.extra_index_urls],
        "find_links": _hash_find_links(settings, files),
        "require_hashes": settings.require_hashes,
        "only_binary": settings.only_binary,
        "interpreter": list(interpreter),
    }
    if settings.extras or settings.groups:
        inputs["extras"], inputs["groups"] = sorted(settings.extras), sorted(settings.groups)
    # Content that can change while the requirement files stay equal is taken anew for each release.
    texts = [(file.name, file.text) for file in files if file.listed or file.kind == requirements_module.REQUIREMENTS]
    moving = local_code.find_moving_references(texts, settings.packages, settings.installer)
    if moving or find_directories(settings, files):
        inputs["source"] = compute_source_digest(settings)
    return inputs


def compute_source_digest(settings: VenvSettings) -> str:
    """Return a digest of the source: of a release, the recorded one, because a build command changes its files."""
    if not settings.source:
        return ""
    releases, name = os.path.split(settings.source)
    layout = Layout(os.path.dirname(settings.directory))
    if os.path.realpath(releases) == os.path.realpath(layout.releases):
        recorded = (ReleaseStore(layout).read_record(name) or {}).get("digest")
        if recorded:
            return recorded
    return compute_tree_digest(settings.source)


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _hash_local_archives(settings: VenvSettings, files: list[RequirementFile]) -> list[list[str]]:
    """Return path and digest of wheels and archives named by a path, which can differ between releases."""
    texts = [(file.name, file.text) for file in files]
    texts.append(("venv_packages", "\n".join(settings.packages)))
    source = settings.source or "/"
    found = []
    for name, text in texts:
        for path in local_code.find_archives(
            name, text, lambda path: os.path.isfile(os.path.join(source, path)), settings.installer
        ):
            found.append([path, hash_file(os.path.join(source, path))])
    return found


def _hash_find_links(settings: VenvSettings, files: list[RequirementFile]) -> list[list[Any]]:
    """Return names and digests of the files in the find-links directories of the settings and requirement files.

    The content of a page is not read, like that of an index.
    """
    found = [[requirements_module.remove_user_info(link), settings.source or "/"] for link in settings.find_links]
    for file in files:
        if file.kind == requirements_module.REQUIREMENTS:
            folder = os.path.dirname(file.path)
            for link in requirements_module.parse_find_links(file.text):
                beside = os.path.isdir(os.path.join(folder, link))
                found.append([link, folder if beside else settings.source or "/"])
    return [[link, [] if "://" in link else _hash_directory(os.path.join(base, link))] for link, base in found]


def _hash_directory(path: str) -> list[list[str]]:
    with contextlib.suppress(OSError), os.scandir(path) as entries:
        return sorted([entry.name, hash_file(entry.path)] for entry in entries if entry.is_file())
    return []
