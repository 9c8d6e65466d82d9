"""Start and remove containers that run systemd and are used as hosts."""

from __future__ import annotations

import subprocess
import time

from environment import container_environment, docker, fail, list_container_volumes


def start(image: str, *options: str) -> str:
    """Start a container from an image with more options of `docker run`, wait for its boot, and return its id."""
    # systemd needs these options in an unprivileged container. Keep .config/molecule/config.yml in sync.
    volumes = [f"--volume={volume}" for volume in list_container_volumes()]
    environment = [f"--env={name}={value}" for name, value in container_environment().items()]
    container = docker(
        "run", "--detach", "--cap-add=SYS_ADMIN", "--security-opt=seccomp=unconfined", "--cgroupns=host",
        "--tmpfs=/run", "--tmpfs=/tmp:exec", *volumes, *environment, *options, image,
    )  # fmt: skip
    wait_for_boot(container)
    return container


def wait_for_boot(container: str) -> None:
    state = ""
    for __ in range(60):
        # The command fails until systemd listens. After that, it waits for the end of the boot.
        command = ["docker", "exec", container, "systemctl", "is-system-running", "--wait"]
        state = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120).stdout.strip()
        if state in ("running", "degraded"):
            return
        time.sleep(0.5)
    fail(f"systemd in {container} is in the state {state or 'unknown'}.\n{docker('logs', container)}")


def remove(container: str) -> None:
    docker("rm", "--force", "--volumes", container)
