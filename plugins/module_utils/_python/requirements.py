# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse requirement files: pure functions for the controller and the host."""

from __future__ import annotations

import codecs
import posixpath
import re
from typing import Iterable, Mapping, NamedTuple

REQUIREMENTS = "requirements"
PYPROJECT = "pyproject.toml"
PYLOCK = "pylock.toml"
UV_LOCK = "uv.lock"
PYPI = "https://pypi.org/simple"


_COMMENT = re.compile(r"(^|\s+)#.*$")
_INCLUDE = re.compile(r"^(?:(-r|--requirement|-c|--constraint)(?:\s*=\s*|\s+)|(-r|-c))(?P<name>\S.*)$")
_FIND_LINKS = re.compile(r"^(?:--find-links(?:\s*=\s*|\s+)|-f\s*)(?P<link>\S.*)$")
_NAME = re.compile(r"^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?\s*(?P<rest>.*)$")
EDITABLE = re.compile(r"^(?:-e\s*|--editable(?:\s*=\s*|\s+))(?P<requirement>.+)$")
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:(?://|/)")
_EGG = re.compile(r"[#&]egg=([A-Za-z0-9._-]+)")
_ARCHIVE = re.compile(r"\.(?:whl|zip|tar\.gz|tgz|tar\.bz2|tar\.xz)$")
_PIN = re.compile(r"^\(?\s*={2,3}\s*[^\s*,;]+\s*\)?\s*(?:;|$)")
_HASH = re.compile(r"\s--hash(?:=|\s+)\S+")
_OPTIONS = re.compile(r"\s--[a-z-]+(?:[=\s]|$).*$")
_USER_INFO = re.compile(r"(?<=://)[^/@\s'\"]+@")


# Files of other tools, and how to make a file from them that is accepted.
_FOREIGN_FILES = {
    "poetry.lock": "run 'poetry export --output requirements.txt' (with poetry-plugin-export)",
    "Pipfile.lock": "run 'pipenv requirements --hash > requirements.txt'",
    "Pipfile": "run 'pipenv requirements --hash > requirements.txt'",
    "pdm.lock": "run 'pdm export --output requirements.txt'",
    "environment.yml": "write the packages of PyPI to requirements.txt",
    "environment.yaml": "write the packages of PyPI to requirements.txt",
    "setup.py": "write '.' to requirements.txt, which installs the project",
    "setup.cfg": "write '.' to requirements.txt, which installs the project",
}
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CODING = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")


class Line(NamedTuple):
    """A logical line of a requirements file: continuation lines are joined, comments removed."""

    number: int
    text: str


def detect_format(name: str) -> str:
    """Return the format of a requirement file, which depends on its name only."""
    base = posixpath.basename(name)
    if base == PYPROJECT:
        return PYPROJECT
    if re.match(r"^pylock(\.[^.]+)?\.toml$", base):
        return PYLOCK
    if base == UV_LOCK:
        return UV_LOCK
    return REQUIREMENTS


def find_format_problem(name: str, text: str = "") -> str | None:
    """Return why a file of another tool is not accepted, with the command that makes a file that is, or None."""
    advice = _FOREIGN_FILES.get(posixpath.basename(name))
    cause = "is the file of another tool"
    is_poetry = re.search(r"(?m)^\[tool\.poetry", text) and not re.search(r"(?m)^\[project\]", text)
    if not advice and is_poetry and detect_format(name) == PYPROJECT:
        advice, cause = _FOREIGN_FILES["poetry.lock"], "has its dependencies in [tool.poetry] instead of [project]"
    return f"{name} {cause}: {advice}, and set venv_requirements to [requirements.txt]." if advice else None


def decode_text(data: bytes) -> str:
    """Decode a requirement file as pip does: by its byte order mark or coding comment, otherwise as UTF-8.

    Raises ValueError with the reason and the remedy.
    """
    encoding = "utf-8"
    for mark, name in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            data, encoding = data[len(mark) :], name
            break
    else:
        for line in data.split(b"\n")[:2]:
            match = _CODING.match(line)
            encoding = match.group(1).decode("ascii") if match else encoding
    try:
        text = data.decode(encoding)
    except LookupError:
        raise ValueError(f"names the unknown encoding {encoding}; save it as UTF-8") from None
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"is not valid {encoding} (line {number}); save it as UTF-8") from None
    if "\0" in text:
        raise ValueError("has null characters, like UTF-16 without a byte order mark; save it as UTF-8")
    return text


def parse_requires_python(text: str) -> str:
    """Return the versions of Python that a pyproject.toml or lock file accepts, or an empty string."""
    # A package of a pylock.toml may have such a key, too.
    head = re.split(r"(?m)^\[\[", text)[0]
    match = re.search(r"(?m)^requires-python\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", head)
    return (match.group(1) or match.group(2) or "").strip() if match else ""


def parse_registries(text: str) -> set[str]:
    """Return the package indexes in a uv.lock."""
    return {url.rstrip("/") for url in re.findall(r'(?m)^source = \{ registry = "([^"]+)" \}', text)}


def find_constraints(text_by_name: Mapping[str, str]) -> list[tuple[str, Line]]:
    """Return the constraints in requirement files, with the names of the files."""
    names = _find_constraint_files(text_by_name)
    return [
        (name, line)
        for name, text in text_by_name.items()
        if posixpath.normpath(name) in names
        for line in parse_requirements(text)
    ]


def normalize_name(name: str) -> str:
    """Return the normalized name of a package (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def remove_user_info(text: str) -> str:
    """Remove user names and passwords from URLs in a text. They do not affect which packages are installed."""
    return _USER_INFO.sub("", text)


def mask_user_info(text: str) -> str:
    """Replace user names and passwords in URLs of a text by asterisks, for messages."""
    return _USER_INFO.sub("****@", text)


def parse_lines(text: str) -> list[Line]:
    """Parse a requirements file into logical lines, as pip does."""
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
    """Parse a line that includes another file. Returns whether it is a constraint, and the name, or None."""
    match = _INCLUDE.match(line.text)
    if not match:
        return None
    option = match.group(1) or match.group(2)
    return option in ("-c", "--constraint"), match.group("name").strip().strip("'\"")


def find_includes(text: str) -> list[str]:
    """Return the files that a requirements file includes (-r, -c), relative to the including file.

    URLs and names with ${VARIABLES} are omitted, because pip resolves them during the build.
    """
    found = [_parse_include(line) for line in parse_lines(text)]
    return list(dict.fromkeys(item[1] for item in found if item and not (_URL.match(item[1]) or "${" in item[1])))


def parse_find_links(text: str) -> list[str]:
    """Return the directories and pages of packages that a requirements file names (-f, --find-links)."""
    matches = [_FIND_LINKS.match(line.text) for line in parse_lines(text)]
    found = [match.group("link").strip().strip("'\"") for match in matches if match]
    return [re.sub(r"^file:(//(localhost)?(?=/))?", "", link) for link in found]


def resolve_include(including: str, included: str) -> str:
    """Return the name of an included file, relative to the same directory as the name of the including file."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(including), included))


def parse_requirements(text: str) -> list[Line]:
    """Return the requirements of a requirements file, without options and includes."""
    return [line for line in parse_lines(text) if not line.text.startswith("-") or EDITABLE.match(line.text)]


def _strip_options(line: str) -> str:
    """Remove -e and per-requirement options (--hash …) from a requirement."""
    match = EDITABLE.match(line)
    return _OPTIONS.sub("", match.group("requirement") if match else line).strip()


def _is_path(requirement: str) -> bool:
    bare = requirement.split(";")[0].strip().split("[")[0]
    return bare.startswith((".", "/")) or bool(_ARCHIVE.search(bare)) or ("/" in bare and "@" not in bare)


def parse_name(line: str) -> str | None:
    """Return the normalized name of a requirement's package, or None if only the package itself contains it."""
    requirement = _strip_options(line)
    if _URL.match(requirement) or _is_path(requirement):
        egg = _EGG.search(requirement)
        if egg:
            return normalize_name(egg.group(1))
        base = posixpath.basename(re.split(r"[#?;]", requirement)[0].strip())
        if base.endswith(".whl"):
            return normalize_name(base.split("-")[0])
        match = re.match(r"^(.+?)-\d[^-]*$", _ARCHIVE.sub("", base)) if _ARCHIVE.search(base) else None
        return normalize_name(match.group(1)) if match else None
    match = _NAME.match(requirement)
    return normalize_name(match.group(1)) if match else None


def parse_names(text: str) -> set[str]:
    """Return the normalized names of the packages in a requirements file, without those of included files."""
    return {name for name in (parse_name(line.text) for line in parse_requirements(text)) if name}


def has_hash(line: str) -> bool:
    return bool(_HASH.search(line))


def needs_hashes(text: str) -> bool:
    """Return whether this requirements file makes pip require a hash for all packages."""
    return any(line.text == "--require-hashes" or has_hash(line.text) for line in parse_lines(text))


def _find_hash_problem(line: str) -> str | None:
    """Return why a requirement cannot be installed with hash checking, or None."""
    requirement = _strip_options(line)
    match = _NAME.match(requirement)
    direct = (
        bool(_URL.match(requirement)) or _is_path(requirement) or bool(match and match.group("rest").startswith("@"))
    )
    if EDITABLE.match(line) or re.match(r"^(?:[^@]*@\s*)?(?:git|hg|svn|bzr)\+", requirement):
        return "comes from a work tree or a version control system, for which there is no hash"
    if not has_hash(line):
        return "has no --hash"
    if not direct and not (match and _PIN.match(match.group("rest"))):
        return "is not pinned with =="
    return None


def _find_constraint_files(text_by_name: Mapping[str, str]) -> set[str]:
    """Return the files that are only used as constraints, so their packages are not installed."""
    constraints: set[str] = set()
    included: set[str] = set()
    for name, text in text_by_name.items():
        for line in parse_lines(text) if detect_format(name) == REQUIREMENTS else []:
            item = _parse_include(line)
            if item:
                (constraints if item[0] else included).add(resolve_include(name, item[1]))
    return constraints - included


def check_hashes(text_by_name: Mapping[str, str], packages: Iterable[str] = ()) -> list[str]:
    """Return the problems that prevent an installation with hash checking, as sentences.

    The mapping holds the texts of requirement files and their includes, by the name that resolve_include() returns.
    packages are added to the files; a package that is not in the files needs a hash too.
    """
    problems = []
    constraints = _find_constraint_files(text_by_name)
    for name, text in text_by_name.items():
        if detect_format(name) == PYPROJECT:
            problems.append(f"{name} cannot contain hashes; use a lock file made from it (pylock.toml, uv.lock).")
        if detect_format(name) != REQUIREMENTS or posixpath.normpath(name) in constraints:
            continue
        for line in parse_requirements(text):
            problem = _find_hash_problem(line.text)
            if problem:
                problems.append(f"{name}, line {line.number}: '{mask_user_info(_strip_options(line.text))}' {problem}.")
    for package in find_missing_packages(packages, text_by_name):
        problem = _find_hash_problem(package)
        if problem:
            problems.append(
                f"The added package '{mask_user_info(_strip_options(package))}' {problem}; pin it with its hash in a "
                "requirement file."
            )
    return problems


def find_missing_packages(packages: Iterable[str], text_by_name: Mapping[str, str]) -> list[str]:
    """Return the packages that are not in the requirement files.

    The dependencies of a pyproject.toml must be passed as a requirements file, because old Pythons have no TOML parser.
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
    """Return the names of the packages in a pylock.toml or uv.lock, without a TOML parser."""
    found: set[str] = set()
    table = ""
    for line in text.splitlines():
        if line.startswith("["):
            table = line.split("#")[0].strip()
        match = re.match(r"""^name\s*=\s*["']([^"']+)["']""", line)
        if match and table in ("[[package]]", "[[packages]]"):
            found.add(normalize_name(match.group(1)))
    return found


def find_selection_problem(names: Iterable[str], extras: Iterable[str], groups: Iterable[str]) -> str | None:
    """Return why extras or dependency groups cannot be selected from requirement files, as a sentence, or None."""
    setting = "venv_extras" if list(extras) else "venv_groups" if list(groups) else ""
    if not setting or any(detect_format(name) in (PYPROJECT, UV_LOCK) for name in names):
        return None
    return (
        f"{setting} is set, but extras and groups are selected from pyproject.toml and uv.lock only: list one of them "
        "in venv_requirements, or write the extra into the requirements, such as name[extra]."
    )
