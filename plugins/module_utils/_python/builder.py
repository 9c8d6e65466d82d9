# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build a virtual environment with pip or uv, complete or absent."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
from typing import Any, Iterator

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import REMOVED
from ansible_collections.flaskops.production.plugins.module_utils._files import links as links_module
from ansible_collections.flaskops.production.plugins.module_utils._files.locking import LockTimeoutError, hold_lock
from ansible_collections.flaskops.production.plugins.module_utils._files.ownership import (
    OwnershipError,
    chown_tree,
    is_link_within,
    remove_tree,
    secure_tree,
)
from ansible_collections.flaskops.production.plugins.module_utils._python import indexes, requirements
from ansible_collections.flaskops.production.plugins.module_utils._python.installer import UV_DIRECTORY, Installer, Step
from ansible_collections.flaskops.production.plugins.module_utils._python.interpreter import (
    Interpreter,
    MissingInterpreterError,
)
from ansible_collections.flaskops.production.plugins.module_utils._python.options import VenvError, VenvSettings
from ansible_collections.flaskops.production.plugins.module_utils._python.requirement_files import (
    RequirementFile,
    find_directories,
)
from ansible_collections.flaskops.production.plugins.module_utils._python.steps import StepPlanner
from ansible_collections.flaskops.production.plugins.module_utils._python.venv_content import (
    compute_content_digest,
    find_external_code,
    has_marker,
    is_complete,
    list_packages,
    write_marker,
)
from ansible_collections.flaskops.production.plugins.module_utils._python.workspace import WORK_DIRECTORY
from ansible_collections.flaskops.production.plugins.module_utils._systemd import transient_unit

LOCK_FILE = ".lock"


class Builder:
    """Builds a virtual environment with the installer."""

    def __init__(
        self, settings: VenvSettings, files: list[RequirementFile], interpreter: Interpreter, path: str
    ) -> None:
        self.settings = settings
        self.interpreter = interpreter
        self.path = path
        self.installer = Installer(settings, files, interpreter, path)

    def build(self) -> bool:
        """Build the virtual environment. Returns whether it was built, instead of by another run meanwhile."""
        transient_unit.check_host()
        closed = transient_unit.find_closed_directory(self.interpreter.path)
        if closed:
            raise VenvError(
                f"The interpreter {self.interpreter.path} is below {closed}, which neither the application nor the "
                "build user can enter: set another one (venv_python)."
            )
        os.makedirs(self.settings.directory, mode=0o755, exist_ok=True)
        with self._hold_lock():
            if is_complete(self.path):
                return False
            with transient_unit.hold_build_lock(self.installer.deadline), self.installer.open_workspace():
                self._check_indexes()
                self._build_directory(self.path, self._install_packages)
        return True

    def _install_packages(self) -> None:
        self._create_venv()
        planner = StepPlanner(self.installer)
        recoded = self.settings.installer == "uv" and any(
            file.recoded and not os.path.isabs(file.name) for file in self.installer.files
        )
        if recoded or find_directories(self.settings, self.installer.files):
            planner.use_source_copy()
        for step in planner.plan_steps():
            self.installer.run_step(step)
        self._install_missing_packages()
        self._check_venv()

    def _build_directory(self, path: str, fill: Any) -> None:
        """Run fill() as the build user in a new directory, then give it to root and mark it complete."""
        with _replace_directory(path):
            os.mkdir(path, 0o755)
            chown_tree(path, self.installer.work.uid, self.installer.work.gid)
            fill()
            owner = (os.geteuid(), os.getegid())
            try:
                secure_tree(
                    path, *owner, lambda name, text: is_link_within(name, text) or self._is_interpreter_link(name, text)
                )
            except OwnershipError as error:
                raise VenvError(
                    f"The packages left a file in {path} that is not allowed, so it was removed: {error}"
                ) from None
            links_module.sync_filesystem(path)
            marker = {"interpreter": self.interpreter.path, "packages": list_packages(path)}
            write_marker(path, {**marker, "content": compute_content_digest(path)})

    def _is_interpreter_link(self, name: str, text: str) -> bool:
        """Return whether a link is one of the links to the interpreter in bin/."""
        same = os.path.isabs(text) and os.path.realpath(text) == os.path.realpath(self.interpreter.path)
        return same and re.fullmatch(r"bin/python[0-9.]*", name) is not None

    def _check_indexes(self) -> None:
        """Raise VenvError if an index refuses the credentials: another one may have packages of the same names."""
        if {"PIP_NO_INDEX", "UV_NO_INDEX"} & set(self.installer.environment):
            return
        texts = {file.name: file.text for file in self.installer.files if file.kind == requirements.REQUIREMENTS}
        requirement_names = [
            requirements.parse_name(line.text)
            for text in texts.values()
            for line in requirements.parse_requirements(text)
        ]
        requirement_names += [requirements.parse_name(package) for package in self.settings.packages]
        names = list(dict.fromkeys(name for name in requirement_names if name))
        configured = indexes.Index(self.settings.index_url or "", "venv_index_url")
        for index in indexes.list_indexes(configured, self.settings.extra_index_urls, self.settings.environment, texts):
            problem = indexes.check_index(index, names, self.installer.environment)
            if problem:
                raise VenvError(problem)

    @contextlib.contextmanager
    def _hold_lock(self) -> Iterator[None]:
        """Hold the lock of the directory, in which only one run builds at a time. Raises VenvError."""
        path = os.path.join(self.settings.directory, LOCK_FILE)
        try:
            with hold_lock(path, self.installer.deadline):
                yield
        except LockTimeoutError:
            raise VenvError(
                f"Another run has been building in {self.settings.directory} for {self.settings.timeout} s "
                f"(venv_timeout) and still holds {path}. Wait for it, or stop it, and run again."
            ) from None

    def _create_venv(self) -> None:
        if self.settings.installer == "uv":
            self.installer.uv = self._find_uv()
            self.installer.run_command(
                [self.installer.uv, "venv", "--no-project", "--python", self.interpreter.path, self.path], "uv venv"
            )
        else:
            self._create_with_pip(self.path)

    def check_interpreter(self) -> None:
        """Raise MissingInterpreterError if the interpreter cannot create virtual environments."""
        if self.settings.installer == "uv" and (self.settings.uv or self._find_available_uv()):
            return
        probe = [self.interpreter.path, "-I", "-c", "import venv, ensurepip"]
        done = subprocess.run(probe, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
        if done.returncode:
            raise MissingInterpreterError(
                f"{self.interpreter.path} cannot create virtual environments: it has no venv or no ensurepip. "
                "Install python3-venv (the package of this interpreter), as the role venv does."
            )

    def _create_with_pip(self, path: str) -> None:
        self.installer.run_command(
            [self.interpreter.path, "-I", "-m", "venv", path], "python -m venv", cwd="/", result=path
        )

    def _find_uv(self) -> str:
        given = self.settings.uv
        if given:
            if not os.access(given, os.X_OK):
                raise VenvError(f"'{given}' (venv_uv) is not an executable file.")
            closed = transient_unit.find_closed_directory(os.path.realpath(given))
            if closed:
                raise VenvError(
                    f"'{given}' (venv_uv) is below {closed}, which the build user cannot enter: move uv elsewhere."
                )
            return given
        found = self._find_available_uv()
        if found:
            return found
        venv = os.path.join(self.settings.directory, UV_DIRECTORY)
        self._build_directory(venv, lambda: self._install_uv(venv))
        return os.path.join(venv, "bin", "uv")

    def _install_uv(self, venv: str) -> None:
        self._create_with_pip(venv)
        pip = [os.path.join(venv, "bin", "python"), "-I", "-m", "pip", "install"]
        self.installer.run_command(pip + self.installer.format_find_links() + ["uv"], "pip install uv", result=venv)

    def _find_available_uv(self) -> str | None:
        venv = os.path.join(self.settings.directory, UV_DIRECTORY)
        found = shutil.which("uv")
        # The build user cannot run a uv in a directory of root.
        if found and not transient_unit.find_closed_directory(os.path.realpath(found)):
            return os.path.realpath(found)
        return os.path.join(venv, "bin", "uv") if is_complete(venv) else None

    def _install_missing_packages(self) -> None:
        """Install packages that the files contain for other platforms only."""
        found_names = {requirements.parse_name(item) for item in list_packages(self.path)}
        missing_packages = [
            item for item in self.settings.packages if requirements.parse_name(item) not in found_names | {None}
        ]
        if missing_packages:
            path = self.installer.write_input("absent", "\n".join(missing_packages))
            self.installer.run_step(Step([path], self.settings.require_hashes, True))

    def _check_venv(self) -> None:
        external = find_external_code(self.path)
        if external:
            raise VenvError(
                f"{external} was installed as a link to its source, and other releases can use the virtual environment "
                f"{self.path}, so it was removed: list the package without --editable."
            )
        if self.settings.installer == "uv":
            self.installer.run_command(
                [self.installer.uv, "pip", "check", "--python", self.installer.python], "uv pip check"
            )
        else:
            self.installer.run_command([self.installer.python, "-I", "-m", "pip", "check"], "pip check")


@contextlib.contextmanager
def _replace_directory(path: str) -> Iterator[None]:
    """Remove a virtual environment for a new build. If the build fails, one that was complete is restored."""
    before = os.path.join(os.path.dirname(path), REMOVED + os.path.basename(path))
    was_complete = has_marker(path)
    if was_complete:
        remove_tree(before)
        os.rename(path, before)
    remove_tree(path)
    try:
        yield
    except BaseException:
        remove_tree(path)
        if was_complete:
            os.rename(before, path)
        raise
    remove_tree(before)


def remove_leftovers(directory: str) -> None:
    """Remove the directories of a killed build, unless another build is running."""
    work = os.path.join(directory, WORK_DIRECTORY)
    if not os.path.lexists(work):
        return
    with contextlib.suppress(FileNotFoundError, BlockingIOError):
        fd = os.open(os.path.join(directory, LOCK_FILE), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            transient_unit.stop_unit(transient_unit.format_unit_name(directory))
            remove_tree(work)
        finally:
            os.close(fd)
