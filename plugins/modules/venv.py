#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: venv
short_description: Build one immutable virtual environment per set of dependencies
version_added: "1.0.0"
description:
  - Keeps environments as C(<directory>/<digest>). The digest is over everything that decides what is installed, so that
    the same dependencies are built once, and other dependencies never change an environment that is in use.
  - What is in the digest - the bytes of the requirement files and of what they include, wheels and archives that they
    name by path, the added packages, the installer and its options, and the interpreter's path, version and platform.
    User names and passwords in URLs and O(environment) are not.
  - A set is built at its final path, checked with C(pip check), flushed to disk and marked complete last. A directory
    without that mark is what an interrupted build left; it is removed and built again.
  - Points O(link) at the set, by one rename.
  - All in one call, which takes no more than reading the requirement files when the set is there already.
options:
  directory:
    description:
      - The directory that holds the sets. Created when it is missing.
      - An absolute path.
    type: path
    required: true
  source:
    description:
      - The directory from which relative names in O(requirements) and O(find_links) count, usually a release.
      - Commands run there, so relative paths inside requirement files count from there too.
    type: path
  link:
    description:
      - The symbolic link that is pointed at the set; with no link, the set is only built.
      - A real file or directory with that name is refused, and so is a link that leads anywhere else than to a set in
        O(directory).
    type: path
  requirements:
    description:
      - The files that say what to install, relative to O(source) or absolute.
      - C(pyproject.toml) stands for its C([project]) dependencies, without optional ones and without the project
        itself; C(pylock.toml) and C(pylock.<name>.toml) for the packages they lock; C(uv.lock), which needs
        O(installer=uv) and the C(pyproject.toml) beside it, for the project's dependencies without its development
        group; any other name is a requirements file as pip reads it.
      - Lines that name a directory, such as C(-e .), are refused, because a directory changes and a set never does.
    type: list
    elements: str
    default: [requirements.txt]
  packages:
    description:
      - Requirements that are added unless the files name the package already, in whatever version.
      - Where pip checks hashes because the files hold some, a package without C(--hash) is installed by a second call,
        after everything else and without changing any of it. With O(require_hashes=true) it is refused.
    type: list
    elements: str
    default: []
  python:
    description: The interpreter, a name in the C(PATH) or an absolute path.
    type: str
    default: python3
  installer:
    description:
      - What installs. V(uv) is quicker; its environments hold no C(pip) of their own.
    type: str
    choices: [pip, uv]
    default: pip
  uv:
    description:
      - The path of uv, for O(installer=uv).
      - Unless it is set, C(uv) from the C(PATH) is used, and where there is none, pip installs it once into
        C(<directory>/.uv).
    type: path
  index_url:
    description:
      - The package index to use instead of the configured one.
      - It may hold a user name and a password; they are neither shown nor part of the digest.
    type: str
  extra_index_urls:
    description: Package indexes to use as well.
    type: list
    elements: str
    default: []
  find_links:
    description:
      - Directories on the host, relative to O(source) or absolute, or URLs of pages, where wheels and archives are.
    type: list
    elements: str
    default: []
  require_hashes:
    description:
      - Installs nothing without a hash. Hashes that are in the files are checked in any case.
    type: bool
    default: false
  only_binary:
    description: Installs wheels only, so that no code of a package runs while the set is built.
    type: bool
    default: false
  environment:
    description:
      - Environment variables for the installer, such as C(HTTPS_PROXY) or C(SSL_CERT_FILE). The values are not shown.
      - They are not part of the digest. What decides about the packages belongs into the other options.
    type: dict
    default: {}
  timeout:
    description: How long a build may take, with waiting for the build of another run, in seconds.
    type: int
    default: 1800
  report_missing:
    description:
      - Whether a missing interpreter, or one that can't create environments, is reported by RV(missing) with nothing
        changed, instead of failing, so that the caller can install it and call again.
    type: bool
    default: false
requirements:
  - Python's own C(venv) and C(ensurepip), on Debian the package C(python3-venv).
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
    details:
      - Where O(source) or the interpreter is not there yet, the set is reported as one that would be built.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: full
    details:
      - Shows the link and, for a new set, its packages. Check mode can't know them.
  platform:
    description: Target OS/families that can be operated against.
    support: full
    platforms: posix
notes:
  - Environments belong to the user that the module runs as, and are readable by everybody, whatever its umask is.
  - Configuration in C(/etc/pip.conf) and that user's own is respected, and is not part of the digest.
  - A failed or interrupted build changes nothing but the set's own directory, which nothing points at.
seealso:
  - module: flaskops.production.symlink_swap
author:
  - The flaskops.production contributors (@flaskops)
"""

EXAMPLES = r"""
- name: Build the dependencies of the application and point venv at them
  flaskops.production.venv:
    directory: /srv/myapp/venvs
    source: /srv/myapp/app
    link: /srv/myapp/venv
    packages:
      - gunicorn>=24.1.1

- name: Build from a lock file, wheels only, through a private index
  flaskops.production.venv:
    directory: /srv/myapp/venvs
    source: /srv/myapp/app
    link: /srv/myapp/venv
    requirements:
      - uv.lock
    installer: uv
    only_binary: true
    index_url: "https://deploy:{{ vault_index_password }}@pypi.example.org/simple"
    environment:
      HTTPS_PROXY: http://proxy.example.org:3128
"""

RETURN = r"""
digest:
  description: The name of the set. Empty in check mode when the requirement files or the interpreter are not there yet.
  returned: success
  type: str
  sample: 5c1d2f0a9b3e
path:
  description: The directory of the set. Empty when O(ignore:digest) is.
  returned: success
  type: str
  sample: /srv/myapp/venvs/5c1d2f0a9b3e
link:
  description: The link that points at the set. Empty when none was asked for.
  returned: success
  type: str
  sample: /srv/myapp/venv
built:
  description: Whether the set was built by this call, or in check mode would be.
  returned: success
  type: bool
  sample: true
packages:
  description: What is installed in the set, ordered by name. Empty in check mode for a set that would be built.
  returned: success
  type: list
  elements: str
  sample: ["Flask==3.1.3", "gunicorn==27.0.1"]
missing:
  description:
    - Whether the interpreter, or what it needs to create environments, is not on the host. What it needs is not looked
      for when the set is there already.
  returned: success
  type: bool
  sample: false
interpreter:
  description: The real path of the interpreter. Empty when it is not on the host.
  returned: success
  type: str
  sample: /usr/bin/python3.11
"""

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from typing import Any, Iterator, NamedTuple
from urllib.parse import unquote, urlsplit

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.flaskops.production.plugins.module_utils import _dependencies as dependencies
from ansible_collections.flaskops.production.plugins.module_utils import _files, _symlink

try:
    import tomllib
except ImportError:
    tomllib = None

LOCK = ".lock"
UV_DIRECTORY = ".uv"
TAIL_LINES = 15
SECRET_OPTIONS = ("environment", "index_url", "extra_index_urls")
HIDDEN = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"

# Prints what decides whether an environment fits: path, version, platform. Needs no module that takes time to import.
PROBE = """
import os, sys
print(os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable))
print(".".join(map(str, sys.version_info)))
print("-".join([sys.implementation.name, getattr(sys.implementation, "_multiarch", ""), os.uname()[4], sys.abiflags]))
"""
READ_TOML = """
import json, sys
try:
    import tomllib
except ImportError:
    from pip._vendor import tomli as tomllib
with open(sys.argv[1], "rb") as stream:
    print(json.dumps(tomllib.load(stream), default=str))
"""


class VenvError(Exception):
    """Why there is no set, as complete sentences."""


class NotThereYet(VenvError):
    """What a play that runs for real has put in place by now, and one in check mode has not."""


class MissingInterpreter(NotThereYet):
    """The interpreter, or what it needs to create environments, is not on the host."""


class Settings(NamedTuple):
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
    report_missing: bool = False


class Interpreter(NamedTuple):
    path: str
    version: str
    platform: str


class File(NamedTuple):
    """A requirement file or one of its includes."""

    name: str
    path: str
    kind: str
    text: str
    listed: bool  # in the option requirements, not only included


class Step(NamedTuple):
    """One call of the installer."""

    files: list[str]
    hashes: bool = False
    constrained: bool = False  # to what the steps before have installed


def find_interpreter(python: str) -> Interpreter:
    path = python if os.path.isabs(python) else shutil.which(python)
    if not path or not os.access(path, os.X_OK) or os.path.isdir(path):
        raise MissingInterpreter(
            f"The interpreter '{python}' (venv_python) is not on this host. "
            "Name one that is; those of Debian are installed by the role venv."
        )
    try:
        done = subprocess.run([path, "-I", "-S", "-c", PROBE], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise VenvError(f"The interpreter '{python}' (venv_python) can't be run: {error}.") from error
    lines = done.stdout.decode("utf-8", "surrogateescape").splitlines()
    if done.returncode or len(lines) != 3:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise VenvError(f"'{path}' (venv_python) is not a Python 3 interpreter: {' '.join(said) or 'it said nothing'}.")
    return Interpreter(*lines)


def read_files(source: str | None, names: list[str]) -> list[File]:
    """The requirement files, each followed by its includes."""
    found: dict[tuple[str, bool], File] = {}

    def read(name: str, listed: bool, including: str | None) -> None:
        path = name if os.path.isabs(name) else os.path.join(source or "", name)
        if (name, listed) in found:
            return
        try:
            with open(path, "rb") as stream:
                text = stream.read().decode("utf-8", "surrogateescape")
        except (FileNotFoundError, NotADirectoryError):
            if including:
                raise VenvError(f"{including} includes {name}, but {path} does not exist.") from None
            raise VenvError(
                f"The requirement file {path} does not exist. Create it, or set venv_requirements to the files "
                "that there are, [] for none."
            ) from None
        except OSError as error:
            raise VenvError(f"The requirement file {path} can't be read: {error.strerror}.") from error
        file = File(name, path, dependencies.kind(name), text, listed)
        found[name, listed] = file
        if file.kind == dependencies.REQUIREMENTS:
            for include in dependencies.includes(text):
                read(dependencies.include_name(name, include), False, name)
        elif file.kind == dependencies.UV_LOCK:
            read(dependencies.include_name(name, dependencies.PYPROJECT), False, name)

    for name in names:
        if not os.path.isabs(name):
            if not source:
                raise VenvError(f"The requirement file '{name}' is relative: set 'source' to where it counts from.")
            if not os.path.isdir(source):
                raise NotThereYet(f"The directory {source} (venv_source), which is to hold {name}, does not exist.")
        read(name, True, None)
    return list(found.values())


def check(settings: Settings, files: list[File]) -> list[str]:
    """What is wrong with the settings and the files; each fault is a sentence."""
    faults = []
    for package in settings.packages:
        if not package.strip() or package.startswith("-") or "\n" in package:
            faults.append(f"The package '{package}' (venv_packages) is not a requirement such as 'gunicorn>=24.1.1'.")
    for file in files:
        if file.kind == dependencies.UV_LOCK and settings.installer != "uv":
            faults.append(f"Only uv reads {file.name}: set venv_installer to uv, or list a file that pip reads.")
        if file.kind == dependencies.REQUIREMENTS:
            faults += local_directories(file.name, file.text, settings.source)
    faults += local_directories("venv_packages", "\n".join(settings.packages), settings.source)
    if settings.require_hashes:
        # A pyproject.toml that is not listed was read because of the uv.lock beside it.
        texts = {file.name: file.text for file in files if file.listed or file.kind == dependencies.REQUIREMENTS}
        faults += dependencies.check_hashes(texts, settings.packages)
    return faults


def local_directories(name: str, text: str, source: str | None) -> list[str]:
    faults = []
    for line in dependencies.requirements(text):
        path = dependencies.local_path(line.text)
        if path and os.path.isdir(os.path.join(source or "/", path)):
            faults.append(
                f"{name}, line {line.number}: '{dependencies.masked(line.text)}' names a directory. A set of "
                "dependencies never changes, a directory does: list a wheel or the packages that it needs instead."
            )
    return faults


def digest_inputs(settings: Settings, files: list[File], interpreter: Interpreter) -> dict[str, Any]:
    """Everything that decides what is in a set. Nothing in here may differ between two hosts of a fleet."""
    plain = dependencies.without_user_info
    return {
        "files": [[file.kind, file.listed, _sha256(plain(file.text))] for file in files],
        "archives": _local_archives(settings, files),
        "packages": sorted(plain(package) for package in settings.packages),
        "installer": settings.installer,
        "index_url": plain(settings.index_url or ""),
        "extra_index_urls": [plain(url) for url in settings.extra_index_urls],
        "find_links": [[plain(link), _listing(link, settings.source)] for link in settings.find_links],
        "require_hashes": settings.require_hashes,
        "only_binary": settings.only_binary,
        "interpreter": list(interpreter),
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _file_sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _local_archives(settings: Settings, files: list[File]) -> list[list[str]]:
    """The wheels and archives that are named by a path: a release may bring another one under the same name."""
    texts = [file.text for file in files if file.kind == dependencies.REQUIREMENTS] + ["\n".join(settings.packages)]
    found = []
    for text in texts:
        for line in dependencies.requirements(text):
            path = dependencies.local_path(line.text)
            whole = os.path.join(settings.source or "/", path) if path else ""
            if path and os.path.isfile(whole):
                found.append([path, _file_sha256(whole)])
    return found


def _listing(link: str, source: str | None) -> list[list[Any]]:
    """The names and sizes in a find-links directory that belongs to the release."""
    if os.path.isabs(link) or "://" in link or not source:
        return []
    with contextlib.suppress(OSError), os.scandir(os.path.join(source, link)) as entries:
        return sorted([entry.name, entry.stat().st_size] for entry in entries if entry.is_file())
    return []


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


def current_target(link: str, directory: str) -> str | None:
    """The text of the link; an error when it is not ours to change."""
    text = _symlink.read(link)
    if text is None:
        return None
    parent = os.path.realpath(os.path.dirname(link))
    if os.path.dirname(os.path.normpath(os.path.join(parent, text))) not in (directory, os.path.realpath(directory)):
        raise VenvError(
            f"{link} leads to {text}, which is not a set of dependencies in {directory}, so it was left as it is. "
            "Where releases are deployed it follows the live release; otherwise remove the link and run again."
        )
    return text


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
            remove(self.path)
            try:
                self._create()
                for step in self._steps():
                    self._install(step)
                self._add_what_markers_left_out()
                self._check()
                make_readable(self.path)
                _symlink.sync_filesystem(self.path)
                mark_complete(self.path, {"interpreter": self.interpreter.path, "packages": installed(self.path)})
            except BaseException:
                remove(self.path)
                raise
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
        PIP_DISABLE_PIP_VERSION_CHECK="1",
        PIP_NO_INPUT="1",
        PIP_NO_WARN_SCRIPT_LOCATION="1",
        PIP_PROGRESS_BAR="off",
        PIP_ROOT_USER_ACTION="ignore",
        PIP_USER="0",
        UV_LINK_MODE="copy",
        UV_NO_COLOR="1",
        UV_PYTHON_DOWNLOADS="never",
    )
    result.update({name: str(value) for name, value in settings.environment.items()})
    if settings.index_url:
        result.update(PIP_INDEX_URL=settings.index_url, UV_DEFAULT_INDEX=settings.index_url)
    if settings.extra_index_urls:
        urls = " ".join(settings.extra_index_urls)
        result.update(PIP_EXTRA_INDEX_URL=urls, UV_INDEX=urls)
    return result


def is_complete(path: str) -> bool:
    return os.path.isfile(os.path.join(path, dependencies.COMPLETE))


def mark_complete(path: str, content: dict[str, Any]) -> None:
    directory_fd = _files.open_directory(path)
    try:
        data = json.dumps(content, indent=2, sort_keys=True) + "\n"
        _files.write_file(directory_fd, dependencies.COMPLETE, data.encode("utf-8"), 0o644)
    finally:
        os.close(directory_fd)


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


def closed_directory(path: str) -> str | None:
    """The first directory on the way to a path that only its owner and group may enter."""
    parts = path.split("/")[1:-1]
    for count in range(1, len(parts) + 1):
        directory = "/" + "/".join(parts[:count])
        if not os.stat(directory).st_mode & 0o001:
            return directory
    return None


def relative_target(path: str, link: str) -> str:
    """The text of a link that stays right when the whole tree is moved."""
    directory, name = os.path.split(path)
    return os.path.relpath(
        os.path.join(os.path.realpath(directory), name), os.path.realpath(os.path.dirname(os.path.abspath(link)))
    )


def run(settings: Settings, check_mode: bool, work: str) -> dict[str, Any]:
    before = current_target(settings.link, settings.directory) if settings.link else None
    try:
        interpreter = find_interpreter(settings.python)
        files = read_files(settings.source, settings.requirements)
    except NotThereYet as reason:
        missing = isinstance(reason, MissingInterpreter)
        if missing and settings.report_missing and not check_mode:
            return _result(settings, "", False, [], "", before, before, missing=True)
        if not check_mode:
            raise
        # The play has not put it in place, because it runs in check mode; what it will find there is unknown.
        return _result(settings, "", True, [], "", before, "to be built", str(reason), missing)
    faults = check(settings, files)
    if settings.link and not check_mode and not os.path.isdir(os.path.dirname(settings.link)):
        faults.append(f"{os.path.dirname(settings.link)}, which is to hold the link, is not a directory.")
    if faults:
        raise VenvError(" ".join(faults))
    digest = dependencies.digest(digest_inputs(settings, files, interpreter))
    path = os.path.join(settings.directory, digest)
    after = relative_target(path, settings.link) if settings.link else None
    built = not is_complete(path)
    if built:
        builder = Builder(settings, files, interpreter, path, work)
        try:
            builder.check_interpreter()
        except MissingInterpreter:
            if not check_mode and not settings.report_missing:
                raise
            return _result(
                settings,
                digest,
                check_mode,
                [],
                interpreter.path,
                before,
                after if check_mode else before,
                missing=True,
            )
        built = check_mode or builder.build()
    if after != before and settings.link and after and not check_mode:
        _symlink.swap(settings.link, after, sync=True)
    return _result(settings, digest, built, installed(path), interpreter.path, before, after)


def _result(
    settings: Settings,
    digest: str,
    built: bool,
    packages: list[str],
    interpreter: str,
    before: str | None,
    after: str | None,
    note: str = "",
    missing: bool = False,
) -> dict[str, Any]:
    path = os.path.join(settings.directory, digest) if digest else ""
    old: dict[str, Any] = {"link": before}
    new: dict[str, Any] = {"link": after}
    if built:
        old["set"] = None
        new["set"] = path or "to be built"
        new["packages"] = packages or note or "known once the set is built"
    header = settings.link or path or settings.directory
    return {
        "changed": built or before != after,
        "digest": digest,
        "path": path,
        "link": settings.link or "",
        "built": built,
        "packages": packages,
        "interpreter": interpreter,
        "missing": missing,
        "diff": {"before_header": header, "after_header": header, "before": old, "after": new},
    }


def secrets_of(params: dict[str, Any]) -> set[str]:
    """The parts of index URLs that an installer may print by themselves."""
    found: set[str] = set()
    for url in [params["index_url"] or "", *params["extra_index_urls"]]:
        with contextlib.suppress(ValueError):
            for part in (urlsplit(url).username, urlsplit(url).password):
                found |= {part, unquote(part)} if part else set()
    return found


def shown_arguments(params: dict[str, Any]) -> dict[str, Any]:
    """The arguments as they may be shown: secret options hidden, and no credentials in the URLs of the others."""
    shown = json.loads(dependencies.masked(json.dumps({k: v for k, v in params.items() if k not in SECRET_OPTIONS})))
    shown.update({name: HIDDEN if params[name] else params[name] for name in SECRET_OPTIONS})
    return shown


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "source": {"type": "path"},
            "link": {"type": "path"},
            "requirements": {"type": "list", "elements": "str", "default": ["requirements.txt"]},
            "packages": {"type": "list", "elements": "str", "default": []},
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
            "report_missing": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    invocation = {"module_args": shown_arguments(params)}
    for name in ("directory", "source", "link", "uv"):
        if params[name] and not os.path.isabs(params[name]):
            module.fail_json(msg=f"{name} is '{params[name]}', but must be an absolute path.", invocation=invocation)
    settings = Settings(**{name: params[name] for name in Settings._fields})
    settings = settings._replace(
        directory=os.path.normpath(settings.directory),
        source=os.path.realpath(settings.source) if settings.source else None,
        link=os.path.normpath(settings.link) if settings.link else None,
    )
    # A short value such as "1" hides nothing, but would make holes into every message.
    module.no_log_values = {value for value in module.no_log_values | secrets_of(params) if len(value) > 3}
    os.umask(0o022)
    try:
        with tempfile.TemporaryDirectory(dir=module.tmpdir) as work:
            result = run(settings, module.check_mode, work)
    except (VenvError, _symlink.SymlinkError) as error:
        module.fail_json(msg=str(error), invocation=invocation)
    except OSError as error:
        module.fail_json(msg=_files.sentence(error, settings.directory), invocation=invocation)
    closed = closed_directory(result["interpreter"]) if result["built"] and result["interpreter"] else None
    if closed:
        module.warn(
            f"The interpreter {result['interpreter']} lies in {closed}, which not everybody may enter: "
            "the user that runs the application will need another one (venv_python)."
        )
    # Nothing of the result comes from a secret, and a value that happens to be part of a path must not hide it.
    module.no_log_values = set()
    if not module._diff:
        del result["diff"]
    module.exit_json(invocation=invocation, **result)


if __name__ == "__main__":
    main()
