# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check requirement files on the controller, before any host is changed."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.flaskops.production.plugins.module_utils._python import local_code, requirements, toml_files
from ansible_collections.flaskops.production.plugins.plugin_utils._source.request import SourceRequest
from ansible_collections.flaskops.production.plugins.plugin_utils._source.tree import SourceError, SourceTree

# ansible-core requires packaging, but ansible-test imports plugins without it.
try:
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import Version
except ImportError:
    pass
try:
    import tomllib
except ImportError:  # Python 3.10; the hosts read these files, too.
    tomllib = None  # type: ignore[assignment]

# The number of problems in a message.
MAX_PROBLEMS = 5


def is_installed(request: SourceRequest, name: str) -> bool:
    """Return whether the packages of a file are installed. The pyproject.toml of a uv.lock is only read."""
    listed = {posixpath.normpath(other) for other in request.requirements}
    return name in listed or requirements.detect_format(name) == requirements.REQUIREMENTS


def check_dependencies(tree: SourceTree, request: SourceRequest, texts: Mapping[str, str]) -> None:
    """Raise SourceError if requirement files cannot be installed."""
    problems = list(_find_problems(tree, request, texts))
    if problems:
        raise SourceError(f"venv_requirements: {' '.join(problems[:MAX_PROBLEMS])} The source is {tree.label}.")


def _find_problems(tree: SourceTree, request: SourceRequest, texts: Mapping[str, str]) -> Iterator[str]:
    selection = requirements.find_selection_problem(request.requirements, request.extras, request.groups)
    if selection:
        yield selection
    for name, text in texts.items():
        problem = requirements.find_format_problem(name, text) if is_installed(request, name) else None
        if problem:
            yield problem
            continue
        kind = requirements.detect_format(name)
        if kind != requirements.REQUIREMENTS:
            yield from _find_toml_problems(request, name, text)
            yield from _find_version_problem(request, name, text)
        yield from _find_path_problems(tree, request, name, text)
    yield from find_excluded_packages(texts, request.packages)


def _find_toml_problems(request: SourceRequest, name: str, text: str) -> Iterator[str]:
    if not is_installed(request, name):
        return
    kind = requirements.detect_format(name)
    if kind == requirements.PYPROJECT and request.installer == "pip":
        unread = local_code.find_unread_source(name, text)
        if unread:
            yield unread
    data: dict[str, Any] = {}
    if tomllib is not None:
        try:
            data = tomllib.loads(text)
            if kind == requirements.PYPROJECT:
                toml_files.parse_pyproject(data, request.extras, request.groups)
            elif kind == requirements.PYLOCK and request.installer == "pip":
                toml_files.parse_pylock(data)
        except tomllib.TOMLDecodeError as error:
            yield f"{name} is not valid TOML: {error}."
        except ValueError as error:
            yield f"{name} cannot be used: {error}."


def _find_version_problem(request: SourceRequest, name: str, text: str) -> Iterator[str]:
    """Yield a problem if a file does not accept the interpreter, as far as its version is known on the controller."""
    wanted = requirements.parse_requires_python(text)
    match = re.search(r"python(3\.\d+)$", request.python)
    if not wanted or not match:
        return
    try:
        accepted = SpecifierSet(wanted)
    except InvalidSpecifier:
        yield f"{name} has requires-python = '{wanted}', which is not a version specifier such as '>=3.11'."
        return
    # The patch version is unknown.
    if not any(accepted.contains(Version(f"{match[1]}.{patch}")) for patch in (0, 1, 10, 99)):
        yield (
            f"{name} has requires-python = '{wanted}', but venv_python is {request.python}; set venv_python to an "
            "accepted version."
        )


def find_projects(tree: SourceTree, request: SourceRequest, name: str, text: str) -> list[local_code.Directory]:
    """Return the directories of the release that are built and installed because of a requirement file."""

    def is_directory(path: str) -> bool:
        entry = None if path == "." else tree.find_entry(path)
        return path == "." or entry is not None and entry.kind == "directory"

    return local_code.find_directories(name, text, is_directory, request.installer, is_installed(request, name))


def _find_path_problems(tree: SourceTree, request: SourceRequest, name: str, text: str) -> Iterator[str]:
    def exists(path: str) -> bool:
        return path == "." or tree.find_entry(path) is not None

    for directory in find_projects(tree, request, name, text):
        problem = local_code.find_directory_problem(directory, exists)
        if problem:
            yield problem
    if requirements.detect_format(name) != requirements.REQUIREMENTS:
        return
    for line in requirements.parse_requirements(text):
        local = local_code.parse_local_requirement(line.text)
        # Only the host knows paths outside of the release, and variables.
        if local is None or local.path.startswith(("/", "..")) or "${" in line.text:
            continue
        beside = posixpath.normpath(posixpath.join(posixpath.dirname(name), local.path))
        if not exists(posixpath.normpath(local.path)) and not exists(beside):
            shown = requirements.mask_user_info(line.text)
            yield f"{name}, line {line.number}: '{shown}' names '{local.path}', which is not in the release."


def find_excluded_packages(texts: Mapping[str, str], packages: tuple[str, ...]) -> Iterator[str]:
    """Yield a sentence for each package of venv_packages that a constraint excludes in all versions."""
    added = requirements.find_missing_packages(packages, texts)
    constraints = requirements.find_constraints(texts)
    for package in added:
        for name, line in constraints:
            if not _are_compatible(package, line.text):
                yield (
                    f"{name}, line {line.number}: '{line.text}' excludes '{package}' of venv_packages; change one of "
                    f"them, or name {requirements.parse_name(package)} in the requirements."
                )


def _are_compatible(package: str, constraint: str) -> bool:
    """Return whether a version can satisfy both requirements. Requirements that cannot be compared are compatible."""
    try:
        first, second = (Requirement(re.sub(r"\s--hash.*", "", text)) for text in (package, constraint))
    except InvalidRequirement:
        return True
    if requirements.normalize_name(first.name) != requirements.normalize_name(second.name):
        return True
    if first.url or second.url or first.marker or second.marker:
        return True
    # The sets of accepted versions are intervals, so one of their ends, or a version next to it, is in both.
    ends = [re.sub(r"\.\*$", "", item.version) for item in [*first.specifier, *second.specifier]]
    candidates = ["0", "999999", *ends, *(f"{end}.0.0.1" for end in ends if re.fullmatch(r"[\d.]+", end))]
    return any(
        first.specifier.contains(version, prereleases=True) and second.specifier.contains(version, prereleases=True)
        for version in candidates
    )
