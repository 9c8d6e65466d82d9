# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ansible-test's integration tests, each target of targets/, on a host of each platform.

One call of ansible-test runs all targets of a platform: its start takes longer than many a target.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import docker_hosts
import pytest
from build import PULLED, SUITES, build_images, explain_missing
from environment import ROOT, docker

from ansible_collections.flaskops.production.tests.integration.snapshot import INSTALL_SCRIPT, build_snapshot
from ansible_collections.flaskops.production.tests.unit.programs import require

TARGETS = Path(__file__).parent / "targets"
# Dependencies of targets are not tests.
NAMES = sorted(path.name for path in TARGETS.iterdir() if not path.name.startswith("setup_"))
TREE = "/root/ansible_collections/flaskops/production"
# The newest ansible-core for the Python of Debian 12 and of Debian 13.
ANSIBLE = f"""\
{INSTALL_SCRIPT.format("python3-venv")}
python3 -m venv /opt/ansible
/opt/ansible/bin/pip -qq --no-cache-dir --disable-pip-version-check install \\
    'ansible-core~=2.19.0; python_version < "3.12"' 'ansible-core~=2.21.0; python_version >= "3.12"'
# Targets start on a host without Nginx.
{INSTALL_SCRIPT.format("--download-only nginx")}
"""
# ansible-test does not pass environment variables on. Write pip's settings for this network to a file.
PREPARE = f"""\
mkdir -p {TREE}
[ -z "${{PIP_CERT:-}}" ] || printf '[global]\\ncert = %s\\n' "$PIP_CERT" > /etc/pip.conf
"""
STARTS = re.compile(r"^Running (\S+) integration test role$", re.MULTILINE)
FAILED = re.compile(r"integration test\(s\) listed below.*?:\n(.*)", re.DOTALL)


def test_each_module_has_a_target():
    # ansible-test resolves the name of a role in the collection to the role, not to a target.
    modules = [name.removeprefix("module_") for name in NAMES if not name.startswith("role_")]
    assert sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py")) == sorted(modules)


def pytest_generate_tests(metafunc):
    if "platform" in metafunc.fixturenames:
        every = metafunc.config.getoption("--platforms", default="") == "all"
        platforms = sorted({**SUITES, **PULLED}) if every else [max(SUITES)]
        marked = [
            pytest.param(platform, marks=pytest.mark.xdist_group(f"targets-{platform}")) for platform in platforms
        ]
        metafunc.parametrize("platform", marked, scope="module")


@pytest.fixture(scope="module")
def host(requires_docker, platform):
    """Start a host with ansible-test, ssh-keygen and the collection, as its own controller."""
    require("docker", "git")
    if platform in PULLED:
        if explain_missing(platform):
            pytest.skip(explain_missing(platform))
        build_images(platform)
    container = docker_hosts.start(build_snapshot(platform, ANSIBLE))
    docker("exec", container, "sh", "-euc", PREPARE)
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "galaxy.yml", "meta", "plugins",
         "roles", "tests/integration"], cwd=ROOT, capture_output=True, check=True,
    ).stdout  # fmt: skip
    tar = subprocess.run(
        ["tar", "--null", "--create", "--files-from=-"], check=False, cwd=ROOT, input=files, capture_output=True
    )
    unpack = ["docker", "exec", "--interactive", container, "tar", "--extract", f"--directory={TREE}"]
    subprocess.run(unpack, input=tar.stdout, check=True)
    yield container
    docker_hosts.remove(container)


class Report:
    """The output of each target, and the failed targets."""

    def __init__(self, output: str, passed: bool) -> None:
        # The text before the first target, followed by pairs of a name and a text.
        self.before, *parts = STARTS.split(output)
        self.texts = dict(zip(parts[::2], parts[1::2], strict=True))
        listed = FAILED.search(output)
        self.failed = listed.group(1).split() if listed else []
        assert passed == (not self.failed), output


@pytest.fixture(scope="module")
def report(request, platform, host):
    """Run the selected targets on this platform and return the report."""
    asked = [getattr(item, "callspec", None) for item in request.session.items if item.module is request.module]
    names = [call.params["name"] for call in asked if call and call.params["platform"] == platform]
    options = ["--local", "--allow-root", "--allow-destructive", "--color=no", "--diff", "--continue-on-error"]
    command = ["/opt/ansible/bin/ansible-test", "integration", *options, *names]
    settings = ["--env=LC_ALL=C.UTF-8", f"--workdir={TREE}"]
    done = subprocess.run(
        ["docker", "exec", *settings, host, *command],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return Report(done.stdout, done.returncode == 0)


@pytest.mark.parametrize("name", NAMES)
def test_target_passes(report, name):
    assert name in report.texts, f"ansible-test did not run {name}.\n{report.before}"
    assert name not in report.failed, report.texts[name]
