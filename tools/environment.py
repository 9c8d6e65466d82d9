"""Paths of the tools, and the environments of the tools and of the test containers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
# The virtual environment of this process, or that of the tools.
VENV = Path(sys.prefix) if sys.prefix != sys.base_prefix else CACHE / "venv"
COLLECTIONS = CACHE / "collections"
# The path of the tools' uv in containers. It is not in PATH, so that only tests that name it use it.
CONTAINER_UV = "/opt/flaskops/uv"


def fail(message: str) -> NoReturn:
    sys.exit(f"\n{message}")


def print_progress(message: str) -> None:
    """Print a message to stderr without buffering."""
    print(message, file=sys.stderr, flush=True)


def docker(*arguments: str, **options) -> str:
    """Run a docker command, and return its output. Exit with its error if it fails."""
    done = subprocess.run(["docker", *arguments], check=False, capture_output=True, text=True, **options)
    if done.returncode:
        fail(f"docker {' '.join(arguments)}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def find_ca_bundle() -> str:
    """Return the CA bundle of a network that re-signs TLS, as set for this machine's tools, or an empty string."""
    for name in ("PIP_CERT", "SSL_CERT_FILE"):
        if os.path.isfile(os.environ.get(name, "")):
            return os.path.realpath(os.environ[name])
    return ""


def find_uv() -> str:
    """Return the path of the tools' uv if containers can run it, or an empty string. It saves its installation."""
    uv = VENV / "bin/uv"
    return os.path.realpath(uv) if sys.platform == "linux" and uv.is_file() else ""


def list_container_volumes() -> list[str]:
    """Return the mounts of a container that runs systemd."""
    # systemd needs the version 2 hierarchy, which is one level down in hybrid mode.
    hybrid = Path("/sys/fs/cgroup/unified")
    volumes = [f"{hybrid if hybrid.is_dir() else hybrid.parent}:/sys/fs/cgroup:rw"]
    if find_ca_bundle():
        volumes.append(f"{find_ca_bundle()}:/etc/ssl/test-ca.pem:ro")
    if find_uv():
        volumes.append(f"{find_uv()}:{CONTAINER_UV}:ro")
    return volumes


def container_environment() -> dict[str, str]:
    return dict.fromkeys(("PIP_CERT", "SSL_CERT_FILE"), "/etc/ssl/test-ca.pem") if find_ca_bundle() else {}


def list_pythons() -> list[str]:
    """Return the directories of pyenv's Pythons. pyenv's shims in PATH do not work without a selected version."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return [str(path) for path in sorted(pyenv.glob("versions/3.*/bin"), reverse=True)]


def tool_environment(**more: str) -> dict[str, str]:
    """Return environment variables with which Ansible and other tools find this work tree as flaskops.production."""
    environment = os.environ | {
        "PATH": os.pathsep.join([str(VENV / "bin"), *list_pythons(), os.environ["PATH"]]),
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_HOME": str(CACHE / "ansible"),
        "FLASKOPS_TARGET_VOLUMES": json.dumps(list_container_volumes()),
        "FLASKOPS_TARGET_ENVIRONMENT": json.dumps(container_environment()),
        "FLASKOPS_TARGET_UV": CONTAINER_UV if find_uv() else "",
    }
    # The tests must not use a collection of the user or an activated virtual environment.
    for name in ("ANSIBLE_CONFIG", "ANSIBLE_COLLECTIONS_PATHS", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        environment.pop(name, None)
    return environment | more
