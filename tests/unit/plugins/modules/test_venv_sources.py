# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Code and packages that can change while the requirement files stay equal."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import hash_file
from ansible_collections.flaskops.production.plugins.module_utils._python import builder, steps, venvs
from ansible_collections.flaskops.production.plugins.module_utils._python.options import VENV_OPTIONS, parse_settings
from ansible_collections.flaskops.production.plugins.modules import venv
from ansible_collections.flaskops.production.tests.unit.programs import require

pytestmark = pytest.mark.xdist_group("venv")

PYTHON = os.path.realpath(sys.executable)
ENVIRONMENT = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "UV_OFFLINE": "1", "UV_NO_CONFIG": "1"}
# Builds a wheel, also an editable one, without a package of an index.
BACKEND = """
import os, re, zipfile

TEXT = open("pyproject.toml").read()
NAME, VERSION = re.search('name = "(.+)"', TEXT)[1], re.search('version = "(.+)"', TEXT)[1]
REQUIRES = re.findall('"(.+?)"', re.search(r"dependencies = \\[(.*)\\]", TEXT)[1])
ROOT = "src" if os.path.isdir("src") else "."


def write(directory, files):
    info = f"{NAME}-{VERSION}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {NAME}", f"Version: {VERSION}"]
    metadata += [f"Requires-Dist: {item}" for item in REQUIRES]
    files[f"{info}/METADATA"] = "\\n".join(metadata) + "\\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    files[f"{info}/RECORD"] = "".join(f"{name},,\\n" for name in [*files, f"{info}/RECORD"])
    wheel = f"{NAME}-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, wheel), "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return wheel


def build_wheel(directory, settings=None, metadata=None):
    os.makedirs("build", exist_ok=True)
    open("build/left", "w").close()
    return write(directory, {f"{NAME}/__init__.py": open(f"{ROOT}/{NAME}/__init__.py").read()})


def build_editable(directory, settings=None, metadata=None):
    return write(directory, {f"__editable__.{NAME}-{VERSION}.pth": os.path.abspath(ROOT) + "\\n"})
"""


@pytest.fixture(scope="session")
def empty_venv(tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "venv"
    subprocess.run([PYTHON, "-I", "-m", "venv", str(path)], check=True)
    return path


@pytest.fixture(autouse=True)
def hermetic(monkeypatch, build_unit, empty_venv):
    """Copy an empty virtual environment instead of creating one, and ignore the configuration of the user."""
    for name in os.environ:
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(
        builder.Builder,
        "_create_with_pip",
        lambda self, path: shutil.copytree(empty_venv, path, symlinks=True, dirs_exist_ok=True),
    )


class Application:
    """An application with releases, whose virtual environments are built by the module."""

    def __init__(self, root, run_module):
        self.root, self.run_module = root, run_module
        self.count = 0
        self.release = None
        (root / ".deploy/releases").mkdir(parents=True)
        (root / ".deploy/environments").mkdir()

    def stage(self, files, digest=None):
        """Write a new release with some files, and its record."""
        self.count += 1
        name = f"r{self.count}"
        self.release = self.root / "releases" / name
        for path, text in files.items():
            (self.release / path).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(text, bytes):
                (self.release / path).write_bytes(text)
            else:
                (self.release / path).write_text(text)
        record = {"release": name, "digest": digest or f"digest-{name}", "state": "staged", "staged": "", "built": True}
        (self.root / f".deploy/releases/{name}.json").write_text(json.dumps({**record, "migrated": {}, "format": 1}))

    def build(self, check=False, **options):
        arguments = {
            "directory": f"{self.root}/venvs",
            "source": str(self.release),
            "link": f"{self.root}/.deploy/environments/{self.release.name}",
            "python": PYTHON,
            "environment": {
                "PIP_CONFIG_FILE": os.devnull,
                "PIP_NO_INDEX": "1",
                "UV_NO_INDEX": "1",
                "UV_NO_CONFIG": "1",
            },
        }
        return self.run_module(venv, {**arguments, **options}, check=check, diff=True)

    def run(self, result, code):
        """Run code with a built virtual environment, outside of the release."""
        command = [f"{result['path']}/bin/python", "-I", "-c", code]
        return subprocess.run(command, cwd="/", capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def application(tmp_path, run_module):
    return Application(tmp_path, run_module)


@pytest.fixture(params=["pip", "uv"])
def installer(request):
    if request.param == "uv":
        require("uv")
    return request.param


def project(name, value, folder="", dependencies="", extra="", src=False):
    """Return the files of a project whose package has the constant VALUE."""
    package = f"{folder}src/{name}" if src else f"{folder}{name}"
    return {
        f"{folder}pyproject.toml": f'[project]\nname = "{name}"\nversion = "1.0"\ndependencies = [{dependencies}]\n'
        f"[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n{extra}",
        f"{folder}backend.py": BACKEND,
        f"{package}/__init__.py": f"VALUE = '{value}'\n",
    }


PYLOCK = 'lock-version = "1.0"\ncreated-by = "test"\n\n[[packages]]\nname = "shop"\n'
UV_LOCK = """version = 1
requires-python = ">=3.8"

[[package]]
name = "mylib"
version = "1.0"
source = {{ editable = "libs/mylib" }}

[[package]]
name = "shop"
version = "1.0"
source = {{ {kind} = "." }}
dependencies = [
    {{ name = "mylib" }},
]

[package.metadata]
requires-dist = [{{ name = "mylib", editable = "libs/mylib" }}]
"""
SOURCES = "[tool.uv.sources]\nmylib = { path = 'libs/mylib', editable = true }\n"

# Each spelling of a project of the release or a path dependency: the requirement files, the module and the installers.
SPELLINGS = {
    "editable dot": ({"requirements.txt": "-e .\n"}, "shop", "pip uv"),
    "file URL": ({"requirements.txt": "shop @ file:.\n"}, "shop", "pip uv"),
    "included": ({"requirements.txt": "-r reqs/base.txt\n", "reqs/base.txt": "-e .\n"}, "shop", "pip"),
    "marker": ({"requirements.txt": "./libs/mylib ; python_version >= '3.8'\n"}, "mylib", "pip"),
    "editable bare path": ({"requirements.txt": "-e libs/mylib\n"}, "mylib", "pip uv"),
    "pylock editable": ({"pylock.toml": PYLOCK + 'directory = { path = ".", editable = true }\n'}, "shop", "pip uv"),
    "pylock": ({"pylock.toml": PYLOCK + 'directory = { path = "." }\n'}, "shop", "uv"),
    "pylock table": (
        {"pylock.toml": PYLOCK + "[packages.directory]\neditable = true\npath = '.'\n"},
        "shop",
        "uv",
    ),
    "uv.lock": ({"uv.lock": UV_LOCK.format(kind="editable")}, "mylib", "uv"),
    "uv.lock of a virtual project": ({"uv.lock": UV_LOCK.format(kind="virtual")}, "mylib", "uv"),
    "uv sources": ({"pyproject.toml": None}, "mylib", "uv"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_each_release_gets_its_own_code(application, installer, spelling):
    files, module, installers = SPELLINGS[spelling]
    if installer not in installers:
        pytest.skip("only uv reads this file")
    listed = next(iter(files))
    dependencies, extra = ('"mylib"', SOURCES) if "uv.lock" in files or spelling == "uv sources" else ("", "")

    def stage(value):
        written = {name: text for name, text in files.items() if text is not None}
        application.stage(
            {
                **project("shop", value, dependencies=dependencies, extra=extra),
                **project("mylib", value, "libs/mylib/"),
                **written,
            }
        )

    options = {"requirements": [listed], "installer": installer}
    stage("one")
    first = application.build(check=True, **options)
    stage("two")
    second = application.build(**options)
    assert second.get("msg") is None
    assert first["digest"] != second["digest"]
    value, path = application.run(second, f"import {module}; print({module}.VALUE, {module}.__file__)").split()
    assert value == "two" and path.startswith(second["path"])
    again = application.build(**options)
    assert (again["changed"], again["digest"]) == (False, second["digest"])
    assert not (application.release / "build").exists()


def test_rebuild_is_never_in_place(application):
    application.stage({**project("shop", "one"), "requirements.txt": "."})
    application.build()
    options = {
        **{name: option.get("default") for name, option in VENV_OPTIONS.items()},
        "directory": f"{application.root}/venvs",
        "source": str(application.release),
        "link": f"{application.root}/.deploy/environments/r1",
        "python": PYTHON,
    }
    assert venvs.is_in_place(parse_settings(options))
    assert not venvs.is_in_place(parse_settings({**options, "rebuild": True}))


def test_pruned_release_does_not_break_the_next_one(application):
    for value in ("one", "two"):
        application.stage({**project("shop", value), "requirements.txt": "-e .\n"})
        result = application.build()
        assert application.run(result, "import shop; print(shop.VALUE)") == value
        shutil.rmtree(application.release)
        assert application.run(result, "import shop; print(shop.VALUE)") == value


def test_files_of_a_build_command_do_not_rebuild_the_venv(application):
    application.stage({**project("shop", "one"), "requirements.txt": "."})
    first = application.build()
    (application.release / "shop/static.js").write_text("built")
    assert application.build()["changed"] is False
    application.stage({**project("shop", "one"), "requirements.txt": "."}, digest="digest-r1")
    assert application.build()["digest"] == first["digest"]


def test_source_without_releases_is_identified_by_its_files(application, tmp_path):
    for value in ("one", "two"):
        application.stage({**project("shop", value), "requirements.txt": "."})
    other = tmp_path / "plain"
    shutil.copytree(application.release, other)
    first = application.build(source=str(other))
    (other / "shop/__pycache__").mkdir()
    (other / "shop/__pycache__/x.pyc").touch()
    assert application.build(source=str(other))["changed"] is False
    (other / "shop/__init__.py").write_text("VALUE = 'three'\n")
    second = application.build(source=str(other))
    assert second["digest"] != first["digest"]
    assert application.run(second, "import shop; print(shop.VALUE)") == "three"


@pytest.mark.parametrize("listed", ["pyproject.toml", "uv.lock"])
def test_project_in_src_is_installed(application, installer, listed):
    if listed == "uv.lock" and installer == "pip":
        pytest.skip("only uv reads this file")
    lock = 'version = 1\nrequires-python = ">=3.8"\n\n[[package]]\nname = "shop"\nversion = "1.0"\n'
    application.stage({**project("shop", "one", src=True), "uv.lock": lock + 'source = { editable = "." }\n'})
    result = application.build(requirements=[listed], installer=installer)
    assert application.run(result, "import shop; print(shop.VALUE)") == "one"


def test_project_beside_hashed_packages_is_installed(application, tmp_path):
    """pip refuses directories in a call with hashes."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    application.stage(project("base", "base"))
    subprocess.run(
        [PYTHON, "-c", f"import backend; backend.build_wheel({str(wheels)!r})"], cwd=application.release, check=True
    )
    (wheel,) = wheels.iterdir()
    digest = hash_file(wheel)
    application.stage(
        {
            **project("shop", "one", dependencies='"base"'),
            "requirements.txt": f"-e .\nbase==1.0 --hash=sha256:{digest}\n",
        }
    )
    result = application.build(find_links=[str(wheels)])
    assert application.run(result, "import shop, base; print(shop.VALUE, base.VALUE)") == "one base"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("./libs", "requirements.txt, line 1: './libs' names a directory that is no project, because it has no pyproj"),
        ("-e ../other", "requirements.txt, line 1: '-e ../other' names a directory outside of the release: name one"),
    ],
)
def test_directory_that_cannot_be_built_is_refused(application, line, message):
    (application.root / "releases/other").mkdir(parents=True)
    application.stage({**project("mylib", "one", "libs/mylib/"), "requirements.txt": line})
    assert application.build()["msg"].startswith(message)
    assert not (application.root / "venvs").exists()


def test_editable_package_that_only_the_installer_finds_is_refused(application):
    """The include is known after pip has expanded the variable."""
    application.stage({**project("shop", "one"), "requirements.txt": "-r ${REQUIREMENTS}\n", "more.txt": "-e .\n"})
    message = application.build(environment={**ENVIRONMENT, "REQUIREMENTS": "more.txt"})["msg"]
    assert message.startswith("shop was installed as a link to its source")
    assert [name for name in os.listdir(application.root / "venvs") if not name.startswith(".")] == []


def run_git(path, *command):
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    done = subprocess.run(["git", *identity, *command], cwd=path, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """Create a repository of a library, and return a function that commits a value to its branch main."""
    path = tmp_path / "repository"
    path.mkdir()
    run_git(path, "init", "--quiet", "--initial-branch=main")

    def commit(value):
        for name, text in project("mylib", value).items():
            (path / name).parent.mkdir(exist_ok=True)
            (path / name).write_text(text)
        run_git(path, "add", ".")
        run_git(path, "commit", "--quiet", "--message", value)
        return run_git(path, "rev-parse", "HEAD")

    commit.url = f"git+file://{path}"
    return commit


def test_branch_of_a_repository_is_resolved_for_each_release(application, repository, installer):
    repository("one")
    show = "import mylib; print(mylib.VALUE)"
    options = {"installer": installer}
    application.stage({"requirements.txt": f"{repository.url}@main#egg=mylib\n"})
    first = application.build(**options)
    assert application.run(first, show) == "one"
    repository("two")
    assert application.build(**options)["changed"] is False, "a release keeps its packages"
    application.stage({"requirements.txt": f"{repository.url}@main#egg=mylib\n"})
    second = application.build(**options)
    assert application.run(second, show) == "two"
    assert application.run(first, show) == "one"


def test_commit_of_a_repository_is_shared_by_releases(application, repository):
    commit = repository("one")
    digests = set()
    for _release in range(2):
        application.stage({"requirements.txt": f"{repository.url}@{commit}#egg=mylib\n"})
        digests.add(application.build()["digest"])
    assert len(digests) == 1


def build_wheel(path, value, package="mylib"):
    """Build a wheel of a library, and return its bytes. Wheels with values of equal length have the same size."""
    for name, text in project(package, value).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    code = "import backend; print(backend.build_wheel('.'))"
    subprocess.run([PYTHON, "-c", code], cwd=path, check=True, capture_output=True)
    return (path / f"{package}-1.0-py3-none-any.whl").read_bytes()


@pytest.mark.parametrize("spelling", ["--find-links file:wheels", "setting"])
def test_changed_wheel_of_the_same_size_is_installed(application, tmp_path, spelling):
    digests = []
    for value in ("one", "two"):
        wheel = build_wheel(tmp_path / "make", value)
        line = "" if spelling == "setting" else spelling + "\n"
        application.stage({"wheels/mylib-1.0-py3-none-any.whl": wheel, "requirements.txt": line + "mylib\n"})
        result = application.build(check=value == "one", find_links=["wheels"] if spelling == "setting" else [])
        digests.append(result["digest"])
    assert application.run(result, "import mylib; print(mylib.VALUE)") == "two"
    assert len(set(digests)) == 2


def test_file_of_powershell_is_read(application, tmp_path, installer):
    wheel = build_wheel(tmp_path / "make", "one")
    text = "-r more.txt\r\n".encode("utf-16")
    files = {"requirements.txt": text, "more.txt": b"\xef\xbb\xbfmylib\r\n"}
    application.stage({"wheels/mylib-1.0-py3-none-any.whl": wheel, **files})
    result = application.build(find_links=["wheels"], installer=installer, packages=["mylib>=2"])
    assert application.run(result, "import mylib; print(mylib.VALUE)") == "one"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("poetry.lock", b"", "poetry.lock is the file of another tool: run 'poetry export"),
        (
            "requirements.txt",
            b"# caf\xe9",
            "The requirement file {release}/requirements.txt is not valid utf-8 (line 1); save",
        ),
    ],
)
def test_unreadable_file_is_refused(application, name, content, message):
    application.stage({name: content})
    assert application.build(requirements=[name])["msg"].startswith(message.format(release=application.release))


def test_index_of_a_package_in_a_uv_lock_is_used(application, tmp_path):
    """uv's way for a private index, and for builds of PyTorch."""
    require("uv")
    index = 'name = "own"\nurl = "wheels"\nformat = "flat"\nexplicit = true\n'
    sources = '[tool.uv.sources]\nmylib = { index = "own" }\n[[tool.uv.index]]\n' + index
    files = project("shop", "one", dependencies='"mylib"', extra=sources, src=True)
    application.stage({**files, "wheels/mylib-1.0-py3-none-any.whl": build_wheel(tmp_path / "make", "one")})
    environment = {**os.environ, "UV_NO_CONFIG": "0", "UV_OFFLINE": "1"}
    subprocess.run(["uv", "lock", "--python", PYTHON], cwd=application.release, check=True, env=environment)
    result = application.build(requirements=["uv.lock"], installer="uv")
    code = "import mylib, shop; print(mylib.VALUE, shop.VALUE, shop.__file__)"
    value, own, path = application.run(result, code).split()
    assert (value, own) == ("one", "one") and path.startswith(result["path"])


@pytest.mark.parametrize("listed", ["pyproject.toml", "uv.lock"])
def test_extras_and_groups_are_installed(application, tmp_path, installer, listed):
    if listed == "uv.lock" and installer == "pip":
        pytest.skip("only uv reads this file")
    extra = '[project.optional-dependencies]\nown = ["mylib"]\n[dependency-groups]\nprod = ["flaskops_other"]\n'
    files = {
        f"wheels/{name}-1.0-py3-none-any.whl": build_wheel(tmp_path / name, "one", name)
        for name in ("mylib", "flaskops_other")
    }
    application.stage({**project("shop", "one", extra=extra), **files})
    if installer == "uv":
        command = ["uv", "lock", "--python", PYTHON, "--quiet"]
        environment = {**os.environ, **ENVIRONMENT, "UV_FIND_LINKS": "wheels"}
        subprocess.run(command, cwd=application.release, check=True, env=environment)
    options = {"requirements": [listed], "installer": installer, "find_links": ["wheels"]}
    plain = application.build(**options)
    assert not {"mylib==1.0", "flaskops_other==1.0"} & set(plain["packages"])
    result = application.build(**options, extras=["own"], groups=["prod"])
    assert {"mylib==1.0", "flaskops_other==1.0"} <= set(result["packages"])


def hash_wheels(path, *names):
    """Build wheels of libraries in a directory, and return a requirement with a hash for each."""
    path.mkdir()
    lines = []
    for name in names:
        wheel = path / f"{name}-1.0-py3-none-any.whl"
        wheel.write_bytes(build_wheel(path.parent / name, "one", name))
        lines.append(f"{name}==1.0 --hash=sha256:{hash_file(wheel)}\n")
    return lines


def write_lock(application, *lines):
    """Write the uv.lock of a release and its packages from PyPI, given as requirements with a hash."""
    text = 'version = 1\nrequires-python = ">=3.8"\n'
    names = []
    for line in lines:
        name, digest = line.split("==")[0], line.rpartition("--hash=")[2].strip()
        names.append(f'{{ name = "{name}" }}')
        wheel = f'url = "https://files.pythonhosted.org/{name}-1.0-py3-none-any.whl", hash = "{digest}"'
        text += (
            f'\n[[package]]\nname = "{name}"\nversion = "1.0"\nsource = {{ registry = "https://pypi.org/simple" }}\n'
        )
        text += f"wheels = [{{ {wheel} }}]\n"
    text += '\n[[package]]\nname = "shop"\nversion = "1.0"\nsource = { editable = "." }\n'
    (application.release / "uv.lock").write_text(text + f"dependencies = [{', '.join(names)}]\n")


@pytest.fixture
def no_copy(monkeypatch):
    """Refuse to copy a source, which could be the whole file system."""
    monkeypatch.setattr(steps, "copy_source", lambda *_arguments: pytest.fail("the source was copied"))


@pytest.mark.parametrize("hashes", [False, True])
def test_exported_lock_file_replaces_no_other_file(application, tmp_path, hashes):
    """A release may have a requirements.txt beside its uv.lock, with other packages."""
    require("uv")
    lines = hash_wheels(tmp_path / "wheels", "mylib", "flaskops_other")
    files = project("shop", "one", dependencies='"mylib"', src=True)
    application.stage({**files, "requirements.txt": lines[1]})
    write_lock(application, lines[0])
    options = {"installer": "uv", "find_links": [str(tmp_path / "wheels")], "require_hashes": hashes}
    result = application.build(requirements=["uv.lock", "requirements.txt"], **options)
    assert result.get("msg") is None
    assert {"mylib==1.0", "flaskops_other==1.0", "shop==1.0"} <= set(result["packages"])
    assert (application.release / "requirements.txt").read_text() == lines[1]


def test_lock_file_outside_of_the_source_is_read_only(application, tmp_path, no_copy):
    require("uv")
    lines = hash_wheels(tmp_path / "wheels", "mylib")
    application.stage({**project("shop", "one", dependencies='"mylib"'), "requirements.txt": lines[0]})
    write_lock(application, lines[0])
    options = {"installer": "uv", "find_links": [str(tmp_path / "wheels")], "source": None}
    result = application.build(requirements=[str(application.release / "uv.lock")], **options)
    assert "mylib==1.0" in result["packages"]
    assert (application.release / "requirements.txt").read_text() == lines[0]


def test_recoded_file_outside_of_the_source_is_refused(application, tmp_path, no_copy):
    application.stage({})
    path = tmp_path / "requirements.txt"
    path.write_text("mylib\n", encoding="utf-16")
    message = application.build(requirements=[str(path)], installer="uv", source=None)["msg"]
    assert message == f"uv cannot read {path}: save it as UTF-8 without a byte order mark."


def test_directory_needs_a_source(application, tmp_path, no_copy):
    application.stage({})
    path = tmp_path / "requirements.txt"
    path.write_text("./usr\n")
    message = application.build(requirements=[str(path)], source=None)["msg"]
    assert message == "requirements.txt, line 1: a directory needs the source that it is in (venv_source)."


@pytest.mark.parametrize("name", ["./requirements.txt", "link"])
def test_file_with_another_name_and_includes_is_installed(application, installer, tmp_path, name):
    hash_wheels(tmp_path / "wheels", "mylib")
    files = {"requirements/prod.txt": "-e .\n-r base.txt\n", "base.txt": "mylib\n"}
    application.stage({**project("shop", "one"), **files, "requirements.txt": files["requirements/prod.txt"]})
    if name == "link":
        name = "requirements.txt"
        (application.release / name).unlink()
        (application.release / name).symlink_to("requirements/prod.txt")
    options = {"installer": installer, "find_links": [str(tmp_path / "wheels")]}
    result = application.build(requirements=[name], **options)
    assert result.get("msg") is None
    assert {"mylib==1.0", "shop==1.0"} <= set(result["packages"])


def test_file_that_only_root_can_read_is_installed(application, installer):
    application.stage({**project("shop", "one"), "requirements.txt": "-e .\n"})
    (application.release / "requirements.txt").chmod(0o640)
    assert "shop==1.0" in application.build(installer=installer)["packages"]


@pytest.mark.parametrize("listed", ["pyproject.toml", "uv.lock"])
def test_project_is_not_built_if_no_code_may_run(application, installer, tmp_path, listed):
    if listed == "uv.lock" and installer == "pip":
        pytest.skip("only uv reads this file")
    lines = hash_wheels(tmp_path / "wheels", "mylib")
    application.stage(project("shop", "one", dependencies='"mylib"', src=True))
    write_lock(application, *lines)
    options = {"installer": installer, "find_links": [str(tmp_path / "wheels")], "only_binary": True}
    result = application.build(requirements=[listed], **options)
    assert result.get("msg") is None
    assert "mylib==1.0" in result["packages"] and "shop==1.0" not in result["packages"]


def test_project_brings_no_package_without_a_hash(application, tmp_path):
    """The lock file is older than the dependencies of the project."""
    require("uv")
    lines = hash_wheels(tmp_path / "wheels", "mylib", "flaskops_other")
    application.stage(project("shop", "one", dependencies='"mylib", "flaskops_other"', src=True))
    write_lock(application, lines[0])
    options = {"installer": "uv", "find_links": [str(tmp_path / "wheels")], "require_hashes": True}
    result = application.build(requirements=["uv.lock"], **options)
    assert "flaskops-other" in result["msg"] and "uv pip check ended with 1" in result["msg"]
