# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Detect lines of requirement files that contradict the settings: pure functions for the controller and the host."""

from __future__ import annotations

import posixpath
import re
from typing import Iterable, Iterator, Mapping

from ansible_collections.flaskops.production.plugins.module_utils._python import requirements
from ansible_collections.flaskops.production.plugins.module_utils._python.local_code import parse_local_requirement

# The options of a requirements file that set package sources, by all of their names.
_SOURCES = {
    "--index-url": "--index-url",
    "--pypi-url": "--index-url",
    "-i": "--index-url",
    "--extra-index-url": "--extra-index-url",
    "--no-index": "--no-index",
    "--trusted-host": "--trusted-host",
    "--find-links": "--find-links",
    "-f": "--find-links",
}
_OPTION = re.compile(r"^(--[a-z-]+|-[a-z])(?:\s*=\s*|\s+|(?<=^-[a-z]))?(.*)$")
_DIRECT = re.compile(r"^[A-Za-z0-9._-]+\s*(?:\[[^\]]*\])?\s*@\s*(?P<url>\S+)")
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")
_VCS = re.compile(r"^(?:git|hg|svn|bzr)\+", re.IGNORECASE)


def find_contradictions(texts: Mapping[str, str], packages: Iterable[str], only_binary: bool, index: str) -> list[str]:
    """Return a sentence with file, line and setting for each line that contradicts the settings.

    index is the setting of the package source: venv_index_url, venv_extra_index_urls or empty.
    """
    problems = []
    for name, text in texts.items():
        if requirements.detect_format(name) != requirements.REQUIREMENTS:
            continue
        for line in requirements.parse_lines(text):
            problem = _check_source(line.text, index) if index else None
            problem = problem or (_check_wheel(line.text) if only_binary else None)
            if problem:
                problems.append(f"{name}, line {line.number}: '{requirements.mask_user_info(line.text)}' {problem}.")
    for package in packages if only_binary else ():
        problem = _check_wheel(package)
        if problem:
            problems.append(f"venv_packages has '{requirements.mask_user_info(package)}', which {problem}.")
    return problems


def _parse_option(line: str) -> tuple[str, str]:
    """Return name and value of an option line, or two empty strings for a requirement."""
    match = _OPTION.match(line)
    return (match.group(1), match.group(2).strip().strip("'\"")) if match else ("", "")


def _check_source(line: str, index: str) -> str | None:
    """Return how a line contradicts the setting of the package source, or None."""
    name, value = _parse_option(line)
    option = _SOURCES.get(name)
    if option is None or option == "--find-links" and not _URL.match(value):
        return None
    if option in ("--extra-index-url", "--find-links") and index != "venv_index_url":
        return None
    return f"contradicts {index}, which sets the source of packages: remove the line or the setting"


def _check_wheel(line: str) -> str | None:
    """Return why a line is not accepted with venv_only_binary, or None."""
    name, value = _parse_option(line)
    if name == "--no-binary" and value != ":none:" or name == "--only-binary" and ":none:" in value:
        return "contradicts venv_only_binary: true: remove the line or the setting"
    if name in ("-e", "--editable"):
        return _format_wheels_only("names a directory or a repository")
    if name:
        return None
    direct = _DIRECT.match(line)
    requirement = direct.group("url") if direct else re.split(r"\s", line, maxsplit=1)[0]
    if _VCS.match(requirement):
        return _format_wheels_only("comes from a version control system")
    local = parse_local_requirement(line)
    path = local.path if local else None
    if not direct and not _URL.match(requirement) and path is None:
        return None
    base = posixpath.basename(re.split(r"[#?;\[]", path or requirement)[0].rstrip("/"))
    return None if base.endswith(".whl") else _format_wheels_only("is not a wheel")


def _format_wheels_only(problem: str) -> str:
    return (
        f"{problem}, but venv_only_binary: true accepts wheels only: name a wheel (.whl) or set venv_only_binary: false"
    )


def get_index_setting(index_url: str | None, extra_index_urls: Iterable[str]) -> str:
    """Return the name of the setting of the package source, or an empty string if none is set."""
    return "venv_index_url" if index_url else "venv_extra_index_urls" if list(extra_index_urls) else ""


def find_hosts(texts: Iterable[str]) -> set[str]:
    """Return the host names in the URLs of some texts."""
    return {found.lower() for text in texts for found in _find_hosts(text)}


def _find_hosts(text: str) -> Iterator[str]:
    for match in re.finditer(r"://(?:[^/@\s'\"]+@)?([^/:?#\s'\",\]]+)", text):
        yield match.group(1)
