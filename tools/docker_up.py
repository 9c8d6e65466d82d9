"""Make Docker answer. Prints the process id of the daemon when this had to start one, else nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path

from environment import CACHE, fail, say
from packages import docker_answers, install, may_install

MISSING = """\
Docker is needed for the containers that stand in for your hosts, and it does not answer. On Debian or Ubuntu:
`apt-get install docker.io`, then `usermod -aG docker YOU` and log in again; elsewhere install Docker Desktop
(https://docs.docker.com/get-docker/) and start it. `docker info` says when it is ready. As root on Debian,
`make` installs and starts it by itself."""
INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")


def raise_limits() -> None:
    """Each host runs systemd, which takes five inotify instances; the kernel's default of 128 is for one system."""
    with contextlib.suppress(OSError):
        if int(INSTANCES.read_text()) < 1024:
            INSTANCES.write_text("1024")


def start() -> int | None:
    """Start the daemon, through systemd where that runs; elsewhere as a process of its own, whose id is returned."""
    if os.path.isdir("/run/systemd/system"):
        subprocess.run(["systemctl", "start", "docker"], check=True)
        process = None
    else:
        CACHE.mkdir(exist_ok=True)
        with open(CACHE / "dockerd.log", "wb") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            process = subprocess.Popen(["dockerd"], start_new_session=True, **streams)
    for __ in range(120):
        if docker_answers():
            return process.pid if process else None
        if process and process.poll() is not None:
            break
        time.sleep(0.5)
    if process:
        process.terminate()
        say((CACHE / "dockerd.log").read_text()[-4000:])
    fail("The Docker daemon did not come up.")


def docker_up() -> int | None:
    raise_limits()
    if docker_answers():
        return None
    if not may_install():
        fail(MISSING)
    if not (shutil.which("dockerd") and shutil.which("iptables")):
        install("docker.io", "iptables")
    say("Starting the Docker daemon …")
    return start()


if __name__ == "__main__":
    print(docker_up() or "", end="")
