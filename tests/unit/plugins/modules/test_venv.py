# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import http.server
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._python import builder, steps, venvs
from ansible_collections.flaskops.production.plugins.module_utils._python.digest import (
    collect_digest_inputs,
    compute_digest,
)
from ansible_collections.flaskops.production.plugins.module_utils._python.installer import build_environment
from ansible_collections.flaskops.production.plugins.module_utils._python.options import VenvError, VenvSettings
from ansible_collections.flaskops.production.plugins.module_utils._python.requirement_files import (
    read_requirement_files,
)
from ansible_collections.flaskops.production.plugins.module_utils._python.venv_content import COMPLETE_MARKER
from ansible_collections.flaskops.production.plugins.module_utils._python.workspace import WORK_DIRECTORY
from ansible_collections.flaskops.production.plugins.module_utils._systemd import transient_unit
from ansible_collections.flaskops.production.plugins.modules import venv
from ansible_collections.flaskops.production.tests.unit.programs import needs, require

# The tests share an empty virtual environment, because creating one takes seconds.
pytestmark = pytest.mark.xdist_group("venv")

PYTHON = os.path.realpath(sys.executable)


def make_wheel(directory, name, version, requires=(), script=False):
    """Create a small pure wheel. Returns its SHA-256."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = '{version}'\n\n\ndef main():\n    print(VERSION)\n",
        f"{info}/METADATA": "\n".join(
            [
                "Metadata-Version: 2.1",
                f"Name: {name}",
                f"Version: {version}",
                *[f"Requires-Dist: {r}" for r in requires],
            ]
        )
        + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if script:
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{name} = {name}:main\n"
    record = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record.append(f"{path},sha256={digest},{len(text.encode())}")
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,"]) + "\n"
    wheel = directory / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0)), text)
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """Create a directory of wheels. Yields it with their hashes by name==version."""
    directory = tmp_path_factory.mktemp("wheels")
    hashes = {
        "web==1.0": make_wheel(directory, "web", "1.0", ["base>=1"], script=True),
        "web==2.0": make_wheel(directory, "web", "2.0", ["base>=2"], script=True),
        "base==1.0": make_wheel(directory, "base", "1.0"),
        "base==2.0": make_wheel(directory, "base", "2.0"),
        "server==24.1": make_wheel(directory, "server", "24.1", ["base"], script=True),
        "server==25.0": make_wheel(directory, "server", "25.0", ["base"], script=True),
    }
    return directory, {name: f"--hash=sha256:{value}" for name, value in hashes.items()}


@pytest.fixture(scope="session")
def empty_environment(tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "env"
    subprocess.run([PYTHON, "-I", "-m", "venv", str(path)], check=True)
    return path


@pytest.fixture
def quick(monkeypatch, empty_environment):
    """Copy an empty virtual environment instead of creating one, which takes seconds."""
    monkeypatch.setattr(
        builder.Builder,
        "_create_with_pip",
        lambda self, path: shutil.copytree(empty_environment, path, symlinks=True, dirs_exist_ok=True),
    )


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch, build_unit):
    for name in os.environ:
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "app").mkdir()
    return tmp_path


@pytest.fixture
def arguments(root, wheels):
    return {
        "directory": str(root / "venvs"),
        "source": str(root / "app"),
        "link": str(root / "venv"),
        "python": PYTHON,
        "find_links": [str(wheels[0])],
        "environment": {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"},
    }


@pytest.fixture
def build(run_module, arguments):
    def run(check=False, **options):
        return run_module(venv, {**arguments, **options}, check=check, diff=True)

    return run


@pytest.fixture
def settings(arguments):
    """Return the settings of a call."""

    def make(**options):
        defaults = {
            "link": None,
            "requirements": ["requirements.txt"],
            "packages": [],
            "installer": "pip",
            "uv": None,
            "index_url": None,
            "extra_index_urls": [],
            "require_hashes": False,
            "only_binary": False,
            "timeout": 60,
        }
        return VenvSettings(**{**defaults, **arguments, **options})

    return make


def write(root, text, name="requirements.txt"):
    path = root / "app" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def names(result):
    return [name for name in result["packages"] if not name.startswith(("pip==", "setuptools=="))]


def list_venvs(root):
    return sorted(name for name in os.listdir(root / "venvs") if not name.startswith("."))


def test_check_build_repeat_and_change(root, build):
    """Uses the venv module of the interpreter, with a restrictive umask."""
    write(root, "web==1.0\n")
    checked = build(check=True, packages=["server>=24"])
    assert (checked["changed"], checked["built"], checked["packages"]) == (True, True, [])
    assert os.listdir(root) == ["app"]

    umask = os.umask(0o077)
    try:
        first = build(packages=["server>=24"])
    finally:
        os.umask(umask)
    assert (first["changed"], first["built"]) == (True, True)
    assert names(first) == ["base==2.0", "server==25.0", "web==1.0"]
    assert first["digest"] == checked["digest"]
    assert first["path"] == f"{root}/venvs/{first['digest']}"
    assert first["interpreter"] == PYTHON
    assert os.readlink(root / "venv") == f"venvs/{first['digest']}"
    assert first["diff"]["before"] == {"link": None, "venv": None}
    assert first["diff"]["after"]["link"] == f"venvs/{first['digest']}"
    assert "web==1.0" in first["diff"]["after"]["packages"]

    script = root / "venv" / "bin" / "server"
    assert script.read_text().startswith(f"#!{first['path']}/bin/python")
    assert subprocess.run([script], capture_output=True, text=True, check=True).stdout == "25.0\n"
    compiled = list((root / "venv").glob("lib/python*/site-packages/__pycache__/web.*.pyc"))
    assert len(compiled) == 1
    for parent, directories, files in os.walk(root / "venvs"):
        for name in [*directories, *files]:
            path = os.path.join(parent, name)
            mode = os.lstat(path).st_mode
            if not os.path.islink(path) and name != builder.LOCK_FILE:
                assert mode & 0o444 == 0o444 and not mode & 0o022, f"{path} {stat.filemode(mode)}"

    before = {path: path.stat().st_mtime_ns for path in (root / "venvs").rglob("*") if not path.is_symlink()}
    again = build(packages=["server>=24"])
    assert (again["changed"], again["built"], again["packages"]) == (False, False, first["packages"])
    assert again["diff"]["before"] == again["diff"]["after"]
    assert before == {path: path.stat().st_mtime_ns for path in (root / "venvs").rglob("*") if not path.is_symlink()}
    assert build(check=True, packages=["server>=24"])["changed"] is False


def test_second_venv_keeps_the_first_for_reuse(root, build, quick):
    write(root, "web==1.0\n")
    first = build()
    write(root, "web==2.0\n")
    checked = build(check=True)
    assert (checked["changed"], checked["built"]) == (True, True)
    second = build()
    assert names(second) == ["base==2.0", "web==2.0"]
    assert list_venvs(root) == sorted([first["digest"], second["digest"]])
    assert second["diff"]["before"]["link"] == f"venvs/{first['digest']}"

    write(root, "web==1.0\n")
    back = build()
    assert (back["changed"], back["built"], back["digest"]) == (True, False, first["digest"])
    assert os.readlink(root / "venv") == f"venvs/{first['digest']}"


def test_rebuild_resolves_unpinned_packages_again(root, build, quick, tmp_path):
    index = tmp_path / "index"
    index.mkdir()
    make_wheel(index, "base", "1.0")
    options = {"find_links": [], "environment": {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}}
    options["environment"]["PIP_FIND_LINKS"] = str(index)
    write(root, "base\n")
    first = build(**options)
    make_wheel(index, "base", "2.0")
    assert build(**options)["changed"] is False
    checked = build(check=True, rebuild=True, **options)
    second = build(rebuild=True, **options)
    assert checked["built"] and second["built"] and checked["digest"] == second["digest"]
    assert (names(first), names(second)) == (["base==1.0"], ["base==2.0"])
    assert os.readlink(root / "venv") == f"venvs/{second['digest']}"
    assert list_venvs(root) == sorted([first["digest"], second["digest"]]), "an earlier release uses the first one"
    later = build(**options)
    assert (later["changed"], later["digest"]) == (False, second["digest"])
    make_wheel(index, "base", "3.0")
    assert names(build(rebuild=True, **options)) == ["base==3.0"]


def test_failed_rebuild_keeps_the_venv(root, build, quick, monkeypatch):
    write(root, "base==1.0\n")
    first = build()
    with monkeypatch.context() as context:
        context.setattr(
            builder.Builder, "_check_venv", lambda _builder: _builder.installer.run_command(["/bin/false"], "a check")
        )
        assert build(rebuild=True)["failed"]
    later = build()
    assert (later["changed"], later["digest"]) == (False, first["digest"])
    assert list_venvs(root) == [first["digest"]]


def test_venv_without_a_link_contains_packages_only(root, build, quick):
    result = build(link=None, requirements=[], source=None, packages=["base<2"])
    assert (names(result), result["link"]) == (["base==1.0"], "")
    assert not os.path.lexists(root / "venv")


def test_link_is_recorded_except_for_check_mode_and_releases(root, build, quick):
    write(root, "web==1.0\n")
    (root / ".deploy/environments").mkdir(parents=True)
    (root / "worker").mkdir()
    build(check=True, link=f"{root}/worker/venv")
    build(link=f"{root}/.deploy/environments/v1")
    assert not (root / "venvs/.links").exists()
    for _again in range(2):
        build(link=f"{root}/worker/venv")
        assert [os.readlink(note) for note in (root / "venvs/.links").iterdir()] == [f"{root}/worker/venv"]


def test_link_in_a_release_points_out_of_it(root, build, quick):
    (root / "releases" / "1").mkdir(parents=True)
    write(root, "base\n")
    result = build(link=str(root / "releases" / "1" / ".venv"))
    assert os.readlink(root / "releases" / "1" / ".venv") == f"../../venvs/{result['digest']}"


def test_interrupted_build_is_repeated(root, build, quick):
    write(root, "base==1.0\n")
    digest = build(check=True)["digest"]
    (root / "venvs" / digest / "lib").mkdir(parents=True)
    (root / "venvs" / digest / "lib" / "half").touch()
    result = build()
    assert (result["built"], names(result)) == (True, ["base==1.0"])
    assert not (root / "venvs" / digest / "lib" / "half").exists()
    assert (root / "venvs" / digest / COMPLETE_MARKER).is_file()


def site_packages(root, digest):
    (found,) = (root / "venvs" / digest).glob("lib/python*/site-packages")
    return found


@pytest.mark.parametrize("damage", ["removed", "metadata removed", "added"])
def test_modified_venv_is_rebuilt(root, build, quick, damage):
    write(root, "base==1.0\n")
    digest = build()["digest"]
    assert not build()["changed"]
    packages = site_packages(root, digest)
    (packages / "__pycache__").mkdir(exist_ok=True)
    assert not build()["changed"], "caches come and go"
    if damage == "added":
        (packages / "stranger.py").touch()
    else:
        victim = next(path for path in packages.iterdir() if ("dist-info" in path.name) == (damage != "removed"))
        shutil.rmtree(victim) if victim.is_dir() else victim.unlink()
    assert build(check=True)["built"]
    result = build()
    assert (result["built"], result["digest"], names(result)) == (True, digest, ["base==1.0"])
    assert not build()["changed"] and list_venvs(root) == [digest]


def test_damaged_venv_is_restored_if_the_rebuild_fails(root, build, quick, monkeypatch):
    """A running process may use it."""
    write(root, "base==1.0\n")
    digest = build()["digest"]
    (site_packages(root, digest) / "stranger.py").touch()

    def fail(_builder):
        raise VenvError("the index is down")

    monkeypatch.setattr(builder.Builder, "_check_venv", fail)
    assert "the index is down" in build()["msg"]
    assert (site_packages(root, digest) / "stranger.py").exists() and list_venvs(root) == [digest]


def test_parallel_runs_build_once(root, settings, quick):
    write(root, "web==1.0\n")

    def one(_number):
        return venv.ensure_venv(settings(), False)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(one, range(4)))
    assert sorted(result["built"] for result in results) == [False, False, False, True]
    assert len({json.dumps(result["packages"]) for result in results}) == 1
    assert list_venvs(root) == [results[0]["digest"]]


def test_wait_for_another_build_has_a_time_limit(root, build):
    write(root, "base\n")
    (root / "venvs").mkdir()
    with open(root / "venvs" / builder.LOCK_FILE, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        message = build(timeout=1)["msg"]
    assert message.startswith(f"Another run has been building in {root}/venvs for 1 s (venv_timeout)")


def test_build_exceeding_the_time_limit_is_stopped(root, build, quick, monkeypatch):
    write(root, "base==1.0\n")

    def hangs(self):
        return self.installer.run_command(["/bin/sh", "-c", "sleep 60 & wait"], "a build")

    monkeypatch.setattr(builder.Builder, "_check_venv", hangs)
    message = build(timeout=5)["msg"]
    assert "could not be built within 5 s (venv_timeout)" in message
    assert list_venvs(root) == [] and not (root / "venvs" / WORK_DIRECTORY).exists()


def test_leftovers_of_a_killed_build_are_removed(root, build, quick, build_unit):
    write(root, "base==1.0\n")
    build()
    (root / "venvs" / WORK_DIRECTORY / "tmp" / "deep").mkdir(parents=True)
    assert build(check=True)["changed"] is False and (root / "venvs" / WORK_DIRECTORY).exists()
    assert build()["changed"] is False and not (root / "venvs" / WORK_DIRECTORY).exists()
    unit = transient_unit.format_unit_name(f"{root}/venvs")
    assert f"stop {unit}" in (build_unit / "systemctl.told").read_text().splitlines()


def test_failed_build_names_files_and_changes_nothing(root, build, quick):
    write(root, "base==1.0\n")
    first = build()
    write(root, "base==3.0\n", "requirements/production.txt")
    result = build(requirements=["requirements/production.txt"])
    assert result["failed"] is True
    assert result["msg"].startswith("No matching distribution found for base==3.0: the virtual environment ")
    assert "(requirements/production.txt) could not be built: pip install ended with 1." in result["msg"]
    assert list_venvs(root) == [first["digest"]]
    assert os.readlink(root / "venv") == f"venvs/{first['digest']}"


def test_incompatible_packages_are_refused(root, build, quick, wheels, tmp_path):
    extra = tmp_path / "extra"
    extra.mkdir()
    make_wheel(extra, "broken", "1.0", ["base>=2"])
    write(root, "base==1.0\n")

    environment = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_NO_DEPENDENCIES": "1"}
    result = build(packages=["broken"], find_links=[str(wheels[0]), str(extra)], environment=environment)
    assert "pip check ended with 1" in result["msg"]
    assert "broken 1.0 has requirement base>=2, but you have base 1.0" in result["msg"]
    assert list_venvs(root) == []


def test_hashes_are_checked(root, build, quick, wheels):
    write(root, f"base==1.0 {wheels[1]['base==2.0']}\n")
    assert "DO NOT MATCH THE HASHES" in build()["msg"]
    assert list_venvs(root) == []


def test_package_without_a_hash_is_added_to_hashed_files(root, build, quick, wheels):
    write(root, f"base==1.0 {wheels[1]['base==1.0']}\n")
    assert names(build(packages=["server>=24"])) == ["base==1.0", "server==25.0"]


def test_required_hashes_are_enforced(root, build, quick, wheels):
    hashes = wheels[1]
    write(root, f"web==1.0 \\\n  {hashes['web==1.0']}\nbase==1.0 {hashes['base==1.0']}\n")
    result = build(require_hashes=True, packages=["server>=24"])
    assert result["msg"].startswith("The added package 'server>=24' has no --hash")
    result = build(require_hashes=True, packages=[f"server==24.1 {hashes['server==24.1']}"])
    assert names(result) == ["base==1.0", "server==24.1", "web==1.0"]
    write(root, "base==1.0\n")
    assert build(require_hashes=True)["msg"] == "requirements.txt, line 1: 'base==1.0' has no --hash."


@pytest.fixture(params=["pip", "uv"])
def installer(request, quick):
    """Run with both installers, without an index."""
    if request.param == "uv":
        require("uv")
    environment = {"UV_NO_INDEX": "1", "UV_NO_CONFIG": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}
    return {"installer": request.param, "environment": environment}


def test_modified_wheel_is_refused(root, build, installer, wheels, tmp_path):
    """An index or a cache serves different content under the same name and version."""
    index = tmp_path / "index"
    index.mkdir()
    pinned = make_wheel(index, "base", "1.0")
    write(root, f"base==1.0 --hash=sha256:{pinned}\n")
    (wheel,) = index.glob("base-1.0-*.whl")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("base_evil.pth", "import sys")
    refused = build(require_hashes=True, find_links=[str(index)], **installer)
    assert "MATCH THE HASHES" in refused["msg"] or "Hash mismatch" in refused["msg"]
    assert list_venvs(root) == []
    assert not os.path.lexists(root / "venv")
    make_wheel(index, "base", "1.0")
    assert names(build(require_hashes=True, find_links=[str(index)], **installer)) == ["base==1.0"]


def test_unpinned_dependency_is_refused(root, build, installer, wheels):
    hashes = wheels[1]
    write(root, f"web==1.0 {hashes['web==1.0']}\n")
    refused = build(require_hashes=True, **installer)
    assert refused["failed"] and "base" in refused["msg"]
    assert list_venvs(root) == []


def make_sdist(directory, marker):
    """Create a source distribution that writes its temporary directory into a file if any of its code runs."""
    backend = f"import tempfile\n\nopen({str(marker)!r}, 'w').write(tempfile.gettempdir())\n"
    backend += "\n\ndef build_wheel(directory, *_):\n    raise SystemExit(1)\n"
    files = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: sourced\nVersion: 1.0\n",
        "pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n",
        "backend.py": backend,
    }
    with tarfile.open(directory / "sourced-1.0.tar.gz", "w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(f"sourced-1.0/{name}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))


class Index(http.server.BaseHTTPRequestHandler):
    """A package index with one wheel for each name, and an optional password."""

    wheels = {}
    password = ""

    def do_GET(self):
        expected = base64.b64encode(f"me:{self.password}".encode()).decode()
        if self.password and self.headers.get("Authorization") != f"Basic {expected}":
            return self.send(401, b"")
        name = self.path.strip("/").split("/")[-1]
        if name in self.wheels:
            return self.send(200, self.wheels[name])
        found = [wheel for wheel in self.wheels if wheel.startswith(f"{name}-")]
        links = "".join(f'<a href="/files/{wheel}">{wheel}</a>' for wheel in found)
        return self.send(200 if found else 404, f"<!DOCTYPE html><html><body>{links}</body></html>".encode())

    def send(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if body[:2] == b"PK" else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def serve(tmp_path):
    """Start an index with one version of a package. Returns its address without a user name."""
    with contextlib.ExitStack() as stack:

        def start(name, version, password=""):
            place = tmp_path / f"index-{version}"
            place.mkdir()
            make_wheel(place, name, version)
            wheels = {wheel.name: wheel.read_bytes() for wheel in place.iterdir()}
            handler = type("Handler", (Index,), {"wheels": wheels, "password": password})
            server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            return f"127.0.0.1:{server.server_port}/simple"

        yield start


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_index_refusing_the_password_fails_the_build(root, build, quick, serve, installer):
    """Otherwise, a different package of the same name is installed from another index."""
    if installer == "uv" and not shutil.which("uv"):
        pytest.skip("uv is not installed")
    public, private = serve("inhouse", "9.9"), serve("inhouse", "10.0", password="right")
    write(root, "inhouse\n")

    def run(password):
        return build(
            installer=installer,
            find_links=[],
            index_url=f"http://{public}",
            extra_index_urls=[f"http://me:{password}@{private}"],
            environment={"PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1", "no_proxy": "*"},
        )

    refused = run("wrong-password")
    assert refused["msg"].startswith(f"The package index http://****@{private} (venv_extra_index_urls) answered 401")
    assert "wrong-password" not in json.dumps(refused) and list_venvs(root) == []
    assert names(run("right")) == ["inhouse==10.0"], "the corrected password builds"


def test_pip_cannot_start_a_build_with_only_binary(root, build, quick, build_unit):
    """pip builds a URL dependency of a wheel despite --only-binary. The target module_venv tests that it cannot."""
    write(root, "base==1.0\n")
    build(only_binary=True)
    calls = (build_unit / "systemd-run.told").read_text().split("--quiet\n")
    assert ["~fork vfork clone clone3" in call for call in calls if call] == [True, False], (
        "the installation, and not the check"
    )


@pytest.mark.parametrize("only_binary", [True, False])
def test_only_binary_runs_no_code_of_a_source_distribution(root, build, installer, tmp_path, only_binary):
    """The deploy owner, by default root, builds virtual environments."""
    index, marker = tmp_path / "index", tmp_path / "was-run"
    index.mkdir()
    make_sdist(index, marker)
    write(root, "sourced==1.0\n")
    refused = build(only_binary=only_binary, find_links=[str(index)], **installer)
    assert refused["failed"]
    assert list_venvs(root) == []
    assert marker.exists() is not only_binary
    if not only_binary:
        # /tmp may be small or mounted noexec.
        assert marker.read_text() == f"{root}/venvs/{WORK_DIRECTORY}/tmp"


def test_includes_constraints_and_listed_packages_are_installed(root, build, quick):
    write(root, "-r more/base.txt\n-c limits.txt\n")
    write(root, "web\nServer==24.1\n", "more/base.txt")
    write(root, "base<2\nweb<2\n", "limits.txt")
    first = build(packages=["server>=25"])
    assert names(first) == ["base==1.0", "server==24.1", "web==1.0"]
    write(root, "base<3\nweb<2\n", "limits.txt")
    assert build(check=True, packages=["server>=25"])["digest"] != first["digest"]


def test_package_listed_for_another_platform_is_installed(root, build, quick):
    write(root, "server==24.1 ; sys_platform == 'win32'\n")
    assert names(build(packages=["server"])) == ["base==2.0", "server==25.0"]


def test_pyproject_dependencies_are_installed(root, build, quick):
    write(root, "[project]\nname = 'x'\ndependencies = ['web<2', 'Server<25']\n", "pyproject.toml")
    result = build(requirements=["pyproject.toml"], packages=["server>=25", "base<2"])
    assert names(result) == ["base==1.0", "server==24.1", "web==1.0"]


@pytest.mark.parametrize("reader", [True, False])
def test_dynamic_dependencies_are_refused(root, build, quick, monkeypatch, reader):
    """With the TOML parser of this Python, and with that of the virtual environment."""
    if not reader:
        monkeypatch.setattr(steps, "tomllib", None)
    write(root, "[project]\nname = 'x'\ndynamic = ['dependencies']\n", "pyproject.toml")
    message = build(requirements=["pyproject.toml"])["msg"]
    assert message.startswith(f"{root}/app/pyproject.toml cannot be used: its dependencies are dynamic")
    write(root, "[project", "pyproject.toml")
    assert f"{root}/app/pyproject.toml cannot be used" in build(requirements=["pyproject.toml"])["msg"]


def test_pylock_packages_are_installed(root, build, quick, wheels):
    def package(name, version, spoiled=""):
        value = wheels[1][f"{name}=={version}"].partition(":")[2]
        value = spoiled or value
        return (
            f'[[packages]]\nname = "{name}"\nversion = "{version}"\n'
            f'wheels = [{{ url = "https://example.org/{name}.whl", hashes = {{ sha256 = "{value}" }} }}]\n'
        )

    write(root, 'lock-version = "1.0"\n' + package("base", "1.0") + package("server", "24.1"), "pylock.toml")
    result = build(requirements=["pylock.toml"], packages=["server>=25", "web<2"])
    assert names(result) == ["base==1.0", "server==24.1", "web==1.0"]
    write(root, 'lock-version = "1.0"\n' + package("base", "1.0", "0" * 64), "pylock.toml")
    assert "DO NOT MATCH THE HASHES" in build(requirements=["pylock.toml"])["msg"]


def test_secrets_are_not_shown(root, build, quick):
    write(root, "base==3.0\n")
    secrets = {
        "index_url": "http://me:s3cret-one@127.0.0.1:9/simple",
        "extra_index_urls": ["http://you:s3cret%2Dtwo@127.0.0.1:9/simple"],
        "environment": {"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0", "TOKEN": "s3cret-three", "SHORT": "1"},
        "find_links": ["http://us:s3cret-four@127.0.0.1:9/links"],
    }
    failed = build(**secrets)
    assert failed["failed"] is True
    checked = build(check=True, **secrets)
    assert "1" in checked["path"] + checked["interpreter"], "a short value must not hide parts of a path"
    for result in (failed, checked):
        assert "s3cret" not in json.dumps(result)
    assert checked["invocation"]["module_args"]["find_links"] == ["http://****@127.0.0.1:9/links"]


def test_digest_ignores_credentials_but_not_indexes(root, settings):
    write(root, "--index-url https://me:one@example.org/simple\nbase\n")
    interpreter = venvs.find_interpreter(PYTHON)

    def digest(**options):
        given = settings(**options)
        return compute_digest(
            collect_digest_inputs(given, read_requirement_files(given.source, given.requirements), interpreter)
        )

    first = digest(index_url="https://me:one@example.org/simple", extra_index_urls=["https://a@example.org/"])
    write(root, "--index-url https://me:two@example.org/simple\nbase\n")
    assert digest(index_url="https://example.org/simple", extra_index_urls=["https://b:c@example.org/"]) == first
    different = [
        digest(),
        digest(index_url="https://example.org/other"),
        digest(packages=["x"]),
        digest(installer="uv"),
        digest(only_binary=True),
        digest(require_hashes=True),
        digest(find_links=["wheels"]),
    ]
    assert len({first, *different}) == 8
    assert digest(packages=["x", "y"]) == digest(packages=["y", "x"])
    assert digest(environment={"HTTPS_PROXY": "x"}, timeout=1) == digest()


def test_digest_depends_on_wheels_of_the_release(root, settings, wheels):
    (root / "app" / "wheels").mkdir()
    make_wheel(root / "app" / "wheels", "own", "1.0")
    write(root, "./wheels/own-1.0-py3-none-any.whl\n")
    interpreter = venvs.find_interpreter(PYTHON)

    def digest(**options):
        given = settings(**options)
        return compute_digest(
            collect_digest_inputs(given, read_requirement_files(given.source, given.requirements), interpreter)
        )

    named, listed = digest(), digest(requirements=[], find_links=["wheels"])
    make_wheel(root / "app" / "wheels", "own", "1.0", ["base"])
    assert digest() != named
    assert digest(requirements=[], find_links=["wheels"]) != listed


def test_wheels_of_the_release_are_installed(root, build, quick):
    (root / "app" / "wheels").mkdir()
    make_wheel(root / "app" / "wheels", "own", "1.0")
    make_wheel(root / "app" / "wheels", "other", "1.0")
    write(root, "./wheels/own-1.0-py3-none-any.whl\nother\n")
    assert names(build(find_links=["wheels"])) == ["other==1.0", "own==1.0"]


def test_modules_of_the_release_do_not_shadow_the_installer(root, build, quick):
    for name in ("email.py", "logging.py", "pip.py"):
        write(root, "raise SystemExit('imported')\n", name)
    write(root, "base==1.0\n")
    assert names(build()) == ["base==1.0"]


@pytest.mark.parametrize(
    ("options", "files", "message"),
    [
        (
            {},
            {},
            "The requirement file {root}/app/requirements.txt does not exist. Create it, or set venv",
        ),
        (
            {"requirements": ["a.txt"]},
            {"a.txt": "-r b.txt"},
            "a.txt includes b.txt, but {root}/app/b.txt does not exist.",
        ),
        ({"requirements": ["uv.lock"], "installer": "uv"}, {"uv.lock": ""}, "uv.lock includes pyproject.toml, but"),
        (
            {"requirements": ["uv.lock"]},
            {"uv.lock": "", "pyproject.toml": ""},
            "Only uv reads uv.lock: set venv_installer",
        ),
        ({}, {"requirements.txt": "\n-e ."}, "requirements.txt, line 2: '-e .' names a directory that is no project"),
        (
            {"requirements": ["pyproject.toml"]},
            {"pyproject.toml": "[tool.uv.sources]\nx.path = 'x'"},
            "pyproject.toml, line 2: 'x.path = 'x'' is in [tool.uv.sources], which only uv reads",
        ),
        ({"packages": ["-r x"], "requirements": []}, {}, "The package '-r x' (venv_packages) is not a requirement"),
        (
            {"python": "/no/python3"},
            {"requirements.txt": ""},
            "The interpreter '/no/python3' (venv_python) does not exist on this host",
        ),
        (
            {"python": "python3.99"},
            {"requirements.txt": ""},
            "The interpreter 'python3.99' (venv_python) does not exist on this host",
        ),
        ({"python": "/bin/ls"}, {"requirements.txt": ""}, "'/bin/ls' (venv_python) is not a Python 3 interpreter: "),
        (
            {"source": "/no/source"},
            {},
            "The directory /no/source (venv_source) of the file requirements.txt does not exist.",
        ),
        ({"source": None}, {}, "The requirement file 'requirements.txt' is relative: set 'source'"),
        (
            {"installer": "uv", "uv": "/no/uv"},
            {"requirements.txt": ""},
            "'/no/uv' (venv_uv) is not an executable file.",
        ),
        ({"link": "venv"}, {}, "link is 'venv', but must be an absolute path."),
        (
            {"link": "/no/parent/venv"},
            {"requirements.txt": ""},
            "/no/parent, the directory of the link, is not a directory.",
        ),
    ],
)
def test_invalid_settings_are_refused(root, build, options, files, message):
    for name, text in files.items():
        write(root, text, name)
    result = build(**options)
    assert result["msg"].startswith(message.format(root=root))
    assert not (root / "venvs").exists() or list_venvs(root) == []


def test_interpreter_without_ensurepip_is_reported(root, build):
    write(root, "base\n")
    crippled = root / "python"
    # Debian's python3 without python3-venv.
    crippled.write_text(f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; esac\nexec {PYTHON} "$@"\n')
    crippled.chmod(0o755)
    probe = venvs.find_interpreter

    def keep_path(python):
        return probe(python)._replace(path=python)

    venvs.find_interpreter = keep_path
    try:
        message = build(python=str(crippled))["msg"]
        reported = build(python=str(crippled), report_missing=True)
        predicted = build(python=str(crippled), check=True)
        with_uv = build(python=str(crippled), installer="uv", uv="/bin/false", check=True)
    finally:
        venvs.find_interpreter = probe
    assert message.startswith(f"{crippled} cannot create virtual environments")
    assert "Install python3-venv" in message
    assert (reported["missing"], reported["changed"], reported["built"]) == (True, False, False)
    assert (predicted["missing"], predicted["changed"]) == (True, True)
    # uv creates virtual environments without ensurepip.
    assert with_uv["missing"] is False
    assert not (root / "venvs").exists()


def test_missing_interpreter_is_reported(root, build, quick):
    write(root, "base\n")
    assert build(python="python3.99")["msg"].startswith(
        "The interpreter 'python3.99' (venv_python) does not exist on this host."
    )
    reported = build(python="python3.99", report_missing=True)
    assert (reported["missing"], reported["changed"], reported["interpreter"]) == (True, False, "")
    assert build(python="python3.99", check=True)["missing"] is True
    assert build()["missing"] is False


@pytest.mark.parametrize("what", ["directory", "file", "foreign link"])
@pytest.mark.parametrize("check", [True, False])
def test_file_in_place_of_the_link_is_kept(root, build, what, check):
    write(root, "base\n")
    place = root / "venv"
    if what == "directory":
        (place / "bin").mkdir(parents=True)
    elif what == "file":
        place.touch()
    else:
        place.symlink_to("app/.venv")
    message = build(check=check)["msg"]
    if what == "foreign link":
        assert place.is_symlink() and os.readlink(place) == "app/.venv"
        assert f"{place} points to app/.venv, which is not a virtual environment in {root}/venvs" in message
    else:
        assert not place.is_symlink() and place.exists()
        assert f"{place} is a" in message and "not a symbolic link" in message
    assert not (root / "venvs").exists()


@pytest.mark.parametrize("missing", [{"source": "/no/such/source"}, {"python": "/no/such/python3"}])
def test_check_mode_predicts_a_build_on_an_empty_host(root, build, missing):
    write(root, "base\n")
    result = build(check=True, **missing)
    assert (result["changed"], result["built"], result["digest"], result["path"]) == (True, True, "", "")
    assert os.listdir(root) == ["app"]


def test_check_mode_refuses_a_missing_requirement_file(root, build):
    assert "does not exist" in build(check=True)["msg"]


def test_installer_environment_is_filtered(settings):
    given = settings(
        environment={"HTTPS_PROXY": "http://proxy:3128", "PIP_INDEX_URL": "x"},
        index_url="https://me:one@example.org/simple",
        extra_index_urls=["https://a/", "https://b/"],
    )
    result = build_environment(
        given,
        {"PATH": "/bin", "PIP_CERT": "/c", "https_proxy": "p", "PIP_TARGET": "x", "TOKEN": "x", "HOME": "/nowhere"},
    )
    assert not {"PIP_TARGET", "TOKEN", "HOME"} & set(result), "of who became root, the build sees nothing"
    assert (result["PATH"], result["PIP_CERT"], result["https_proxy"]) == ("/bin", "/c", "p")
    assert result["PIP_INDEX_URL"] == result["UV_DEFAULT_INDEX"] == "https://me:one@example.org/simple"
    assert result["PIP_EXTRA_INDEX_URL"] == result["UV_INDEX"] == "https://a/ https://b/"
    assert result["HTTPS_PROXY"] == "http://proxy:3128"


@needs("uv")
class TestUv:
    def test_hashes_and_added_packages(self, root, build, wheels):
        hashes = wheels[1]
        environment = {"UV_NO_INDEX": "1", "UV_NO_CONFIG": "1"}
        write(root, f"base==1.0 {hashes['base==1.0']}\n")
        result = build(installer="uv", packages=["server>=24"], environment=environment)
        assert names(result) == ["base==1.0", "server==25.0"]
        assert (root / "venv" / "bin" / "server").read_text().startswith("#!" + result["path"])
        assert build(installer="uv", packages=["server>=24"], environment=environment)["changed"] is False
        write(root, f"base==1.0 {hashes['base==2.0']}\n")
        assert "Hash mismatch" in build(installer="uv", environment=environment)["msg"]

    @pytest.mark.skipif(
        sys.version_info < (3, 11), reason="only pip reads TOML before Python 3.11, and uv brings no pip"
    )
    def test_lock_files_are_installed(self, root, build, wheels):
        environment = {"UV_NO_INDEX": "1", "UV_NO_CONFIG": "1", "UV_FIND_LINKS": str(wheels[0])}
        write(
            root,
            "[project]\nname = 'x'\nversion = '1'\nrequires-python = '>=3.8'\ndependencies = ['web<2', 'base<2']\n"
            "[dependency-groups]\ndev = ['server']\n",
            "pyproject.toml",
        )
        call = {"cwd": root / "app", "env": {**os.environ, **environment}, "capture_output": True}
        subprocess.run(["uv", "lock", "--python", PYTHON], check=True, **call)
        export = ["uv", "export", "--python", PYTHON, "--frozen", "--no-dev", "--no-emit-project"]
        subprocess.run([*export, "--format", "pylock.toml", "-o", "pylock.toml"], check=True, **call)
        for name in ("uv.lock", "pylock.toml", "pyproject.toml"):
            result = build(installer="uv", requirements=[name], environment=environment, packages=["web>=2"])
            assert names(result) == ["base==1.0", "web==1.0"], name
            result = build(installer="uv", requirements=[name], environment=environment, packages=["server<25"])
            assert names(result) == ["base==1.0", "server==24.1", "web==1.0"], name
