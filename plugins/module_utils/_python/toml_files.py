# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Convert loaded TOML files to requirements: pure functions for the controller and the host."""

from __future__ import annotations

import posixpath
import re
from typing import Any, Iterable, Mapping
from urllib.parse import quote

from ansible_collections.flaskops.production.plugins.module_utils._python.requirements import normalize_name


def parse_pyproject(data: Mapping[str, Any], extras: Iterable[str] = (), groups: Iterable[str] = ()) -> list[str]:
    """Return the dependencies of a loaded pyproject.toml, with some of its extras and dependency groups.

    Raises ValueError if it has no static dependencies, or no such extra or group.
    """
    project = data.get("project")
    if not isinstance(project, dict):
        raise ValueError("it has no [project] table; list requirement files in another format")
    if "dependencies" in (project.get("dynamic") or []):
        raise ValueError(
            "its dependencies are dynamic, so they are known after a build only; list the file that contains them"
        )
    found = [str(item) for item in project.get("dependencies") or []]
    optional = {normalize_name(name): items for name, items in (project.get("optional-dependencies") or {}).items()}
    for extra in extras:
        if normalize_name(extra) not in optional:
            raise ValueError(f"it has no extra '{extra}'; its extras are {', '.join(optional) or 'none'} (venv_extras)")
        found += map(str, optional[normalize_name(extra)])
    tables = {normalize_name(name): items for name, items in (data.get("dependency-groups") or {}).items()}
    for group in groups:
        found += _list_group(tables, group, ())
    return list(dict.fromkeys(found))


def _list_group(tables: Mapping[str, list[Any]], group: str, parents: tuple[str, ...]) -> list[str]:
    """Return the requirements of a dependency group (PEP 735) and of the groups that it includes."""
    name = normalize_name(group)
    if name not in tables:
        raise ValueError(f"it has no group '{group}'; its groups are {', '.join(tables) or 'none'} (venv_groups)")
    if name in parents:
        raise ValueError(f"its group '{group}' includes itself")
    found = []
    for item in tables[name]:
        included = item.get("include-group") if isinstance(item, dict) else None
        found += _list_group(tables, included, (*parents, name)) if included else [str(item)]
    return found


def parse_pylock(data: Mapping[str, Any]) -> list[str]:
    """Convert a loaded pylock.toml to requirements with hashes. Raises ValueError for packages pip cannot check."""
    version = str(data.get("lock-version", ""))
    if not version.startswith("1."):
        raise ValueError(f"its lock-version is '{version}', supported is 1.x")
    return [_format_pylock_package(package) for package in data.get("packages") or []]


def _format_pylock_package(package: Mapping[str, Any]) -> str:
    name, marker = package.get("name", ""), package.get("marker", "")
    if "directory" in package:
        path = posixpath.join(package["directory"].get("path", "."), package["directory"].get("subdirectory", ""))
        return f"{name} @ file:{quote(path)}" + (f" ; {marker}" if marker else "")
    if "vcs" in package:
        raise ValueError(f"{name} comes from a version control system: use the installer uv")
    if re.search(r"\b(extras|dependency_groups)\b", marker):
        raise ValueError(f"{name} depends on an extra or a dependency group: use the installer uv")
    if "archive" in package:
        archives = [package["archive"]]
        if not archives[0].get("url"):
            raise ValueError(f"{name} comes from a local archive: use the installer uv")
        requirement = f"{name} @ {archives[0]['url']}"
    else:
        if not package.get("version"):
            raise ValueError(f"{name} has no version: use the installer uv")
        archives = list(package.get("wheels") or []) + ([package["sdist"]] if package.get("sdist") else [])
        requirement = f"{name}=={package['version']}"
    hashes = []
    for archive in archives:
        known = [item for item in ("sha256", "sha384", "sha512") if item in (archive.get("hashes") or {})]
        hashes += [f"--hash={item}:{archive['hashes'][item]}" for item in known[:1]]
    if not hashes:
        raise ValueError(f"{name} has no SHA-2 hash")
    return " ".join([requirement + (" ; " + marker if marker else "")] + list(dict.fromkeys(hashes)))
