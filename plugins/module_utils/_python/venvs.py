# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The virtual environment that an application needs on a host, and whether it exists."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
from typing import Any, NamedTuple, Sequence

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._files import links
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import hash_file, replace_file
from ansible_collections.flaskops.production.plugins.module_utils._python import local_code
from ansible_collections.flaskops.production.plugins.module_utils._python import requirements as requirements_module
from ansible_collections.flaskops.production.plugins.module_utils._python.rules import (
    find_contradictions,
    get_index_setting,
)
from ansible_collections.flaskops.production.plugins.module_utils._python.source_directory import compute_tree_digest
from ansible_collections.flaskops.production.plugins.module_utils._python.venv_content import is_complete

# The options of a virtual environment, documented in the module venv.
VENV_OPTIONS = {
    "directory": {"type": "path", "required": True},
    "source": {"type": "path"},
    "link": {"type": "path"},
    "requirements": {"type": "list", "elements": "str", "default": ["requirements.txt"]},
    "packages": {"type": "list", "elements": "str", "default": []},
    "extras": {"type": "list", "elements": "str", "default": []},
    "groups": {"type": "list", "elements": "str", "default": []},
    "python": {"type": "str", "default": "python3"},
    "installer": {"type": "str", "choices": ["pip", "uv"], "default": "pip"},
    "uv": {"type": "path"},
    "index_url": {"type": "str", "no_log": True},
    "extra_index_urls": {"type": "list", "elements": "str", "default": [], "no_log": True},
    "find_links": {"type": "list", "elements": "str", "default": []},
    "require_hashes": {"type": "bool", "default": False},
    "only_binary": {"type": "bool", "default": False},
    "environment": {"type": "dict", "default": {}, "no_log": True},
    "timeout": {"type": "int", "default": 1800},
    "rebuild": {"type": "bool", "default": False},
}

# For each digest of inputs, the number of forced builds. Each of them has its own virtual environment.
REBUILDS = ".rebuilds"

# Prints path, version and platform of an interpreter, with fast imports only.
PROBE = """
import os, sys
print(os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable))
print(".".join(map(str, sys.version_info)))
print("-".join([sys.implementation.name, getattr(sys.implementation, "_multiarch", ""), os.uname()[4], sys.abiflags]))
"""


class VenvError(Exception):
    """A virtual environment that cannot be used or built. The message is complete sentences."""


class MissingInputError(VenvError):
    """A missing interpreter or directory that earlier tasks create, but not in check mode."""


class MissingInterpreterError(MissingInputError):
    """A missing interpreter, or one without support for virtual environments."""


class VenvSettings(NamedTuple):
    directory: str
    source: str | None
    link: str | None
    requirements: list[str]
    packages: list[str]
    python: str
    installer: str
    uv: str | None
    index_url: str | None
    extra_index_urls: list[str]
    find_links: list[str]
    require_hashes: bool
    only_binary: bool
    environment: dict[str, Any]
    timeout: int
    rebuild: bool = False
    extras: Sequence[str] = ()
    groups: Sequence[str] = ()
    report_missing: bool = False


class Interpreter(NamedTuple):
    path: str
    version: str
    platform: str


class RequirementFile(NamedTuple):
    """A requirement file or one of its includes."""

    name: str
    path: str
    kind: str
    text: str
    listed: bool  # in the option requirements, instead of included by another file
    recoded: bool = False  # The text is UTF-8 without a byte order mark, but the file is not.


class VenvPlan(NamedTuple):
    """The virtual environment for some settings, built or not. link_text is the wanted text of the link, if any.

    inputs is the digest of the inputs, and rebuilds the number of builds that rebuild has forced for them.
    """

    inputs: str
    rebuilds: int
    digest: str
    path: str
    interpreter: Interpreter
    files: list[RequirementFile]
    link_text: str | None


def parse_settings(params: dict[str, Any], report_missing: bool = False) -> VenvSettings:
    """Return the options of a task with normalized paths. Raises VenvError for a relative path."""
    for name in ("directory", "source", "link", "uv"):
        if params[name] and not os.path.isabs(params[name]):
            raise VenvError(f"{name} is '{params[name]}', but must be an absolute path.")
    return VenvSettings(**{name: params[name] for name in VENV_OPTIONS}, report_missing=report_missing)._replace(
        directory=os.path.normpath(params["directory"]),
        source=os.path.realpath(params["source"]) if params["source"] else None,
        link=os.path.normpath(params["link"]) if params["link"] else None,
    )


def plan_venv(settings: VenvSettings, will_be_linked: bool = True) -> VenvPlan:
    """Return the virtual environment for the settings.

    Raises MissingInputError for a missing interpreter or source, and VenvError for other problems.
    """
    interpreter = find_interpreter(settings.python)
    files = read_requirement_files(settings.source, settings.requirements)
    problems = find_problems(settings, files)
    if settings.link and will_be_linked and not os.path.isdir(os.path.dirname(settings.link)):
        problems.append(f"{os.path.dirname(settings.link)}, the directory of the link, is not a directory.")
    if problems:
        raise VenvError(" ".join(problems))
    inputs = collect_digest_inputs(settings, files, interpreter)
    before = requirements_module.compute_digest(inputs)
    rebuilds = _read_rebuilds(settings.directory, before) + settings.rebuild
    while True:
        digest = requirements_module.compute_digest({**inputs, "rebuild": rebuilds}) if rebuilds else before
        path = os.path.join(settings.directory, digest)
        if not settings.rebuild or not is_complete(path):
            break
        # A run was killed before it recorded this one.
        rebuilds += 1
    return VenvPlan(
        before,
        rebuilds,
        digest,
        path,
        interpreter,
        files,
        make_relative_target(path, settings.link) if settings.link else None,
    )


def _read_rebuilds(directory: str, inputs: str) -> int:
    try:
        with open(os.path.join(directory, REBUILDS, inputs), encoding="ascii") as stream:
            return int(stream.read(20))
    except (OSError, ValueError):
        return 0


def record_rebuild(settings: VenvSettings, plan: VenvPlan) -> None:
    """Make later runs without rebuild use the new virtual environment."""
    directory = os.path.join(settings.directory, REBUILDS)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    replace_file(os.path.join(directory, plan.inputs), f"{plan.rebuilds}\n".encode(), 0o644)


def is_in_place(settings: VenvSettings) -> bool:
    """Return whether the virtual environment is complete and the link points at it."""
    if settings.rebuild:
        return False
    try:
        plan = plan_venv(settings)
        linked = read_link_target(settings.link, settings.directory) if settings.link else None
    except VenvError:
        return False
    return is_complete(plan.path) and linked == plan.link_text


def find_interpreter(python: str) -> Interpreter:
    path = python if os.path.isabs(python) else shutil.which(python)
    if not path or not os.access(path, os.X_OK) or os.path.isdir(path):
        raise MissingInterpreterError(
            f"The interpreter '{python}' (venv_python) does not exist on this host. "
            "Set another one; the role venv installs those of Debian."
        )
    try:
        done = subprocess.run([path, "-I", "-S", "-c", PROBE], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise VenvError(f"The interpreter '{python}' (venv_python) cannot be run: {error}.") from error
    lines = done.stdout.decode("utf-8", "surrogateescape").splitlines()
    if done.returncode or len(lines) != 3:
        stderr = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise VenvError(f"'{path}' (venv_python) is not a Python 3 interpreter: {' '.join(stderr) or 'no output'}.")
    return Interpreter(*lines)


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
        read(name, True, None)
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
        if file.kind == requirements_module.UV_LOCK and settings.installer != "uv":
            problems.append(f"Only uv reads {file.name}: set venv_installer to uv, or list a file that pip reads.")
        if file.kind == requirements_module.PYPROJECT and file.listed and settings.installer != "uv":
            problems += filter(None, [local_code.find_unread_source(file.name, file.text)])
    for directory in find_directories(settings, files):
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


def read_link_target(link: str, directory: str) -> str | None:
    """Return the text of the link, or None if there is none. Raises VenvError unless it points into the directory."""
    text = links.read_link(link)
    if text is None:
        return None
    parent = os.path.realpath(os.path.dirname(link))
    if os.path.dirname(os.path.normpath(os.path.join(parent, text))) not in (directory, os.path.realpath(directory)):
        raise VenvError(
            f"{link} points to {text}, which is not a virtual environment in {directory}, so it was not changed. "
            "If releases are deployed, it follows the live release; otherwise remove the link and run again."
        )
    return text


def make_relative_target(path: str, link: str) -> str:
    """Return the relative text of a link to a path, which remains valid if the whole tree is moved."""
    directory, name = os.path.split(path)
    return os.path.relpath(
        os.path.join(os.path.realpath(directory), name), os.path.realpath(os.path.dirname(os.path.abspath(link)))
    )
