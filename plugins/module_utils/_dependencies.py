# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What requirement files say: pure functions, for the controller (checks before a host is touched) and for the host."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from typing import Any, Iterable, Mapping, NamedTuple

REQUIREMENTS = "requirements"
PYPROJECT = "pyproject.toml"
PYLOCK = "pylock.toml"
UV_LOCK = "uv.lock"

# The last file that is written into a virtual environment; without it the set is half-built.
COMPLETE_MARKER = ".complete"

_COMMENT = re.compile(r"(^|\s+)#.*$")
_INCLUDE = re.compile(r"^(?:(-r|--requirement|-c|--constraint)(?:\s*=\s*|\s+)|(-r|-c))(?P<name>\S.*)$")
_NAME = re.compile(r"^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?\s*(?P<rest>.*)$")
_EDITABLE = re.compile(r"^(?:-e|--editable)(?:\s*=\s*|\s+)(?P<what>.+)$")
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:(?://|/)")
_EGG = re.compile(r"[#&]egg=([A-Za-z0-9._-]+)")
_ARCHIVE = re.compile(r"\.(?:whl|zip|tar\.gz|tgz|tar\.bz2|tar\.xz)$")
_PIN = re.compile(r"^\(?\s*={2,3}\s*[^\s*,;]+\s*\)?\s*(?:;|$)")
_HASH = re.compile(r"\s--hash(?:=|\s+)\S+")
_OPTIONS = re.compile(r"\s--[a-z-]+(?:[=\s]|$).*$")
_USER_INFO = re.compile(r"(?<=://)[^/@\s'\"]+@")


class Line(NamedTuple):
    """One logical line of a requirements file: continuation lines joined, comment removed."""

    number: int
    text: str


def detect_format(name: str) -> str:
    """The format of a requirement file, which follows from its name alone."""
    base = posixpath.basename(name)
    if base == PYPROJECT:
        return PYPROJECT
    if re.match(r"^pylock(\.[^.]+)?\.toml$", base):
        return PYLOCK
    if base == UV_LOCK:
        return UV_LOCK
    return REQUIREMENTS


def normalize_name(name: str) -> str:
    """The name of a package as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def remove_user_info(text: str) -> str:
    """The text with the user names and passwords of its URLs left out: they don't change what is installed."""
    return _USER_INFO.sub("", text)


def mask_user_info(text: str) -> str:
    """The text with the user names and passwords of its URLs hidden, for people to read."""
    return _USER_INFO.sub("****@", text)


def parse_lines(text: str) -> list[Line]:
    """The logical lines of a requirements file, as pip reads them."""
    found = []
    pending, start = "", 0
    for number, raw in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        if not pending:
            start = number
        comment = raw.lstrip().startswith("#")
        if raw.endswith("\\") and not comment:
            pending += raw[:-1] + " "
            continue
        found.append((start, pending if comment and pending else pending + raw))
        pending = ""
    if pending:
        found.append((start, pending))
    stripped = [Line(number, _COMMENT.sub("", line).strip()) for number, line in found]
    return [line for line in stripped if line.text]


def _parse_include(line: Line) -> tuple[bool, str] | None:
    """(is a constraint, name) of a line that includes another file."""
    match = _INCLUDE.match(line.text)
    if not match:
        return None
    option = match.group(1) or match.group(2)
    return option in ("-c", "--constraint"), match.group("name").strip().strip("'\"")


def find_includes(text: str) -> list[str]:
    """The files that a requirements file includes (-r, -c), as written: relative to the including file.

    URLs and names with ${VARIABLES} are left out: only pip, at the time of the build, knows what they stand for.
    """
    found = [_parse_include(line) for line in parse_lines(text)]
    return list(dict.fromkeys(item[1] for item in found if item and not (_URL.match(item[1]) or "${" in item[1])))


def resolve_include(including: str, included: str) -> str:
    """The name of an included file, from the same directory that the including file's name starts from."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(including), included))


def parse_requirements(text: str) -> list[Line]:
    """The lines of a requirements file that ask for a package: no options, no includes."""
    return [line for line in parse_lines(text) if not line.text.startswith("-") or _EDITABLE.match(line.text)]


def _strip_options(line: str) -> str:
    """A requirement without its own options (--hash …) and without -e."""
    match = _EDITABLE.match(line)
    return _OPTIONS.sub("", match.group("what") if match else line).strip()


def _is_path(what: str) -> bool:
    bare = what.split(";")[0].strip().split("[")[0]
    return bare.startswith((".", "/")) or bool(_ARCHIVE.search(bare)) or ("/" in bare and "@" not in bare)


def parse_name(line: str) -> str | None:
    """The normalised name of the package that a requirement line asks for; None when only its content would tell."""
    what = _strip_options(line)
    if _URL.match(what) or _is_path(what):
        egg = _EGG.search(what)
        if egg:
            return normalize_name(egg.group(1))
        base = posixpath.basename(re.split(r"[#?;]", what)[0].strip())
        if base.endswith(".whl"):
            return normalize_name(base.split("-")[0])
        match = re.match(r"^(.+?)-\d[^-]*$", _ARCHIVE.sub("", base)) if _ARCHIVE.search(base) else None
        return normalize_name(match.group(1)) if match else None
    match = _NAME.match(what)
    return normalize_name(match.group(1)) if match else None


def parse_names(text: str) -> set[str]:
    """The normalised names of the packages that a requirements file names itself, includes not followed."""
    return {name for name in (parse_name(line.text) for line in parse_requirements(text)) if name}


def parse_local_path(line: str) -> str | None:
    """The path on disk that a requirement line names, None for a package of an index or a URL."""
    what = _strip_options(line)
    match = _NAME.match(what)
    if match and match.group("rest").startswith("@"):
        what = match.group("rest")[1:].strip()
    if what.startswith("file:"):
        return re.sub(r"^file:(//(localhost)?(?=/))?", "", re.split(r"[#;]", what)[0].strip())
    if _URL.match(what) or not _is_path(what):
        return None
    return re.split(r"\s*;|\[", what)[0].strip()


def has_hash(line: str) -> bool:
    return bool(_HASH.search(line))


def needs_hashes(text: str) -> bool:
    """Whether pip will ask for a hash of every package because this requirements file is among the others."""
    return any(line.text == "--require-hashes" or has_hash(line.text) for line in parse_lines(text))


def _find_hash_problem(line: str) -> str | None:
    """Why one requirement line can't be installed with every hash checked."""
    what = _strip_options(line)
    match = _NAME.match(what)
    direct = bool(_URL.match(what)) or _is_path(what) or bool(match and match.group("rest").startswith("@"))
    if _EDITABLE.match(line) or re.match(r"^(?:[^@]*@\s*)?(?:git|hg|svn|bzr)\+", what):
        return "comes from a work tree or a version control system, for which there is no hash"
    if not has_hash(line):
        return "has no --hash"
    if not direct and not (match and _PIN.match(match.group("rest"))):
        return "is not pinned with =="
    return None


def _find_constraint_files(text_by_name: Mapping[str, str]) -> set[str]:
    """The files that only constrain versions: they install nothing, and so name nothing."""
    constraints: set[str] = set()
    included: set[str] = set()
    for name, text in text_by_name.items():
        for line in parse_lines(text) if detect_format(name) == REQUIREMENTS else []:
            item = _parse_include(line)
            if item:
                (constraints if item[0] else included).add(resolve_include(name, item[1]))
    return constraints - included


def check_hashes(text_by_name: Mapping[str, str], packages: Iterable[str] = ()) -> list[str]:
    """What keeps a virtual environment from being installed with every hash checked; empty when nothing does.

    The mapping holds the requirement files and their includes, by the name that include_name() gives. The packages
    are those added to the files: one that the files don't name needs a hash too.
    """
    faults = []
    constraints = _find_constraint_files(text_by_name)
    for name, text in text_by_name.items():
        if detect_format(name) == PYPROJECT:
            faults.append(f"{name} can't hold hashes; use a lock file made from it (pylock.toml, uv.lock).")
        if detect_format(name) != REQUIREMENTS or posixpath.normpath(name) in constraints:
            continue
        for line in parse_requirements(text):
            fault = _find_hash_problem(line.text)
            if fault:
                faults.append(f"{name}, line {line.number}: '{mask_user_info(_strip_options(line.text))}' {fault}.")
    for package in find_missing_packages(packages, text_by_name):
        fault = _find_hash_problem(package)
        if fault:
            faults.append(
                f"The added package '{mask_user_info(_strip_options(package))}' {fault}; pin it with its hash in a "
                "requirement file."
            )
    return faults


def find_missing_packages(packages: Iterable[str], text_by_name: Mapping[str, str]) -> list[str]:
    """The packages that the given files don't name.

    pyproject.toml is not read here (older Pythons have no TOML reader): its names come as requirement lines.
    """
    named: set[str] = set()
    constraints = _find_constraint_files(text_by_name)
    for name, text in text_by_name.items():
        if detect_format(name) == REQUIREMENTS:
            named |= set() if posixpath.normpath(name) in constraints else parse_names(text)
        elif detect_format(name) in (PYLOCK, UV_LOCK):
            named |= parse_lock_names(text)
    return [package for package in packages if parse_name(package) not in named]


def parse_lock_names(text: str) -> set[str]:
    """The names of the packages in a pylock.toml or uv.lock, read without a TOML reader: both write them one way."""
    found: set[str] = set()
    table = ""
    for line in text.splitlines():
        if line.startswith("["):
            table = line.split("#")[0].strip()
        match = re.match(r"""^name\s*=\s*["']([^"']+)["']""", line)
        if match and table in ("[[package]]", "[[packages]]"):
            found.add(normalize_name(match.group(1)))
    return found


def parse_pyproject(data: Mapping[str, Any]) -> list[str]:
    """The dependencies of a parsed pyproject.toml; ValueError when they aren't written there."""
    project = data.get("project")
    if not isinstance(project, dict):
        raise ValueError("it has no [project] table; list requirement files in another format")
    if "dependencies" in (project.get("dynamic") or []):
        raise ValueError(
            "its dependencies are dynamic: only a build of the project would tell them; list the file they come from"
        )
    return [str(item) for item in project.get("dependencies") or []]


def parse_pylock(data: Mapping[str, Any]) -> list[str]:
    """The packages of a parsed pylock.toml as hash-checked requirement lines; ValueError for what pip can't check."""
    version = str(data.get("lock-version", ""))
    if not version.startswith("1."):
        raise ValueError(f"its lock-version is '{version}', known is 1.x")
    return [_format_pylock_package(package) for package in data.get("packages") or []]


def _format_pylock_package(package: Mapping[str, Any]) -> str:
    name, marker = package.get("name", ""), package.get("marker", "")
    if "vcs" in package or "directory" in package:
        raise ValueError(f"{name} comes from a directory or a version control system: use the installer uv")
    if re.search(r"\b(extras|dependency_groups)\b", marker):
        raise ValueError(f"{name} depends on an extra or a dependency group: use the installer uv")
    if "archive" in package:
        archives = [package["archive"]]
        if not archives[0].get("url"):
            raise ValueError(f"{name} comes from a local archive: use the installer uv")
        what = f"{name} @ {archives[0]['url']}"
    else:
        if not package.get("version"):
            raise ValueError(f"{name} has no version: use the installer uv")
        archives = list(package.get("wheels") or []) + ([package["sdist"]] if package.get("sdist") else [])
        what = f"{name}=={package['version']}"
    hashes = []
    for archive in archives:
        known = [item for item in ("sha256", "sha384", "sha512") if item in (archive.get("hashes") or {})]
        hashes += [f"--hash={item}:{archive['hashes'][item]}" for item in known[:1]]
    if not hashes:
        raise ValueError(f"{name} has no SHA-2 hash")
    return " ".join([what + (" ; " + marker if marker else "")] + list(dict.fromkeys(hashes)))


def compute_digest(inputs: Mapping[str, Any]) -> str:
    """The name of a virtual environment: the same inputs give the same name, on every host."""
    canonical = json.dumps(inputs, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()[:12]
