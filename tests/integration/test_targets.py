# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each target of targets/, which are ansible-test's integration tests, on a host of each platform."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import target
from build import SUITES, image
from environment import docker, tool_environment

TARGETS = Path(__file__).parent / "targets"


@pytest.fixture(scope="module", params=sorted(SUITES))
def host(request):
    container = target.start(image(request.param))
    # The module venv builds environments; to install what that takes is a role's work.
    docker("exec", container, "sh", "-c", "apt-get -qq update && apt-get -qq install -y python3-venv >/dev/null 2>&1")
    yield container
    target.remove(container)


@pytest.mark.parametrize("name", sorted(path.name for path in TARGETS.iterdir()))
def test_target(host, name, tmp_path):
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": True, "roles": [str(TARGETS / name)]}]))
    variables = {"ansible_connection": "community.docker.docker", "ansible_user": "root", "output_dir": "/root"}
    done = subprocess.run(
        ["ansible-playbook", "-i", f"{host},", "-e", json.dumps(variables), str(playbook)],
        env=tool_environment(ANSIBLE_INJECT_FACT_VARS="false", ANSIBLE_CALLBACK_RESULT_FORMAT="yaml"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
