# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as its users get it: built, installed from the tarball where nothing else is, and used from there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest
import ssh_hosts
import target
from build import image
from environment import ROOT, VENV, docker

# What only contributors need.
UNWANTED = re.compile(r"(tests|tools|molecule|benchmarks|changelogs/fragments|\.[a-z].*)(/|$)")


def clean_environment(home: Path) -> dict[str, str]:
    """That of a user who has ansible-core and not one collection."""
    return {
        "PATH": f"{VENV / 'bin'}{os.pathsep}/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_INJECT_FACT_VARS": "false",
    }


@pytest.fixture(scope="module")
def ansible(tmp_path_factory):
    """Runs a program of Ansible there."""
    home = tmp_path_factory.mktemp("home")

    def run(program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(VENV / "bin" / program), *arguments],
            check=False,
            cwd=home,
            env=clean_environment(home),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    run.home = home
    return run


@pytest.fixture(scope="module")
def tarball(ansible):
    ansible("ansible-galaxy", "collection", "build", f"--output-path={ansible.home}", str(ROOT))
    (path,) = ansible.home.glob("flaskops-production-*.tar.gz")
    return path


@pytest.fixture(scope="module")
def installed(ansible, tarball):
    # Nothing is needed but the tarball, and no server is asked.
    ansible("ansible-galaxy", "collection", "install", "--offline", str(tarball))
    return ansible


def test_the_tarball_holds_what_users_need_and_nothing_else(tarball):
    with tarfile.open(tarball) as archive:
        names = archive.getnames()
    assert [name for name in names if UNWANTED.match(name) or name.endswith(".pyc")] == []
    wanted = ("README.md", "CHANGELOG.rst", "LICENSE", "meta/runtime.yml", "changelogs/changelog.yaml")
    assert [name for name in wanted if (ROOT / name).exists() and name not in names] == []
    for directory in ("plugins", "roles", "playbooks"):
        files = {str(path.relative_to(ROOT)) for path in (ROOT / directory).rglob("*.yml")}
        assert files - set(names) == set()


def test_what_is_installed_is_whole_and_documented(installed):
    assert "flaskops.production" in installed("ansible-galaxy", "collection", "list")
    installed("ansible-galaxy", "collection", "verify", "--offline", "flaskops.production")
    modules = json.loads(installed("ansible-doc", "--type=module", "--list", "--json", "flaskops.production"))
    assert {name.rpartition(".")[2] for name in modules} == {
        path.stem for path in (ROOT / "plugins/modules").glob("*.py")
    }
    assert all(modules.values()), "a module has no short description"
    roles = json.loads(installed("ansible-doc", "--type=role", "--list", "--json", "flaskops.production"))
    assert {name.rpartition(".")[2] for name in roles} == {path.name for path in (ROOT / "roles").iterdir()}


@pytest.fixture(scope="module")
def host(installed):
    container = target.start(image("debian13", ssh=True))
    yield container
    target.remove(container)


def test_the_demo_is_deployed_with_it(installed, host):
    inventory = ssh_hosts.connect([host], installed.home / "fleet")
    variables = {
        "flask_app_name": "demo",
        "flask_app_env": {"SECRET_KEY": "not a secret"},
        "release_directory": str(ROOT / "molecule/shared/files/demo"),
        "release_health_path": "/health",
    }
    (installed.home / "variables.json").write_text(json.dumps(variables))
    play = ["ansible-playbook", f"--inventory={inventory}", "--extra-vars=@variables.json"]
    first = installed(*play, "flaskops.production.site")
    assert re.search(r" changed=[1-9]", first)
    release = docker("exec", host, "readlink", "/srv/demo/app").removeprefix("releases/")
    assert f"demo: {release} is live on 1 host: {host}" in first
    ask = "import urllib.request as r; print(r.urlopen('http://127.0.0.1/info').read())"
    assert release in docker("exec", host, "python3", "-c", ask)
    assert release in installed(*play, "flaskops.production.status")
    assert " changed=0 " in installed(*play, "flaskops.production.site")
    installed(*play, "flaskops.production.doctor")
