# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-test's integration tests, each target of targets/, on a host of each platform."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import target
from build import SUITES, image
from environment import ROOT, docker

TARGETS = Path(__file__).parent / "targets"
# What a target depends on is no test of its own.
NAMES = sorted(path.name for path in TARGETS.iterdir() if not path.name.startswith("setup_"))
TREE = "/root/ansible_collections/flaskops/production"
# The newest ansible-core that the host's own Python runs: on Debian 12, and on 13.
INSTALL = f"""set -eu
apt-get -qq update
apt-get -qq install -y --no-install-recommends python3-venv >/dev/null 2>&1
python3 -m venv /opt/ansible
/opt/ansible/bin/pip -qq --disable-pip-version-check install \
    'ansible-core~=2.19.0; python_version < "3.12"' 'ansible-core~=2.21.0; python_version >= "3.12"'
mkdir -p {TREE}
# ansible-test passes no variable on: what pip is told on this network has to stand in a file.
[ -z "${{PIP_CERT:-}}" ] || printf '[global]\ncert = %s\n' "$PIP_CERT" > /etc/pip.conf
"""


def test_each_module_has_a_target():
    # ansible-test takes the name of a role of the collection for the role, not for a target.
    modules = [name.removeprefix("module_") for name in NAMES if not name.startswith("role_")]
    assert sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py")) == sorted(modules)


@pytest.fixture(scope="module", params=sorted(SUITES))
def host(request):
    """A host with ansible-test and the collection: it is its own controller. ansible-test asks for ssh-keygen, too."""
    container = target.start(image(request.param, ssh=True))
    docker("exec", container, "sh", "-c", INSTALL)
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
    target.remove(container)


@pytest.mark.parametrize("name", NAMES)
def test_target(host, name):
    options = ["--local", "--allow-root", "--allow-destructive", "--color", "no", "--diff"]
    command = ["/opt/ansible/bin/ansible-test", "integration", *options, name]
    settings = ["--env=LC_ALL=C.UTF-8", f"--workdir={TREE}"]
    done = subprocess.run(["docker", "exec", *settings, host, *command], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
