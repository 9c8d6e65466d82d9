# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run pip, uv and Python as the build user."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import time
from typing import Iterator, NamedTuple, Sequence

from ansible_collections.flaskops.production.plugins.module_utils._python import requirements
from ansible_collections.flaskops.production.plugins.module_utils._python.interpreter import Interpreter
from ansible_collections.flaskops.production.plugins.module_utils._python.options import VenvError, VenvSettings
from ansible_collections.flaskops.production.plugins.module_utils._python.output import (
    find_error_line,
    find_full_filesystem,
    get_last_lines,
    strip_escapes,
)
from ansible_collections.flaskops.production.plugins.module_utils._python.requirement_files import RequirementFile
from ansible_collections.flaskops.production.plugins.module_utils._python.venv_content import list_packages
from ansible_collections.flaskops.production.plugins.module_utils._python.workspace import (
    INHERITED_VARIABLES,
    Workspace,
)
from ansible_collections.flaskops.production.plugins.module_utils._systemd import transient_unit

UV_DIRECTORY = ".uv"


class Step(NamedTuple):
    """A call of the installer with some requirement files."""

    files: list[str]
    hashes: bool = False
    constrained: bool = False  # to the packages of the previous steps
    options: Sequence[str] = ()


class Installer:
    """Runs the installer, and other commands of a build, with the directories and variables of the build."""

    def __init__(
        self, settings: VenvSettings, files: list[RequirementFile], interpreter: Interpreter, path: str
    ) -> None:
        self.settings = settings
        self.files = files
        self.interpreter = interpreter
        self.path = path
        self.python = os.path.join(path, "bin", "python")
        self.deadline = time.monotonic() + settings.timeout
        self.unit = transient_unit.format_unit_name(settings.directory)
        self.work: Workspace
        self.environment: dict[str, str] = {}
        self.binds: dict[str, str] = {}
        self.uv = ""
        # The directory of relative paths: the source, or its copy if projects in it are built.
        self.source = settings.source if settings.source and os.path.isdir(settings.source) else "/"

    @contextlib.contextmanager
    def open_workspace(self) -> Iterator[None]:
        """Create the directories and the environment variables of a build, and remove the directories after it."""
        self.work = Workspace(self.settings.directory, *transient_unit.ensure_build_user())
        try:
            self.work.create()
            environment = build_environment(self.settings, dict(os.environ))
            texts = [*environment.values(), *self.settings.find_links, *(file.text for file in self.files)]
            self.binds = self.work.copy_configuration(pwd.getpwuid(os.geteuid()).pw_dir, texts)
            self.environment = {**environment, **self.work.copy_files(environment), **self.work.get_variables()}
            yield
        finally:
            self.work.remove()

    def run_step(self, step: Step) -> None:
        if self.settings.installer == "uv":
            command = [self.uv, "pip", "install", "--python", self.python, "--compile-bytecode", "--no-progress"]
        else:
            command = [self.python, "-I", "-m", "pip", "install"]
        command += self.format_find_links()
        if self.settings.only_binary:
            command += ["--no-build"] if self.settings.installer == "uv" else ["--only-binary", ":all:"]
        command += ["--require-hashes"] if step.hashes else []
        if step.constrained and not step.hashes:
            command += ["-c", self.write_input("installed", "\n".join(list_packages(self.path)))]
        for path in step.files:
            command += ["-r", path]
        command += step.options
        # pip builds a source archive or a repository that is a dependency of a wheel, despite --only-binary. A build
        # fails if it cannot start a process.
        single = self.settings.only_binary and self.settings.installer == "pip"
        self.run_command(
            command, f"{self.settings.installer} install", directives=transient_unit.SINGLE_PROCESS if single else ()
        )

    def format_find_links(self) -> list[str]:
        links: list[str] = []
        for link in self.settings.find_links:
            links += ["--find-links", link if "://" in link else os.path.join(self.source, link)]
        return links

    def write_input(self, name: str, text: str) -> str:
        return self.work.write_input(f"{os.path.basename(name)}.txt", (text + "\n").encode("utf-8", "surrogateescape"))

    def run_command(
        self,
        command: list[str],
        command_name: str,
        cwd: str | None = None,
        result: str | None = None,
        directives: tuple[str, ...] = (),
    ) -> None:
        code, output = self.execute(command, cwd, result, directives)
        if code == 0:
            return
        files = ", ".join(file.name for file in self.files if file.listed) or "no requirement files"
        text = strip_escapes(requirements.mask_user_info(output))
        reason = find_full_filesystem([self.settings.directory]) or find_error_line(text)
        if directives and re.search(r"Operation not permitted|can't start new thread", text):
            reason = "venv_only_binary: true, but a package depends on another one that must be built"
        raise VenvError(
            f"{reason + ': the' if reason else 'The'} virtual environment {self.path} ({files}) could not be built: "
            f"{command_name} ended with {code}. The unfinished directory was removed and nothing else was changed. "
            "Its last output:\n" + "\n".join(get_last_lines(text))
        )

    def execute(
        self, command: list[str], cwd: str | None = None, result: str | None = None, directives: tuple[str, ...] = ()
    ) -> tuple[int, str]:
        """Run a command as the build user. Returns its exit status and the end of its output."""
        directory = self.settings.directory
        visible = [self.source, os.path.dirname(os.path.dirname(self.interpreter.path)), self.uv]
        visible += [os.path.join(os.path.realpath(directory), UV_DIRECTORY), *(file.path for file in self.files)]
        visible += [os.path.join(self.source, link) for link in self.settings.find_links if "://" not in link]
        target_path = os.path.realpath(result or self.path)
        # The temporary directory is mounted as a whole.
        shown = [path for path in visible if path and not path.startswith(self.work.temporary + "/")]
        mounts = self.work.build_mounts({target_path: target_path}, shown, self.binds)
        script = os.path.join(self.work.input, "command")
        transient_unit.write_script(script, command, cwd or self.source, self.environment, self.work.gid)
        try:
            return transient_unit.run_script(self.unit, script, mounts, self.deadline - time.monotonic(), directives)
        except transient_unit.BuildTimeoutError:
            raise VenvError(
                f"The virtual environment {self.path} could not be built within {self.settings.timeout} s "
                "(venv_timeout). The unfinished directory was removed and nothing else was changed."
            ) from None


def build_environment(settings: VenvSettings, inherited: dict[str, str]) -> dict[str, str]:
    """Return the environment variables of the installer.

    Inherited variables are filtered. Indexes are passed as variables, because all users can read command lines.
    """
    unwanted = ("PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV", "PIP_ROOT", "PIP_TARGET", "UV_SYSTEM_PYTHON", "VIRTUAL_ENV")
    result = {
        name: value for name, value in inherited.items() if INHERITED_VARIABLES.match(name) and name not in unwanted
    }
    result.update(
        LC_ALL="C.UTF-8",
        # Both installers support it.
        NO_COLOR="1",
        PIP_DISABLE_PIP_VERSION_CHECK="1",
        PIP_NO_INPUT="1",
        PIP_NO_WARN_SCRIPT_LOCATION="1",
        PIP_PROGRESS_BAR="off",
        PIP_ROOT_USER_ACTION="ignore",
        PIP_USER="0",
        UV_LINK_MODE="copy",
        UV_NO_EDITABLE="1",
        UV_PYTHON_DOWNLOADS="never",
    )
    result.update({name: str(value) for name, value in settings.environment.items()})
    if settings.index_url:
        result.update(PIP_INDEX_URL=settings.index_url, UV_DEFAULT_INDEX=settings.index_url)
    if settings.extra_index_urls:
        urls = " ".join(settings.extra_index_urls)
        result.update(PIP_EXTRA_INDEX_URL=urls, UV_INDEX=urls)
    return result
