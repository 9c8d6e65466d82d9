# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and check the requirement files of a virtual environment on a host."""

from __future__ import annotations

import os
from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._python import local_code
from ansible_collections.flaskops.production.plugins.module_utils._python import requirements as requirements_module
from ansible_collections.flaskops.production.plugins.module_utils._python.options import (
    MissingInputError,
    VenvError,
    VenvSettings,
)
from ansible_collections.flaskops.production.plugins.module_utils._python.rules import (
    find_contradictions,
    get_index_setting,
)


class RequirementFile(NamedTuple):
    """A requirement file or one of its includes."""

    name: str
    path: str
    kind: str
    text: str
    listed: bool  # in the option requirements, instead of included by another file
    recoded: bool = False  # The text is UTF-8 without a byte order mark, but the file is not.


def read_requirement_files(source: str | None, names: list[str]) -> list[RequirementFile]:
    """Read the requirement files, each followed by its includes. Raises VenvError for a missing file."""
    found: dict[tuple[str, bool], RequirementFile] = {}

    def read(name: str, listed: bool, including: str | None) -> None:
        if (name, listed) in found:
            return
        file = _read_requirement_file(source, name, listed, including)
        found[name, listed] = file
        if file.kind == requirements_module.REQUIREMENTS:
            for include in requirements_module.find_includes(file.text):
                read(requirements_module.resolve_include(name, include), False, name)
        elif file.kind == requirements_module.UV_LOCK:
            read(requirements_module.resolve_include(name, requirements_module.PYPROJECT), False, name)

    for name in names:
        if not os.path.isabs(name):
            if not source:
                raise VenvError(f"The requirement file '{name}' is relative: set 'source' to its directory.")
            if not os.path.isdir(source):
                raise MissingInputError(f"The directory {source} (venv_source) of the file {name} does not exist.")
        read(os.path.normpath(name), True, None)
    return list(found.values())


def _read_requirement_file(source: str | None, name: str, listed: bool, including: str | None) -> RequirementFile:
    """Read one requirement file. including is the name of the file that includes it, if any. Raises VenvError."""
    path = name if os.path.isabs(name) else os.path.join(source or "", name)
    try:
        with open(path, "rb") as stream:
            data = stream.read()
        text = requirements_module.decode_text(data)
    except (FileNotFoundError, NotADirectoryError):
        if including:
            raise VenvError(f"{including} includes {name}, but {path} does not exist.") from None
        raise VenvError(
            f"The requirement file {path} does not exist. Create it, or set venv_requirements to the existing "
            "files, [] for none."
        ) from None
    except OSError as error:
        raise VenvError(f"The requirement file {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise VenvError(f"The requirement file {path} {error}.") from None
    problem = requirements_module.find_format_problem(name, text) if listed else None
    if problem:
        raise VenvError(problem)
    recoded = text.encode("utf-8") != data
    return RequirementFile(name, path, requirements_module.detect_format(name), text, listed, recoded)


def find_problems(settings: VenvSettings, files: list[RequirementFile]) -> list[str]:
    """Return the problems of the settings and the requirement files, as sentences."""
    problems = []
    for package in settings.packages:
        if not package.strip() or package.startswith("-") or "\n" in package:
            problems.append(f"The package '{package}' (venv_packages) is not a requirement such as 'gunicorn>=24.1.1'.")
    selection = requirements_module.find_selection_problem(settings.requirements, settings.extras, settings.groups)
    problems += [selection] if selection else []
    for file in files:
        if file.recoded and os.path.isabs(file.name) and settings.installer == "uv":
            problems.append(f"uv cannot read {file.path}: save it as UTF-8 without a byte order mark.")
        if file.kind == requirements_module.UV_LOCK and settings.installer != "uv":
            problems.append(f"Only uv reads {file.name}: set venv_installer to uv, or list a file that pip reads.")
        if file.kind == requirements_module.PYPROJECT and file.listed and settings.installer != "uv":
            problems += filter(None, [local_code.find_unread_source(file.name, file.text)])
    has_source = bool(settings.source) and os.path.isdir(str(settings.source))
    for directory in find_directories(settings, files):
        if not has_source:
            place = f"{directory.file}, line {directory.line}"
            problems.append(f"{place}: a directory needs the source that it is in (venv_source).")
            continue
        problem = local_code.find_directory_problem(directory, lambda path: _exists_below(settings.source, path))
        if problem:
            problems.append(problem)
    texts = {file.name: file.text for file in files}
    index = get_index_setting(settings.index_url, settings.extra_index_urls)
    problems += find_contradictions(texts, settings.packages, settings.only_binary, index)
    if settings.require_hashes:
        # A pyproject.toml that is not listed belongs to a uv.lock and is not installed.
        texts = {file.name: file.text for file in files if file.listed or file.kind == requirements_module.REQUIREMENTS}
        problems += requirements_module.check_hashes(texts, settings.packages)
    return problems


def find_directories(settings: VenvSettings, files: list[RequirementFile]) -> list[local_code.Directory]:
    """Return the directories that are built and installed, from the requirement files and the added packages."""
    found = []
    for file in files:
        inside = file.name if not os.path.isabs(file.name) else os.path.basename(file.name)
        found += local_code.find_directories(
            inside, file.text, lambda path: _is_directory_below(settings.source, path), settings.installer, file.listed
        )
    # Named like a requirements file, whose format the list of packages has.
    packages = "\n".join(settings.packages)
    return found + local_code.find_directories(
        "venv_packages", packages, lambda path: _is_directory_below(settings.source, path)
    )


def _is_directory_below(source: str | None, path: str) -> bool:
    return os.path.isdir(os.path.join(source or "/", path))


def _exists_below(source: str | None, path: str) -> bool:
    return os.path.exists(os.path.join(source or "/", path))
