# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build a set of dependencies with pip or uv, so that it is complete or absent. Private."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from typing import Any, Iterator, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils import _dependencies as dependencies
from ansible_collections.flaskops.production.plugins.module_utils import _files, _symlink
from ansible_collections.flaskops.production.plugins.module_utils._dependency_set import (
    File,
    Interpreter,
    MissingInterpreter,
    Settings,
    VenvError,
    content_digest,
    is_complete,
    local_directories,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases import REMOVED

try:
    import tomllib
except ImportError:
    tomllib = None

LOCK = ".lock"
UV_DIRECTORY = ".uv"
TAIL_LINES = 15
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
    """One call of the installer."""

    files: list[str]
    hashes: bool = False
    constrained: bool = False  # to what the steps before have installed


class Builder:
    """Runs the installer for one set."""

    def __init__(self, settings: Settings, files: list[File], interpreter: Interpreter, path: str, work: str) -> None:
        self.settings = settings
        self.files = files
        self.interpreter = interpreter
        self.path = path
        self.work = work
        self.python = os.path.join(path, "bin", "python")
        self.deadline = time.monotonic() + settings.timeout
        self.lock_fd = -1
        self.uv = ""
        self.written = 0

    def build(self) -> bool:
        """Make the set complete; False when another run was quicker."""
        directory = self.settings.directory
        os.makedirs(directory, mode=0o755, exist_ok=True)
        with self._locked():
            if is_complete(self.path):
                return False
            # A set that was complete once may be in use: it comes back when the build fails.
            damaged = os.path.join(directory, REMOVED + os.path.basename(self.path))
            was_complete = os.path.lexists(os.path.join(self.path, dependencies.COMPLETE))
            if was_complete:
                remove(damaged)
                os.rename(self.path, damaged)
            remove(self.path)
            try:
                self._create()
                for step in self._steps():
                    self._install(step)
                self._add_what_markers_left_out()
                self._check()
                make_readable(self.path)
                _symlink.sync_filesystem(self.path)
                mark = {"interpreter": self.interpreter.path, "packages": installed(self.path)}
                mark_complete(self.path, {**mark, "content": content_digest(self.path)})
            except BaseException:
                remove(self.path)
                if was_complete:
                    os.rename(damaged, self.path)
                raise
            remove(damaged)
        return True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Only one run builds in a directory. The installer inherits the lock, so it outlives this process."""
        path = os.path.join(self.settings.directory, LOCK)
        self.lock_fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > self.deadline:
                        raise VenvError(
                            f"Another run has been building in {self.settings.directory} for {self.settings.timeout} s "
                            f"(venv_timeout) and still holds {path}. Wait for it, or end it, and run again."
                        ) from None
                    time.sleep(0.2)
            yield
        finally:
            os.close(self.lock_fd)

    def _create(self) -> None:
        if self.settings.installer == "uv":
            self.uv = self._find_uv()
            self._run([self.uv, "venv", "--no-project", "--python", self.interpreter.path, self.path], "uv venv")
        else:
            self._create_with_pip(self.path)

    def check_interpreter(self) -> None:
        """Whether the interpreter has what it needs to create environments."""
        if self.settings.installer == "uv" and (self.settings.uv or self._own_uv()):
            return
        code, _output = self._call([self.interpreter.path, "-I", "-c", "import venv, ensurepip"], cwd="/")
        if code:
            raise MissingInterpreter(
                f"{self.interpreter.path} can't create environments: it has no venv or no ensurepip. "
                "Install python3-venv (the package that belongs to this interpreter): the role venv does."
            )

    def _create_with_pip(self, path: str) -> None:
        self._run([self.interpreter.path, "-I", "-m", "venv", path], "python -m venv", cwd="/")

    def _find_uv(self) -> str:
        given = self.settings.uv
        if given:
            if not os.access(given, os.X_OK):
                raise VenvError(f"'{given}' (venv_uv) is not an executable file.")
            return given
        found = self._own_uv()
        if found:
            return found
        environment = os.path.join(self.settings.directory, UV_DIRECTORY)
        remove(environment)
        try:
            self._create_with_pip(environment)
            pip = [os.path.join(environment, "bin", "python"), "-I", "-m", "pip", "install"]
            self._run(pip + self._find_links() + ["uv"], "pip install uv")
            make_readable(environment)
            _symlink.sync_filesystem(environment)
            mark_complete(environment, {"packages": installed(environment)})
        except BaseException:
            remove(environment)
            raise
        return os.path.join(environment, "bin", "uv")

    def _own_uv(self) -> str | None:
        environment = os.path.join(self.settings.directory, UV_DIRECTORY)
        return shutil.which("uv") or (os.path.join(environment, "bin", "uv") if is_complete(environment) else None)

    def _steps(self) -> list[Step]:
        """The calls of the installer. Which packages are added follows from what the files say."""
        listed = [file for file in self.files if file.listed]
        texts = {file.name: file.text for file in self.files if file.kind != dependencies.UV_LOCK}
        for file in listed:
            if file.kind == dependencies.PYPROJECT:
                texts[file.name + ".txt"] = self._pyproject(file)
        if self.settings.installer == "uv":
            return self._uv_steps(listed, texts)
        paths = []
        for file in listed:
            if file.kind == dependencies.PYPROJECT:
                paths.append(self._write(file.name, texts[file.name + ".txt"]))
            elif file.kind == dependencies.PYLOCK:
                lines = self._converted(file, dependencies.pylock_requirements)
                texts[file.name + ".txt"] = lines
                paths.append(self._write(file.name, lines))
            else:
                paths.append(file.path)
        added = dependencies.missing(self.settings.packages, texts)
        hashes = self.settings.require_hashes or any(
            dependencies.needs_hashes(text) for name, text in texts.items() if _is_requirements(name)
        )
        later = [package for package in added if hashes and not dependencies.is_hashed(package)]
        now = [package for package in added if package not in later]
        if now:
            paths.append(self._write("packages", "\n".join(now)))
        steps = [Step(paths, self.settings.require_hashes)] if paths else []
        if later:
            steps.append(Step([self._write("later", "\n".join(later))], constrained=True))
        return steps

    def _uv_steps(self, listed: list[File], texts: dict[str, str]) -> list[Step]:
        steps, paths = [], []
        for file in listed:
            if file.kind == dependencies.PYLOCK:
                # uv reads this format, but nothing else in the same call.
                steps.append(Step([file.path]))
            elif file.kind == dependencies.UV_LOCK:
                texts[file.name + ".txt"] = self._exported(file)
                paths.append(self._write(file.name, texts[file.name + ".txt"]))
            else:
                paths.append(file.path)
        added = dependencies.missing(self.settings.packages, texts)
        if added:
            paths.append(self._write("packages", "\n".join(added)))
        if paths:
            steps.append(Step(paths, self.settings.require_hashes, constrained=bool(steps)))
        return steps

    def _add_what_markers_left_out(self) -> None:
        """A package that the files name for another platform only is not there after all."""
        there = {dependencies.name_of(item) for item in installed(self.path)}
        absent = [item for item in self.settings.packages if dependencies.name_of(item) not in there | {None}]
        if absent:
            self._install(Step([self._write("absent", "\n".join(absent))], self.settings.require_hashes, True))

    def _install(self, step: Step) -> None:
        if self.settings.installer == "uv":
            command = [self.uv, "pip", "install", "--python", self.python, "--compile-bytecode", "--no-progress"]
        else:
            command = [self.python, "-I", "-m", "pip", "install"]
        command += self._find_links()
        command += ["--only-binary", ":all:"] if self.settings.only_binary else []
        command += ["--require-hashes"] if step.hashes else []
        if step.constrained and not step.hashes:
            command += ["-c", self._write("installed", "\n".join(installed(self.path)))]
        for path in step.files:
            command += ["-r", path]
        self._run(command, f"{self.settings.installer} install")

    def _check(self) -> None:
        if self.settings.installer == "uv":
            self._run([self.uv, "pip", "check", "--python", self.python], "uv pip check")
        else:
            self._run([self.python, "-I", "-m", "pip", "check"], "pip check")

    def _find_links(self) -> list[str]:
        links: list[str] = []
        for link in self.settings.find_links:
            links += ["--find-links", link if "://" in link else os.path.join(self._cwd(), link)]
        return links

    def _pyproject(self, file: File) -> str:
        return self._converted(file, dependencies.pyproject_requirements)

    def _converted(self, file: File, convert: Any) -> str:
        try:
            return "\n".join(convert(self._read_toml(file)))
        except ValueError as error:
            raise VenvError(f"{file.path} can't be used: {error}.") from error

    def _read_toml(self, file: File) -> dict[str, Any]:
        if tomllib is not None:
            return tomllib.loads(file.text)
        code, output = self._call([self.python, "-I", "-c", READ_TOML, file.path], cwd="/")
        if code:
            raise ValueError((output.strip().splitlines() or ["it can't be read"])[-1])
        return json.loads(output)

    def _exported(self, file: File) -> str:
        """The locked packages of a uv.lock as hashed requirement lines."""
        output = os.path.join(self.work, "uv.lock.txt")
        command = [self.uv, "export", "--frozen", "--no-emit-project", "--no-dev", "--no-header", "--no-progress"]
        command += [
            "--format",
            "requirements-txt",
            "--python",
            self.interpreter.path,
            "--output-file",
            output,
            "--quiet",
        ]
        self._run(command, "uv export", cwd=os.path.dirname(os.path.abspath(file.path)))
        with open(output, encoding="utf-8") as stream:
            text = stream.read()
        faults = local_directories(file.name, text, os.path.dirname(os.path.abspath(file.path)))
        if faults:
            raise VenvError(" ".join(faults))
        return text

    def _write(self, name: str, text: str) -> str:
        self.written += 1
        path = os.path.join(self.work, f"{self.written}-{os.path.basename(name)}.txt")
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(text + "\n")
        return path

    def _cwd(self) -> str:
        return self.settings.source if self.settings.source and os.path.isdir(self.settings.source) else "/"

    def _run(self, command: list[str], what: str, cwd: str | None = None) -> None:
        code, output = self._call(command, cwd)
        if code == 0:
            return
        files = ", ".join(file.name for file in self.files if file.listed) or "no requirement files"
        said = [line for line in output.splitlines() if line.strip()][-TAIL_LINES:]
        raise VenvError(
            f"The set of dependencies {self.path} ({files}) could not be built: {what} ended with {code}. The "
            "unfinished directory was removed and nothing else was changed. It said:\n"
            + dependencies.masked("\n".join(said))
        )

    def _call(self, command: list[str], cwd: str | None = None) -> tuple[int, str]:
        # A session of its own, so that a build that hangs can be ended with everything it has started.
        process = subprocess.Popen(
            command,
            cwd=cwd or self._cwd(),
            env=installer_environment(self.settings, dict(os.environ)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[self.lock_fd] if self.lock_fd >= 0 else [],
        )
        try:
            output, _none = process.communicate(timeout=max(1.0, self.deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise VenvError(
                f"The set of dependencies {self.path} could not be built within {self.settings.timeout} s "
                "(venv_timeout). The unfinished directory was removed and nothing else was changed."
            ) from None
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        return process.returncode, output.decode("utf-8", "replace")


def _is_requirements(name: str) -> bool:
    return dependencies.kind(name) == dependencies.REQUIREMENTS


def installer_environment(settings: Settings, inherited: dict[str, str]) -> dict[str, str]:
    """The installer's environment: nothing that would send packages elsewhere or ask questions.

    Indexes come this way, because everybody on the host can read a command line.
    """
    unwanted = ("PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV", "PIP_ROOT", "PIP_TARGET", "UV_SYSTEM_PYTHON", "VIRTUAL_ENV")
    result = {
        name: value for name, value in inherited.items() if name not in unwanted and not name.startswith("PYTHON")
    }
    with contextlib.suppress(KeyError):
        # The cache and the configuration of the user that builds, not of the one that became it.
        result["HOME"] = pwd.getpwuid(os.geteuid()).pw_dir
    result.update(
        LC_ALL="C.UTF-8",
        # Both installers read it.
        NO_COLOR="1",
        PIP_DISABLE_PIP_VERSION_CHECK="1",
        PIP_NO_INPUT="1",
        PIP_NO_WARN_SCRIPT_LOCATION="1",
        PIP_PROGRESS_BAR="off",
        PIP_ROOT_USER_ACTION="ignore",
        PIP_USER="0",
        UV_LINK_MODE="copy",
        UV_PYTHON_DOWNLOADS="never",
    )
    result.update({name: str(value) for name, value in settings.environment.items()})
    if settings.index_url:
        result.update(PIP_INDEX_URL=settings.index_url, UV_DEFAULT_INDEX=settings.index_url)
    if settings.extra_index_urls:
        urls = " ".join(settings.extra_index_urls)
        result.update(PIP_EXTRA_INDEX_URL=urls, UV_INDEX=urls)
    return result


def mark_complete(path: str, content: dict[str, Any]) -> None:
    data = json.dumps(content, indent=2, sort_keys=True) + "\n"
    _files.put_file(os.path.join(path, dependencies.COMPLETE), data.encode("utf-8"), 0o644)


def remove(path: str) -> None:
    if os.path.islink(path) or os.path.isfile(path):
        os.unlink(path)
    elif os.path.isdir(path):
        shutil.rmtree(path)


def make_readable(path: str) -> None:
    """Let everybody read the tree: a cache or a wheel may have brought narrower modes than the umask gives."""
    for parent, directories, names in os.walk(path):
        for name in [*directories, *names, "."]:
            whole = os.path.join(parent, name)
            mode = os.lstat(whole).st_mode
            if stat.S_ISLNK(mode):
                continue
            execute = 0o111 if stat.S_ISDIR(mode) or mode & 0o100 else 0
            wanted = (stat.S_IMODE(mode) | 0o444 | execute) & ~0o7022
            if wanted != stat.S_IMODE(mode):
                os.chmod(whole, wanted)


def installed(path: str) -> list[str]:
    """name==version of what is in an environment, read from its metadata as pip would."""
    found = {}
    for metadata in glob.glob(
        os.path.join(glob.escape(path), "lib", "python*", "site-packages", "*.dist-info", "METADATA")
    ):
        fields: dict[str, str] = {}
        with open(metadata, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                name, separator, value = line.partition(":")
                if not separator:
                    break
                fields.setdefault(name.lower(), value.strip())
        if "name" in fields and "version" in fields:
            found[dependencies.normalise(fields["name"])] = f"{fields['name']}=={fields['version']}"
    return [found[name] for name in sorted(found)]
