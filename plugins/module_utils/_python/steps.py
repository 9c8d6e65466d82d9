# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the calls of the installer: the requirement files of each, converted if the installer cannot read them."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

from ansible_collections.flaskops.production.plugins.module_utils._files.ownership import chown_tree
from ansible_collections.flaskops.production.plugins.module_utils._files.paths import is_within
from ansible_collections.flaskops.production.plugins.module_utils._python import local_code, requirements, toml_files
from ansible_collections.flaskops.production.plugins.module_utils._python.installer import Installer, Step
from ansible_collections.flaskops.production.plugins.module_utils._python.options import VenvError
from ansible_collections.flaskops.production.plugins.module_utils._python.requirement_files import (
    RequirementFile,
    find_directories,
)
from ansible_collections.flaskops.production.plugins.module_utils._python.rules import find_contradictions
from ansible_collections.flaskops.production.plugins.module_utils._python.source_directory import copy_source
from ansible_collections.flaskops.production.plugins.module_utils._systemd import transient_unit

try:
    import tomllib
except ImportError:
    tomllib = None  # type: ignore[assignment]

# The files that uv exports, by their format. uv recognizes a pylock.toml by its name.
EXPORTED_NAMES = {requirements.PYLOCK: "pylock.exported.toml", "requirements.txt": "exported.txt"}
READ_TOML = """
import json, sys
try:
    import tomllib
except ImportError:
    from pip._vendor import tomli as tomllib
with open(sys.argv[1], "rb") as stream:
    print(json.dumps(tomllib.load(stream), default=str))
"""


class StepPlanner:
    """Plans the calls of an installer for its requirement files and the added packages."""

    def __init__(self, installer: Installer) -> None:
        self.installer = installer
        self.settings = installer.settings
        # Directories have no hash. If another package has one, they are installed later.
        self.hashed = (
            self.settings.require_hashes
            or self.settings.installer == "pip"
            and any(
                file.kind == requirements.PYLOCK
                or file.kind == requirements.REQUIREMENTS
                and requirements.needs_hashes(file.text)
                for file in installer.files
            )
        )
        self.projects: list[str] = []

    @property
    def source_copy(self) -> str:
        """Return the path of the copy of the source, whether it exists or not."""
        return os.path.join(self.installer.work.temporary, "source")

    def use_source_copy(self) -> None:
        """Copy the source, because builds write beside the code, and use the requirement files of the copy.

        These name directories of the copy, and none of them is editable.
        """
        copy = self.source_copy
        copy_source(self.installer.source, copy)
        self.installer.source, files = copy, self.installer.files
        self.installer.files = []
        for file in files:
            path = os.path.join(copy, file.name)
            parent = os.path.dirname(path)
            # A directory that is a link could lead out of the copy.
            if not os.path.isabs(file.name) and os.path.realpath(parent) == parent:
                text = file.text
                if file.kind == requirements.REQUIREMENTS:
                    text = self._rewrite_directories(text, file.name)
                elif file.kind == requirements.PYLOCK or self.settings.installer == "uv":
                    text = local_code.make_static(text)
                # The copy has no files that only root can read.
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                with open(path, "xb") as stream:
                    stream.write(text.encode("utf-8", "surrogateescape"))
                file = file._replace(path=path, text=text)
            self.installer.files.append(file)
        chown_tree(copy, self.installer.work.uid, self.installer.work.gid)

    def _rewrite_directories(self, text: str, name: str, folder: str = "") -> str:
        """Rewrite requirements so that they name directories of the copy.

        pip cannot check the hash of a directory, so if any package has a hash, directories are installed by a later
        call. folder is the directory of relative paths, below the source.
        """
        root = os.path.join(self.installer.source, folder)

        def is_directory(path: str) -> bool:
            found = os.path.isdir(os.path.join(root, path))
            if found and self.installer.source == self.settings.source:
                raise VenvError(
                    f"{path} in {self.installer.source} is a directory that was not found by reading {name or folder}."
                )
            return found

        text, separated = local_code.rewrite_requirements(text, name, is_directory, root, self.hashed)
        self.projects += separated
        return text

    def plan_steps(self) -> list[Step]:
        """Plan the calls of the installer. Packages are added unless the files contain them."""
        listed = [file for file in self.installer.files if file.listed]
        texts = {file.name: file.text for file in self.installer.files if file.kind != requirements.UV_LOCK}
        for file in listed:
            if file.kind == requirements.PYPROJECT:
                texts[file.name + ".txt"] = self._convert_pyproject(file)
        packages = [self._rewrite_directories(package, "").strip() for package in self.settings.packages]
        packages = [package for package in packages if package]
        if self.settings.installer == "uv":
            steps = self._plan_uv_steps(listed, texts, packages)
            self._check_converted_files(texts)
            return steps
        paths = []
        for file in listed:
            if file.kind == requirements.PYPROJECT:
                paths.append(self.installer.write_input(file.name, texts[file.name + ".txt"]))
            elif file.kind == requirements.PYLOCK:
                lines = self._convert_file(file, toml_files.parse_pylock)
                lines = self._rewrite_directories(lines, "", os.path.dirname(file.name))
                texts[file.name + ".txt"] = lines
                paths.append(self.installer.write_input(file.name, lines))
            else:
                paths.append(file.path)
        self._check_converted_files(texts)
        missing = requirements.find_missing_packages(packages, texts)
        hashes = self.settings.require_hashes or any(
            requirements.needs_hashes(text) for name, text in texts.items() if _is_requirements(name)
        )
        unhashed = [package for package in missing if hashes and not requirements.has_hash(package)]
        hashed = [package for package in missing if package not in unhashed]
        if hashed:
            paths.append(self.installer.write_input("packages", "\n".join(hashed)))
        steps = [Step(paths, self.settings.require_hashes)] if paths else []
        if unhashed or self.projects:
            later = "\n".join([*unhashed, *self.projects])
            steps.append(Step([self.installer.write_input("later", later)], constrained=bool(steps)))
        return steps

    def _check_converted_files(self, texts: dict[str, str]) -> None:
        """Raise VenvError for source code in files of other formats, after their conversion to requirements."""
        converted = {
            name: text for name, text in texts.items() if name not in {file.name for file in self.installer.files}
        }
        problems = find_contradictions(converted, [], self.settings.only_binary, "")
        if problems:
            raise VenvError(" ".join(problems[:5]))

    def _plan_uv_steps(self, listed: list[RequirementFile], texts: dict[str, str], packages: list[str]) -> list[Step]:
        steps, paths, options = [], [], []
        extras = [f"--extra={name}" for name in self.settings.extras]
        for file in listed:
            if file.kind == requirements.PYLOCK:
                # uv cannot read other files in the same call.
                steps.append(Step([file.path]))
            elif file.kind == requirements.UV_LOCK:
                if self._has_own_indexes(file):
                    path, text = self._export_uv_lock(file, requirements.PYLOCK)
                    texts[os.path.join(file.name, requirements.PYLOCK)] = text
                    steps.append(Step([path]))
                    continue
                text = self._export_uv_lock(file, "requirements.txt")[1]
                texts[file.name + ".txt"] = self._rewrite_directories(text, "", os.path.dirname(file.name))
                paths.append(self.installer.write_input(file.name, texts[file.name + ".txt"]))
            else:
                paths.append(file.path)
                if file.kind == requirements.PYPROJECT:
                    options += [*extras, *(f"--group={file.path}:{name}" for name in self.settings.groups)]
                    if self._installs_project(file):
                        paths.append(self.installer.write_input("project", os.path.dirname(file.path)))
        missing = requirements.find_missing_packages(packages, texts)
        if missing:
            paths.append(self.installer.write_input("packages", "\n".join(missing)))
        if paths:
            steps.append(Step(paths, self.settings.require_hashes, bool(steps), list(dict.fromkeys(options))))
        if self.projects:
            path = self.installer.write_input("later", "\n".join(self.projects))
            # A package that only the project asks for has no hash in the lock file.
            without = ["--no-deps"] if self.settings.require_hashes else []
            steps.append(Step([path], constrained=bool(steps), options=without))
        return steps

    def _convert_pyproject(self, file: RequirementFile) -> str:
        text = self._convert_file(
            file, lambda data: toml_files.parse_pyproject(data, self.settings.extras, self.settings.groups)
        )
        if self._installs_project(file):
            text += "\n."
        return self._rewrite_directories(text, "", os.path.dirname(file.name))

    def _installs_project(self, file: RequirementFile) -> bool:
        """Return whether the project of a pyproject.toml or uv.lock is installed, and not only its dependencies.

        Its installation runs its code.
        """
        if self.settings.only_binary:
            return False
        folder = os.path.normpath(os.path.dirname(file.name) or ".")
        return any(directory.path == folder for directory in find_directories(self.settings, [file]))

    def _convert_file(self, file: RequirementFile, convert: Any) -> str:
        try:
            return "\n".join(convert(self._read_toml(file)))
        except ValueError as error:
            raise VenvError(f"{file.path} cannot be used: {error}.") from error

    def _read_toml(self, file: RequirementFile) -> dict[str, Any]:
        if tomllib is not None:
            return tomllib.loads(file.text)
        code, output = self.installer.execute([self.installer.python, "-I", "-c", READ_TOML, file.path], cwd="/")
        if code:
            raise ValueError((output.strip().splitlines() or ["it cannot be read"])[-1])
        return json.loads(output)

    def _has_own_indexes(self, file: RequirementFile) -> bool:
        """Return whether a uv.lock names other indexes than PyPI, and no setting replaces them.

        Only a pylock.toml keeps the index of each package.
        """
        found = requirements.parse_registries(file.text)
        return bool(found - {requirements.PYPI}) and not self.settings.index_url

    def _export_uv_lock(self, file: RequirementFile, name: str) -> tuple[str, str]:
        """Convert a uv.lock to a pylock.toml or to requirements with hashes. Returns path and text."""
        directory = os.path.dirname(os.path.abspath(file.path))
        # A pylock.toml has paths relative to itself. If it names directories, they are in the copy of the source.
        beside = name == requirements.PYLOCK and is_within(directory, self.source_copy)
        output = os.path.join(directory if beside else self.installer.work.temporary, EXPORTED_NAMES[name])
        with contextlib.suppress(FileNotFoundError):
            os.unlink(output)
        command = [
            self.installer.uv,
            "export",
            "--frozen",
            "--no-dev",
            "--no-editable",
            "--no-header",
            "--no-progress",
            "--quiet",
        ]
        command += [] if self._installs_project(file) else ["--no-emit-project"]
        command += [f"--extra={extra}" for extra in self.settings.extras]
        command += [f"--group={group}" for group in self.settings.groups]
        command += ["--format", name, "--python", self.installer.interpreter.path, "--output-file", output]
        self.installer.run_command(command, "uv export", cwd=directory)
        return output, transient_unit.read_result(output)


def _is_requirements(name: str) -> bool:
    return requirements.detect_format(name) == requirements.REQUIREMENTS
