# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find requirements whose content can change while their text stays equal, and install directories by content.

The functions are pure, for the controller and the host.
"""

from __future__ import annotations

import os
import posixpath
import re
from typing import Callable, Iterable, Iterator, NamedTuple
from urllib.parse import quote, unquote

from ansible_collections.flaskops.production.plugins.module_utils._python import requirements

# A directory with one of these files can be built to a wheel.
PROJECT_FILES = ("pyproject.toml", "setup.py")

_OPTIONS = re.compile(r"\s--[a-z-]+(?:[=\s]|$).*$")
_NAMED = re.compile(
    r"^(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?P<extras>\[[^\]]*\])?\s*@\s*(?P<url>.+)$"
)
_EXTRAS = re.compile(r"^(?P<path>.+?)(?P<extras>\[[^\]]*\])$")
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")
_FRAGMENT = re.compile(r"(?:^|&)(egg|subdirectory)=([^&]+)")
_ARCHIVE = re.compile(r"\.(?:whl|zip|tar\.gz|tgz|tar\.bz2|tar\.xz)$")
_VCS = re.compile(r"(?:git|hg|svn|bzr)\+[a-z+.-]+:[^\s\"',;]+|git\+[^\s\"',;]+", re.IGNORECASE)
_COMMIT = re.compile(r"@[0-9a-f]{40}(?:[0-9a-f]{24})?$")
_REMOTE_INCLUDE = re.compile(r"^(?:-r|-c|--requirement|--constraint)[\s=]*[A-Za-z][A-Za-z0-9+.-]*://")
_TOML_STRING = r"\"([^\"\n]*)\"|'([^'\n]*)'"
_TOML_TABLE = re.compile(r"^\s*\[+\s*(?P<name>[^\]]+?)\s*\]+\s*(?:#.*)?$")


class LocalRequirement(NamedTuple):
    """A requirement that names a path. The path is as written, relative or absolute."""

    path: str
    name: str = ""
    extras: str = ""
    marker: str = ""
    options: str = ""
    editable: bool = False

    def format(self, directory: str) -> str:
        """Return a requirement for the same project in another directory, not editable."""
        marker = f" ; {self.marker}" if self.marker else ""
        if self.name:
            return f"{self.name}{self.extras} @ file://{quote(directory)}{marker}{self.options}"
        return f"{directory}{self.extras}{marker}{self.options}"


def parse_local_requirement(line: str) -> LocalRequirement | None:
    """Parse a requirement that names a path, in any spelling of pip and uv. Returns None for other requirements."""
    match = requirements.EDITABLE.match(line)
    editable = match is not None
    text = (match.group("requirement") if match else line).strip()
    option = _OPTIONS.search(text)
    options = option.group(0).rstrip() if option else ""
    text = re.sub(r"^(['\"])(.*)\1$", r"\2", _OPTIONS.sub("", text).strip())
    text, _semicolon, marker = text.partition(";")
    text, marker = text.strip(), marker.strip()
    name = extras = ""
    named = _NAMED.match(text)
    if named and not text.startswith((".", "/")) and "/" not in text.split("@")[0]:
        name, extras, text = named.group("name"), named.group("extras") or "", named.group("url").strip()
    if text.startswith("file:"):
        url, _hash, fragment = text.partition("#")
        path = unquote(re.sub(r"^file:(?://(?:localhost)?(?=/))?(?://)?", "", url))
        for key, value in _FRAGMENT.findall(fragment):
            if key == "subdirectory":
                path = posixpath.join(path, unquote(value))
            elif not name:
                found = _EXTRAS.match(unquote(value))
                name, extras = (found.group("path"), found.group("extras")) if found else (unquote(value), "")
    elif _SCHEME.match(text) or text.startswith("-"):
        return None
    else:
        path, _hash, _fragment = text.partition("#egg=")
        found = _EXTRAS.match(path)
        path, extras = (found.group("path"), found.group("extras")) if found else (path, extras)
        is_path = path.startswith((".", "/")) or "/" in path or bool(_ARCHIVE.search(path))
        if not editable and not name and not is_path:
            return None
    return LocalRequirement(path.strip(), name, extras, marker, options, editable) if path.strip() else None


class Directory(NamedTuple):
    """A directory that a requirement file names: normalized and relative to the source, or absolute."""

    file: str
    line: int
    text: str
    path: str


def find_directories(
    name: str, text: str, is_directory: Callable[[str], bool], installer: str = "pip", listed: bool = True
) -> list[Directory]:
    """Return the directories that a file names.

    name is the name of the file, relative to the source. is_directory() gets a path relative to the source.
    """
    kind, folder = requirements.detect_format(name), posixpath.dirname(name)
    if kind == requirements.REQUIREMENTS:
        return [
            Directory(name, line.number, line.text, _resolve(local, folder, is_directory))
            for line in requirements.parse_requirements(text)
            for local in [parse_local_requirement(line.text)]
            if local and is_directory(_resolve(local, folder, is_directory))
        ]
    found: Iterable[tuple[int, str]] = []
    if kind == requirements.PYLOCK:
        found = _find_pylock_directories(text)
    elif kind == requirements.UV_LOCK:
        found = [
            (number, path)
            for number, path, package in _find_uv_directories(text)
            if path != "." or _has_src(folder, package, is_directory)
        ]
    elif listed:
        found = [item for item in _find_project_paths(text, installer) if is_directory(_join(folder, item[1]))]
        if _has_src(folder, _find_package_name(text), is_directory):
            found = [*found, (1, ".")]
    lines = text.splitlines()
    return [Directory(name, number, lines[number - 1].strip(), _join(folder, path)) for number, path in found]


def find_archives(name: str, text: str, is_file: Callable[[str], bool], installer: str = "pip") -> list[str]:
    """Return the paths of local wheels and source archives that a requirements file or a pyproject.toml names."""
    kind, folder = requirements.detect_format(name), posixpath.dirname(name)
    if kind == requirements.REQUIREMENTS:
        found = [parse_local_requirement(line.text) for line in requirements.parse_requirements(text)]
        paths = [_resolve(local, folder, is_file) for local in found if local]
    elif kind == requirements.PYPROJECT:
        paths = [_join(folder, path) for _number, path in _find_project_paths(text, installer)]
    else:
        # A lock file has their hashes.
        paths = []
    return [path for path in paths if is_file(path)]


def _join(folder: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(folder, path))


def _resolve(local: LocalRequirement, folder: str, exists: Callable[[str], bool]) -> str:
    """Return the path of a requirement. Installers resolve it from the source, or from the directory of the file."""
    path, beside = posixpath.normpath(local.path), _join(folder, local.path)
    return beside if not exists(path) and exists(beside) else path


def _has_src(folder: str, name: str, is_directory: Callable[[str], bool]) -> bool:
    """Return whether the package of a project is in src/, so that it is importable after an installation only."""
    return bool(name) and is_directory(_join(folder, f"src/{requirements.normalize_name(name).replace('-', '_')}"))


def _find_package_name(text: str) -> str:
    """Return the name in a pyproject.toml, or an empty string if it does not describe a project that can be built."""
    names: dict[str, str] = {}
    table = ""
    for line in text.splitlines():
        match = _TOML_TABLE.match(line)
        table = match.group("name") if match else table
        name = re.match(rf"name\s*=\s*(?:{_TOML_STRING})", line)
        names.setdefault(table, "")
        if name:
            names[table] = name.group(1) or name.group(2) or ""
    return names.get("project", "") if "build-system" in names else ""


def _find_pylock_directories(text: str) -> Iterator[tuple[int, str]]:
    """Yield line number and path of the directories in a pylock.toml, without a TOML parser."""
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        match = _TOML_TABLE.match(line)
        table = match.group("name").replace(" ", "") if match else table
        value = re.search(r"(?:^|[\s,{])directory\s*=\s*\{(?P<table>[^}]*)\}", line)
        inside = value.group("table") if value else line if table == "packages.directory" else ""
        path = re.search(rf"(?:^|[\s,])path\s*=\s*(?:{_TOML_STRING})", inside)
        if path:
            yield number, path.group(1) or path.group(2) or "."


def _find_uv_directories(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield line number, path and package of the directories in a uv.lock that are installed."""
    name = ""
    for number, line in enumerate(text.splitlines(), 1):
        found = re.match(r"name\s*=\s*\"([^\"]+)\"", line)
        name = found.group(1) if found else name
        match = re.match(rf"source\s*=\s*\{{\s*(?:editable|directory)\s*=\s*(?:{_TOML_STRING})\s*\}}", line)
        if match:
            yield number, match.group(1) or match.group(2) or ".", name


def _find_project_paths(text: str, installer: str) -> Iterator[tuple[int, str]]:
    """Yield line number and path of the files and directories that the dependencies of a pyproject.toml name.

    A member of a workspace counts as the project itself. Only uv reads [tool.uv.sources].
    """
    for number, line in enumerate(text.splitlines(), 1):
        for first, second in re.findall(r"\"([^\"\n]*@\s*file:[^\"\n]*)\"|'([^'\n]*@\s*file:[^'\n]*)'", line):
            local = parse_local_requirement(first or second)
            if local:
                yield number, local.path
    for number, line in _list_source_lines(text) if installer == "uv" else ():
        path = re.search(rf"(?:^|[\s,{{.])path\s*=\s*(?:{_TOML_STRING})", line)
        if path:
            yield number, path.group(1) or path.group(2) or "."
        elif re.search(r"(?:^|[\s,{.])workspace\s*=\s*true", line):
            yield number, "."


def _list_source_lines(text: str) -> Iterator[tuple[int, str]]:
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        match = _TOML_TABLE.match(line)
        if match:
            name = match.group("name").replace(" ", "")
            inside = name == "tool.uv.sources" or name.startswith("tool.uv.sources.")
        elif inside:
            yield number, line


def find_unread_source(name: str, text: str) -> str | None:
    """Return a problem of a pyproject.toml that is to be installed by pip, which does not read [tool.uv.sources]."""
    for number, line in _list_source_lines(text):
        if re.match(r"[^#\s]", line):
            return (
                f"{name}, line {number}: '{requirements.mask_user_info(line.strip())}' is in [tool.uv.sources], which "
                "only uv reads; pip would take a package of that name from the index: set venv_installer to uv."
            )
    return None


def find_directory_problem(directory: Directory, exists: Callable[[str], bool]) -> str | None:
    """Return why a directory cannot be installed, as a sentence, or None. exists() gets a path below the source."""
    shown = (
        f"{directory.file}, line {directory.line}: '{requirements.mask_user_info(directory.text)}' names a directory"
    )
    if directory.path.startswith(("/", "../")) or directory.path == "..":
        return f"{shown} outside of the release: name one in the release by a relative path."
    if not any(exists(_join(directory.path, name)) for name in PROJECT_FILES):
        return f"{shown} that is no project, because it has no pyproject.toml and no setup.py: remove the line."
    return None


def find_moving_references(
    texts: Iterable[tuple[str, str]], packages: Iterable[str], installer: str = "pip"
) -> list[str]:
    """Return the references in requirement files and packages that can lead to other content at another time.

    texts are pairs of the name and the text of a file. Found are branches and tags of repositories, and includes that
    only the installer can resolve. The packages of an index are not found.
    """
    found: list[str] = []
    for name, text in texts:
        kind = requirements.detect_format(name)
        if kind == requirements.REQUIREMENTS:
            lines = [line.text for line in requirements.parse_lines(text)]
            found += [line for line in lines if _is_unresolved_include(line)]
            found += [reference for line in lines for reference in _find_branches(line)]
        elif kind == requirements.PYPROJECT:
            found += _find_branches(text)
            if installer == "uv":
                found += [line.strip() for _number, line in _list_source_lines(text) if _is_moving_source(line)]
    return found + [reference for package in packages for reference in _find_branches(package)]


def _is_unresolved_include(line: str) -> bool:
    included = re.match(r"^(?:-r|-c|--requirement|--constraint)\b", line) is not None
    return _REMOTE_INCLUDE.match(line) is not None or included and "${" in line


def _find_branches(text: str) -> list[str]:
    return [url for url in _VCS.findall(text) if not _COMMIT.search(url.partition("#")[0])]


def _is_moving_source(line: str) -> bool:
    return (
        re.search(r"(?:^|[\s,{.])git\s*=", line) is not None
        and re.search(r"(?:^|[\s,{])rev\s*=\s*[\"'][0-9a-f]{40}[\"']", line) is None
    )


def rewrite_requirements(
    text: str, name: str, is_directory: Callable[[str], bool], root: str, separate: bool = False
) -> tuple[str, list[str]]:
    """Rewrite a requirements file so that its directories are taken from a copy of the source, and not editable.

    Returns the text, and the requirements of directories if they are to be separate. Other lines are kept.
    """
    lines: list[str] = []
    separated: list[str] = []
    folder = posixpath.dirname(name)
    for line in requirements.parse_lines(text):
        local = parse_local_requirement(line.text)
        path = _resolve(local, folder, is_directory) if local else ""
        if not local or not is_directory(path):
            lines.append(line.text)
            continue
        requirement = local.format(os.path.normpath(os.path.join(root, path)))
        (separated if separate else lines).append(requirement)
    return "\n".join([*lines, ""]), separated


def make_static(text: str) -> str:
    """Rewrite a pylock.toml or pyproject.toml so that no directory is installed editable."""
    return re.sub(r"(?m)((?:^|[\s,{.])editable\s*=\s*)true\b", r"\1false", text)
