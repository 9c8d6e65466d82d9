"""Start Docker if it does not run. Prints the process id of the daemon if systemd does not start it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path

from environment import CACHE, fail, print_progress
from packages import can_install, install_packages, is_docker_running

MISSING = """\
Docker does not run. The test hosts are containers. On Debian or Ubuntu: `apt-get install docker.io`, then
`usermod -aG docker YOU` and log in again; on other systems, install Docker Desktop
(https://docs.docker.com/get-docker/) and start it. `docker info` succeeds when it is ready. As root on Debian,
`make` installs and starts Docker."""
INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")


def raise_limits() -> None:
    """Raise the limit of inotify instances. systemd in each host takes five; the kernel's default is 128."""
    with contextlib.suppress(OSError):
        if int(INSTANCES.read_text()) < 1024:
            INSTANCES.write_text("1024")


def start_daemon() -> int | None:
    """Start the daemon through systemd if that runs. Otherwise start a process, and return its id."""
    if os.path.isdir("/run/systemd/system"):
        subprocess.run(["systemctl", "start", "docker"], check=True)
        process = None
    else:
        CACHE.mkdir(exist_ok=True)
        with open(CACHE / "dockerd.log", "wb") as log:
            process = subprocess.Popen(
                ["dockerd"], start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
    for __ in range(120):
        if is_docker_running():
            return process.pid if process else None
        if process and process.poll() is not None:
            break
        time.sleep(0.5)
    if process:
        process.terminate()
        print_progress((CACHE / "dockerd.log").read_text()[-4000:])
    fail("The Docker daemon did not come up.")


def start_docker() -> int | None:
    raise_limits()
    if is_docker_running():
        return None
    if not can_install():
        fail(MISSING)
    if not (shutil.which("dockerd") and shutil.which("iptables")):
        install_packages("docker.io", "iptables")
    print_progress("Starting the Docker daemon …")
    return start_daemon()


if __name__ == "__main__":
    print(start_docker() or "", end="")
