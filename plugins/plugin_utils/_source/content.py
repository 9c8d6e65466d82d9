# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the files of a source before they are packed."""

from __future__ import annotations

import posixpath
import re

from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._python import requirements
from ansible_collections.flaskops.production.plugins.module_utils._python.rules import find_contradictions
from ansible_collections.flaskops.production.plugins.module_utils._releases.shared_paths import check_static_paths
from ansible_collections.flaskops.production.plugins.plugin_utils._source.dependencies import (
    check_dependencies,
    is_installed,
)
from ansible_collections.flaskops.production.plugins.plugin_utils._source.request import VENV_LINK, SourceRequest
from ansible_collections.flaskops.production.plugins.plugin_utils._source.tree import (
    SourceEntry,
    SourceError,
    SourceTree,
    format_list,
    quote,
    resolve_links,
)
from ansible_collections.flaskops.production.plugins.plugin_utils._source.wsgi import check_wsgi


def check_selection(tree: SourceTree, request: SourceRequest, found: list[SourceEntry]) -> None:
    """Raise SourceError if strip_components or subdirectory exclude all files of an archive."""
    if tree.entries or not found:
        return
    top = sorted({entry.path.split("/")[0] for entry in found})
    variable, value = "release_strip_components", str(request.strip_components)
    if request.subdirectory:
        variable, value = "release_subdirectory", quote(request.subdirectory)
    raise SourceError(
        f"{variable}: {value} excludes all files of {tree.label.split(': ', 1)[1]}; its top level holds "
        f"{format_list(top)}."
    )


def check_tree(tree: SourceTree, request: SourceRequest) -> None:
    """Raise SourceError if a source cannot be a release of this application."""
    if not any(entry.kind != "directory" for entry in tree.entries.values()):
        raise SourceError(f"{tree.label} is empty; a release needs at least one file.")
    if VENV_LINK in tree.entries:
        raise SourceError(
            f"{tree.label} holds {quote(VENV_LINK)} at its top level, which is the name of the release's link to its "
            "virtual environment; remove it from the source."
        )
    texts = read_requirements(tree, request.requirements)
    if request.require_hashes:
        installed = {name: text for name, text in texts.items() if is_installed(request, name)}
        errors = requirements.check_hashes(installed, request.packages)
        if errors:
            raise SourceError(
                f"venv_require_hashes: true, but {tree.label} has requirements without hashes: {' '.join(errors[:5])} "
                "Accepted are requirements pinned with == and --hash (pip-compile --generate-hashes writes them)."
            )
    errors = find_contradictions(texts, request.packages, request.only_binary, request.index)
    if errors:
        raise SourceError(f"{tree.label} has requirements that contradict the settings: {' '.join(errors[:5])}")
    check_dependencies(tree, request, texts)
    check_wsgi(tree, request, texts)
    for path in request.static_paths:
        entry = tree.find_entry(path)
        if entry is not None and entry.kind != "directory":
            raise SourceError(
                f"release_static_paths: {quote(path)} is a {entry.kind} in the release; name a directory."
            )
    for path in request.shared_paths:
        _check_shared_path(tree, path)
    _check_static_links(tree, request)


def _check_static_links(tree: SourceTree, request: SourceRequest) -> None:
    """Raise SourceError if static files lie in shared data, which the application may write to."""
    shared = [path.rstrip("/") for path in request.shared_paths]
    try:
        check_static_paths(list(request.static_paths), list(request.shared_paths))
    except ReleaseError as error:
        raise SourceError(str(error)) from None
    tops = tuple(f"{posixpath.normpath(path)}/" for path in request.static_paths)
    for entry in tree.entries.values():
        if entry.kind != "link" or not entry.path.startswith(tops) or entry.path in shared:
            continue
        target = resolve_links(tree.label, tree.entries, entry.path) or ""
        parents = [path for path in shared if target == path or target.startswith(path + "/")]
        if parents:
            raise SourceError(
                f"release_static_paths: {quote(entry.path)} is a link to {quote(target)} in {quote(parents[0])} of "
                "release_shared_paths, which the application may write to; replace the link with a file."
            )


def _check_shared_path(tree: SourceTree, path: str) -> None:
    bare = path.rstrip("/")
    parents = [bare[: match.start()] for match in re.finditer("/", bare)]
    for parent in parents:
        kind = tree.entries[parent].kind if parent in tree.entries else "directory"
        if kind != "directory":
            raise SourceError(
                f"release_shared_paths: {quote(path)} lies below {quote(parent)}, which is a {kind} in the release."
            )
    entry = tree.entries.get(bare)
    if entry is None or entry.kind == "link":
        return
    if path.endswith("/") and entry.kind == "file":
        raise SourceError(
            f"release_shared_paths: {quote(path)} is a file in the release, and a trailing slash means a directory; "
            f"write {quote(bare)}."
        )
    if not path.endswith("/") and entry.kind == "directory":
        raise SourceError(
            f"release_shared_paths: {quote(path)} is a directory in the release; write {quote(bare + '/')}."
        )


def read_requirements(tree: SourceTree, names: tuple[str, ...]) -> dict[str, str]:
    """Read requirement files and the files that they include. Return their texts by name.

    Raises SourceError if a file is missing or lies outside the source.
    """
    texts: dict[str, str] = {}
    waiting = [(posixpath.normpath(name), "") for name in names]
    while waiting:
        name, includer = waiting.pop(0)
        if name in texts:
            continue
        if name.startswith(("/", "../")) or name == "..":
            raise SourceError(
                f"venv_requirements: {includer} of {tree.label} includes {quote(name)}, which lies outside "
                "the release; only files inside it are accepted."
            )
        content = tree.read_file(name)
        if content is None:
            raise _build_missing_error(tree, name, includer)
        try:
            texts[name] = requirements.decode_text(content)
        except ValueError as error:
            raise SourceError(f"venv_requirements: {quote(name)} of {tree.label} {error}.") from None
        if requirements.detect_format(name) == requirements.UV_LOCK:
            waiting.append((requirements.resolve_include(name, requirements.PYPROJECT), name))
        if requirements.detect_format(name) == requirements.REQUIREMENTS:
            # pip expands environment variables. Their values are known on the host only.
            found = [other for other in requirements.find_includes(texts[name]) if "${" not in other]
            waiting += [(requirements.resolve_include(name, other), name) for other in found]
    return texts


def _build_missing_error(tree: SourceTree, name: str, includer: str) -> SourceError:
    top = tree.list_top()
    included = f", which {includer} includes," if includer else ""
    cause = f"venv_requirements: {quote(name)}{included} is not in {tree.label.partition(': ')[2]}"
    hint = f"its top level holds {format_list(top)}."
    folders = [item for item in top if item.endswith("/")]
    if len(top) == 1 and folders and tree.find_entry(folders[0] + name):
        option = f"release_subdirectory: {folders[0].rstrip('/')}"
        if tree.label.startswith("release_archive"):
            option = "release_strip_components: 1"
        hint = f"all files are in {folders[0]}: set {option}."
    elif elsewhere := [e.path for e in tree.list_files() if e.path.endswith("/" + posixpath.basename(name))]:
        hint = f"{hint[:-1]}; files of that name are {format_list(elsewhere, 3)}."
    return SourceError(f"{cause}; {hint}")
