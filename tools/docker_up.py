"""Make Docker answer. Prints the process id of the daemon when this had to start one, else nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

from environment import CACHE, fail, say

MISSING = """\
Docker is needed for the containers that stand in for your servers, and it does not answer. On Debian or Ubuntu:
`apt-get install docker.io`, then `usermod -aG docker YOU` and log in again; elsewhere install Docker Desktop
(https://docs.docker.com/get-docker/) and start it. `docker info` says when it is ready. As root on Debian,
`make` installs and starts it by itself."""


def answers() -> bool:
    command = ["docker", "info"]
    return bool(shutil.which("docker")) and subprocess.run(command, check=False, capture_output=True).returncode == 0


def install(*packages: str) -> None:
    """Install Debian packages, which takes root and Debian."""
    say(f"Installing {', '.join(packages)} …")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(
            ["apt-get", "-qq", *arguments], check=False, env=environment, capture_output=True, text=True
        )
        if done.returncode:
            fail(f"apt-get {' '.join(arguments)}\n{done.stdout}{done.stderr}")


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
        if answers():
            return process.pid if process else None
        if process and process.poll() is not None:
            break
        time.sleep(0.5)
    if process:
        process.terminate()
        say((CACHE / "dockerd.log").read_text()[-4000:])
    fail("The Docker daemon did not come up.")


def docker_up() -> int | None:
    if answers():
        return None
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        fail(MISSING)
    if not (shutil.which("dockerd") and shutil.which("iptables")):
        install("docker.io", "iptables")
    say("Starting the Docker daemon …")
    return start()


if __name__ == "__main__":
    print(docker_up() or "", end="")
