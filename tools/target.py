"""A container that stands in for a server: systemd runs in it."""

from __future__ import annotations

import subprocess
import time

from environment import docker, fail, target_environment, target_volumes


def start(image: str, *options: str) -> str:
    """Start a host from an image, with further options of `docker run`, wait until it has booted, return its id."""
    # What systemd needs, short of a privileged container; .config/molecule/config.yml says the same.
    volumes = [f"--volume={volume}" for volume in target_volumes()]
    environment = [f"--env={name}={value}" for name, value in target_environment().items()]
    container = docker(
        "run", "--detach", "--cap-add=SYS_ADMIN", "--security-opt=seccomp=unconfined", "--cgroupns=host",
        "--tmpfs=/run", "--tmpfs=/tmp:exec", *volumes, *environment, *options, image,
    )  # fmt: skip
    wait_for_boot(container)
    return container


def wait_for_boot(container: str) -> None:
    state = ""
    for __ in range(60):
        # Until systemd listens, the command fails at once; from then on it waits for the end of the boot.
        command = ["docker", "exec", container, "systemctl", "is-system-running", "--wait"]
        state = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120).stdout.strip()
        if state in ("running", "degraded"):
            return
        time.sleep(0.5)
    fail(f"systemd in {container} came to {state or 'no state at all'}.\n{docker('logs', container)}")


def remove(container: str) -> None:
    docker("rm", "--force", "--volumes", container)
