# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build images of hosts with installed packages, so that tests do not install them."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess

from build import RECIPE, exists, image
from environment import CACHE, container_environment, docker, list_container_volumes

# Do not start services during the installation of packages.
INSTALL_SCRIPT = """\
apt-get -qq update
RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends {} >/dev/null
"""


def build_snapshot(platform: str, script: str) -> str:
    """Return the image of a host with an SSH server on which root has run a shell script. It is built once."""
    script = f"set -eu\n{script}"
    tag = f"flaskops-snapshot:{platform}-{hashlib.sha256(f'{RECIPE}{script}'.encode()).hexdigest()[:12]}"
    CACHE.mkdir(exist_ok=True)
    with open(CACHE / f"{tag.partition(':')[2]}.lock", "w") as lock:
        # Another process may build the same image.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not exists(tag):
            _build_image(image(platform, ssh=True), script, tag)
    return tag


def _build_image(base: str, script: str, tag: str) -> None:
    volumes = [f"--volume={volume}" for volume in list_container_volumes()]
    # Variables of the container would become part of the image.
    settings = "".join(f"export {name}={value}\n" for name, value in container_environment().items())
    container = docker("create", *volumes, base, "sh", "-c", settings + script)
    try:
        done = subprocess.run(["docker", "start", "--attach", container], check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        docker("commit", '--change=CMD ["/sbin/init"]', container, tag)
    finally:
        docker("rm", "--force", "--volumes", container)
