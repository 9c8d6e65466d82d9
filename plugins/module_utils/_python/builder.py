# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build a virtual environment with pip or uv, complete or absent."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import re
import shutil
import subprocess
import time
from typing import Any, Iterator, NamedTuple, Sequence

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
from ansible_collections.flaskops.production.plugins.module_utils._python import (
    indexes,
    local_code,
    requirements,
    toml_files,
)
from ansible_collections.flaskops.production.plugins.module_utils._python.interpreter import (
    Interpreter,
    MissingInterpreterError,
)
from ansible_collections.flaskops.production.plugins.module_utils._python.options import VenvError, VenvSettings
from ansible_collections.flaskops.production.plugins.module_utils._python.output import (
    find_error_line,
    find_full_filesystem,
    get_last_lines,
    strip_escapes,
)
from ansible_collections.flaskops.production.plugins.module_utils._python.requirement_files import (
    RequirementFile,
    find_directories,
)
from ansible_collections.flaskops.production.plugins.module_utils._python.rules import find_contradictions
from ansible_collections.flaskops.production.plugins.module_utils._python.source_directory import copy_source
from ansible_collections.flaskops.production.plugins.module_utils._python.venv_content import (
    compute_content_digest,
    find_external_code,
    has_marker,
    is_complete,
    list_packages,
    write_marker,
)
from ansible_collections.flaskops.production.plugins.module_utils._python.workspace import (
    INHERITED_VARIABLES,
    WORK_DIRECTORY,
    Workspace,
)
from ansible_collections.flaskops.production.plugins.module_utils._systemd import transient_unit

try:
    import tomllib
except ImportError:
    tomllib = None  # type: ignore[assignment]

LOCK_FILE = ".lock"
UV_DIRECTORY = ".uv"
READ_TOML = """
import json, sys
try:
    import tomllib
except ImportError:
    from pip._vendor import tomli as tomllib
with open(sys.argv[1], "rb") as stream:
    print(json.dumps(tomllib.load(stream), default=str))
"""


class Step(NamedTuple):
    """A call of the installer with some requirement files."""

    files: list[str]
    hashes: bool = False
    constrained: bool = False  # to the packages of the previous steps
    options: Sequence[str] = ()


class Builder:
    """Builds a virtual environment with the installer."""

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
        # Directories have no hash. If another package has one, pip installs them later.
        self.hashed = settings.installer == "pip" and any(
            file.kind == requirements.PYLOCK
            or file.kind == requirements.REQUIREMENTS
            and requirements.needs_hashes(file.text)
            for file in files
        )
        self.projects: list[str] = []
        # The directory of relative paths: the source, or its copy if projects in it are built.
        self.source = settings.source if settings.source and os.path.isdir(settings.source) else "/"

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
            with transient_unit.hold_build_lock(self.deadline), self._open_workspace():
                self._check_indexes()
                self._build_directory(self.path, self._install_packages)
        return True

    def _install_packages(self) -> None:
        self._create_venv()
        recoded = self.settings.installer == "uv" and any(file.recoded for file in self.files)
        if recoded or find_directories(self.settings, self.files):
            self._use_source_copy()
        for step in self._plan_steps():
            self._run_step(step)
        self._install_missing_packages()
        self._check_venv()

    def _build_directory(self, path: str, fill: Any) -> None:
        """Run fill() as the build user in a new directory, then give it to root and mark it complete."""
        with _replace_directory(path):
            os.mkdir(path, 0o755)
            chown_tree(path, self.work.uid, self.work.gid)
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

    @contextlib.contextmanager
    def _open_workspace(self) -> Iterator[None]:
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

    def _check_indexes(self) -> None:
        """Raise VenvError if an index refuses the credentials: another one may have packages of the same names."""
        if {"PIP_NO_INDEX", "UV_NO_INDEX"} & set(self.environment):
            return
        texts = {file.name: file.text for file in self.files if file.kind == requirements.REQUIREMENTS}
        requirement_names = [
            requirements.parse_name(line.text)
            for text in texts.values()
            for line in requirements.parse_requirements(text)
        ]
        requirement_names += [requirements.parse_name(package) for package in self.settings.packages]
        names = list(dict.fromkeys(name for name in requirement_names if name))
        configured = indexes.Index(self.settings.index_url or "", "venv_index_url")
        for index in indexes.list_indexes(configured, self.settings.extra_index_urls, self.settings.environment, texts):
            problem = indexes.check_index(index, names, self.environment)
            if problem:
                raise VenvError(problem)

    @contextlib.contextmanager
    def _hold_lock(self) -> Iterator[None]:
        """Hold the lock of the directory, in which only one run builds at a time. Raises VenvError."""
        path = os.path.join(self.settings.directory, LOCK_FILE)
        try:
            with hold_lock(path, self.deadline):
                yield
        except LockTimeoutError:
            raise VenvError(
                f"Another run has been building in {self.settings.directory} for {self.settings.timeout} s "
                f"(venv_timeout) and still holds {path}. Wait for it, or stop it, and run again."
            ) from None

    def _create_venv(self) -> None:
        if self.settings.installer == "uv":
            self.uv = self._find_uv()
            self._run_command(
                [self.uv, "venv", "--no-project", "--python", self.interpreter.path, self.path], "uv venv"
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
        self._run_command([self.interpreter.path, "-I", "-m", "venv", path], "python -m venv", cwd="/", result=path)

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
        self._run_command(pip + self._format_find_links() + ["uv"], "pip install uv", result=venv)

    def _find_available_uv(self) -> str | None:
        venv = os.path.join(self.settings.directory, UV_DIRECTORY)
        found = shutil.which("uv")
        # The build user cannot run a uv in a directory of root.
        if found and not transient_unit.find_closed_directory(os.path.realpath(found)):
            return os.path.realpath(found)
        return os.path.join(venv, "bin", "uv") if is_complete(venv) else None

    def _use_source_copy(self) -> None:
        """Copy the source, because builds write beside the code, and use the requirement files of the copy.

        These name directories of the copy, and none of them is editable.
        """
        copy = os.path.join(self.work.temporary, "source")
        copy_source(self.source, copy)
        self.source, files = copy, self.files
        self.files = []
        for file in files:
            path = os.path.join(copy, file.name)
            # A link could lead out of the copy.
            if not os.path.isabs(file.name) and os.path.realpath(path) == path:
                text = file.text
                if file.kind == requirements.REQUIREMENTS:
                    text = self._rewrite_directories(text, file.name)
                elif file.kind == requirements.PYLOCK or self.settings.installer == "uv":
                    text = local_code.make_static(text)
                os.unlink(path)
                with open(path, "xb") as stream:
                    stream.write(text.encode("utf-8", "surrogateescape"))
                file = file._replace(path=path, text=text)
            self.files.append(file)
        chown_tree(copy, self.work.uid, self.work.gid)

    def _rewrite_directories(self, text: str, name: str, folder: str = "") -> str:
        """Rewrite requirements so that they name directories of the copy.

        pip cannot check the hash of a directory, so if any package has a hash, directories are installed by a later
        call. folder is the directory of relative paths, below the source.
        """
        root = os.path.join(self.source, folder)

        def is_directory(path: str) -> bool:
            found = os.path.isdir(os.path.join(root, path))
            if found and self.source == self.settings.source:
                raise VenvError(
                    f"{path} in {self.source} is a directory that was not found by reading {name or folder}."
                )
            return found

        text, separated = local_code.rewrite_requirements(text, name, is_directory, root, self.hashed)
        self.projects += separated
        return text

    def _plan_steps(self) -> list[Step]:
        """Plan the calls of the installer. Packages are added unless the files contain them."""
        listed = [file for file in self.files if file.listed]
        texts = {file.name: file.text for file in self.files if file.kind != requirements.UV_LOCK}
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
                paths.append(self._write_input(file.name, texts[file.name + ".txt"]))
            elif file.kind == requirements.PYLOCK:
                lines = self._convert_file(file, toml_files.parse_pylock)
                lines = self._rewrite_directories(lines, "", os.path.dirname(file.name))
                texts[file.name + ".txt"] = lines
                paths.append(self._write_input(file.name, lines))
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
            paths.append(self._write_input("packages", "\n".join(hashed)))
        steps = [Step(paths, self.settings.require_hashes)] if paths else []
        if unhashed or self.projects:
            later = "\n".join([*unhashed, *self.projects])
            steps.append(Step([self._write_input("later", later)], constrained=bool(steps)))
        return steps

    def _check_converted_files(self, texts: dict[str, str]) -> None:
        """Raise VenvError for source code in files of other formats, after their conversion to requirements."""
        converted = {name: text for name, text in texts.items() if name not in {file.name for file in self.files}}
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
                paths.append(self._write_input(file.name, texts[file.name + ".txt"]))
            else:
                paths.append(file.path)
                if file.kind == requirements.PYPROJECT:
                    options += [*extras, *(f"--group={file.path}:{name}" for name in self.settings.groups)]
                    if self._installs_project(file):
                        paths.append(self._write_input("project", os.path.dirname(file.path)))
        missing = requirements.find_missing_packages(packages, texts)
        if missing:
            paths.append(self._write_input("packages", "\n".join(missing)))
        if paths:
            steps.append(Step(paths, self.settings.require_hashes, bool(steps), list(dict.fromkeys(options))))
        return steps

    def _install_missing_packages(self) -> None:
        """Install packages that the files contain for other platforms only."""
        found_names = {requirements.parse_name(item) for item in list_packages(self.path)}
        missing_packages = [
            item for item in self.settings.packages if requirements.parse_name(item) not in found_names | {None}
        ]
        if missing_packages:
            self._run_step(
                Step([self._write_input("absent", "\n".join(missing_packages))], self.settings.require_hashes, True)
            )

    def _run_step(self, step: Step) -> None:
        if self.settings.installer == "uv":
            command = [self.uv, "pip", "install", "--python", self.python, "--compile-bytecode", "--no-progress"]
        else:
            command = [self.python, "-I", "-m", "pip", "install"]
        command += self._format_find_links()
        if self.settings.only_binary:
            command += ["--no-build"] if self.settings.installer == "uv" else ["--only-binary", ":all:"]
        command += ["--require-hashes"] if step.hashes else []
        if step.constrained and not step.hashes:
            command += ["-c", self._write_input("installed", "\n".join(list_packages(self.path)))]
        for path in step.files:
            command += ["-r", path]
        command += step.options
        # pip builds a source archive or a repository that is a dependency of a wheel, despite --only-binary. A build
        # fails if it cannot start a process.
        single = self.settings.only_binary and self.settings.installer == "pip"
        self._run_command(
            command, f"{self.settings.installer} install", directives=transient_unit.SINGLE_PROCESS if single else ()
        )

    def _check_venv(self) -> None:
        external = find_external_code(self.path)
        if external:
            raise VenvError(
                f"{external} was installed as a link to its source, and other releases can use the virtual environment "
                f"{self.path}, so it was removed: list the package without --editable."
            )
        if self.settings.installer == "uv":
            self._run_command([self.uv, "pip", "check", "--python", self.python], "uv pip check")
        else:
            self._run_command([self.python, "-I", "-m", "pip", "check"], "pip check")

    def _format_find_links(self) -> list[str]:
        links: list[str] = []
        for link in self.settings.find_links:
            links += ["--find-links", link if "://" in link else os.path.join(self.source, link)]
        return links

    def _convert_pyproject(self, file: RequirementFile) -> str:
        text = self._convert_file(
            file, lambda data: toml_files.parse_pyproject(data, self.settings.extras, self.settings.groups)
        )
        if self._installs_project(file):
            text += "\n."
        return self._rewrite_directories(text, "", os.path.dirname(file.name))

    def _installs_project(self, file: RequirementFile) -> bool:
        """Return whether the project of a pyproject.toml or uv.lock is installed, and not only its dependencies."""
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
        code, output = self._execute([self.python, "-I", "-c", READ_TOML, file.path], cwd="/")
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
        # A pylock.toml has paths relative to itself. The source can be written if there are any, because it is a copy.
        output = os.path.join(self.work.temporary if self.source == self.settings.source else directory, name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(output)
        command = [
            self.uv,
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
        command += ["--format", name, "--python", self.interpreter.path, "--output-file", output]
        self._run_command(command, "uv export", cwd=directory)
        return output, transient_unit.read_result(output)

    def _write_input(self, name: str, text: str) -> str:
        return self.work.write_input(f"{os.path.basename(name)}.txt", (text + "\n").encode("utf-8", "surrogateescape"))

    def _run_command(
        self,
        command: list[str],
        command_name: str,
        cwd: str | None = None,
        result: str | None = None,
        directives: tuple[str, ...] = (),
    ) -> None:
        code, output = self._execute(command, cwd, result, directives)
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

    def _execute(
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


def _is_requirements(name: str) -> bool:
    return requirements.detect_format(name) == requirements.REQUIREMENTS


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
