"""Where the tools are, and what they and the target containers run with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
# The environment that runs this, or that of the tools.
VENV = Path(sys.prefix) if sys.prefix != sys.base_prefix else CACHE / "venv"
COLLECTIONS = CACHE / "collections"
# Where a target has the uv of the tools, beside PATH, so that only tests that name it use it.
TARGET_UV = "/opt/flaskops/uv"


def fail(message: str) -> None:
    sys.exit(f"\n{message}")


def say(message: str) -> None:
    """Progress goes to stderr at once, so that it is seen while it is true."""
    print(message, file=sys.stderr, flush=True)


def docker(*arguments: str, **options) -> str:
    """Run a docker command to its end and return what it printed."""
    done = subprocess.run(["docker", *arguments], check=False, capture_output=True, text=True, **options)
    if done.returncode:
        fail(f"docker {' '.join(arguments)}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def ca_bundle() -> str:
    """The CA bundle that this machine's own tools are told to use, for a network that re-signs TLS; else ''."""
    for name in ("PIP_CERT", "SSL_CERT_FILE"):
        if os.path.isfile(os.environ.get(name, "")):
            return os.path.realpath(os.environ[name])
    return ""


def own_uv() -> str:
    """The uv of the tools, where targets can run it; else ''. The role venv would install one on each target."""
    uv = VENV / "bin/uv"
    return os.path.realpath(uv) if sys.platform == "linux" and uv.is_file() else ""


def target_volumes() -> list[str]:
    """Mounts of a container that runs systemd."""
    # systemd needs the version 2 hierarchy, which a machine in hybrid mode mounts one level down.
    hybrid = Path("/sys/fs/cgroup/unified")
    volumes = [f"{hybrid if hybrid.is_dir() else hybrid.parent}:/sys/fs/cgroup:rw"]
    if ca_bundle():
        volumes.append(f"{ca_bundle()}:/etc/ssl/test-ca.pem:ro")
    if own_uv():
        volumes.append(f"{own_uv()}:{TARGET_UV}:ro")
    return volumes


def target_environment() -> dict[str, str]:
    return dict.fromkeys(("PIP_CERT", "SSL_CERT_FILE"), "/etc/ssl/test-ca.pem") if ca_bundle() else {}


def pythons() -> list[str]:
    """The directories of pyenv's Pythons. Its own directory on the PATH has a program for each that stands for none."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return [str(path) for path in sorted(pyenv.glob("versions/3.*/bin"), reverse=True)]


def tool_environment(**more: str) -> dict[str, str]:
    """The environment in which Ansible, Molecule and the linters find this work tree as flaskops.production."""
    environment = os.environ | {
        "PATH": os.pathsep.join([str(VENV / "bin"), *pythons(), os.environ["PATH"]]),
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_HOME": str(CACHE / "ansible"),
        "FLASKOPS_TARGET_VOLUMES": json.dumps(target_volumes()),
        "FLASKOPS_TARGET_ENVIRONMENT": json.dumps(target_environment()),
        "FLASKOPS_TARGET_UV": TARGET_UV if own_uv() else "",
    }
    # A collection installed for the user, or an activated environment, must not be what is tested.
    for name in ("ANSIBLE_CONFIG", "ANSIBLE_COLLECTIONS_PATHS", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        environment.pop(name, None)
    return environment | more
