"""Install the tools and the collections that the tests need in .cache/, unless they are installed.

After an interruption, the next run installs the missing parts.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path

from environment import CACHE, COLLECTIONS, ROOT, fail, print_progress, tool_environment
from packages import install_venv

VENV = CACHE / "venv"
TOOLS = ROOT / "tools/requirements.txt"
NEEDED = ("ansible/posix", "community/docker", "community/library_inventory_filtering_v1")
REQUIREMENTS = ROOT / "tools/collections.yml"
GALAXY = "https://galaxy.ansible.com/api/"
# The `ansible` package on PyPI holds the same collections. It is used if Galaxy is unreachable.
WHEEL = "ansible==12.3.0" if sys.version_info < (3, 12) else "ansible==14.5.0"


def compute_digest(*parts: bytes | str) -> str:
    return hashlib.sha256(b"\0".join(p.encode() if isinstance(p, str) else p for p in parts)).hexdigest()[:12]


def replace_link(link: Path, target: str | Path) -> None:
    """Replace `link` atomically with a link to `target`."""
    if not (link.is_symlink() and os.readlink(link) == str(target)):
        beside = link.with_name(f"{link.name}.new")
        beside.unlink(missing_ok=True)
        beside.symlink_to(target)
        beside.replace(link)


def install_tools() -> None:
    """Create the virtual environment of the tools, once for each version of the requirements and each Python."""
    # A virtual environment cannot be moved, so it is created at its final path and marked as complete at the end.
    home = CACHE / f"venv-{compute_digest(TOOLS.read_bytes(), sys.version, sys.executable)}"
    if not (home / "complete").exists():
        print_progress("Installing the tools (a minute, once) …")
        install_venv()
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        python = str(home / "bin/python")
        pip = [python, "-m", "pip", "-qq", "--disable-pip-version-check", "install"]
        (uv,) = (line for line in TOOLS.read_text().splitlines() if line.startswith("uv=="))
        subprocess.run([*pip, uv], check=True)
        # uv takes seconds, but does not read pip's settings, which may name another index.
        quick = [
            str(home / "bin/uv"),
            "pip",
            "install",
            "--quiet",
            "--python",
            str(home / "bin/python"),
            "-r",
            str(TOOLS),
        ]
        if subprocess.run(quick, check=False, capture_output=True).returncode:
            subprocess.run([*pip, "-r", TOOLS], check=True)
        (home / "complete").touch()
    replace_link(VENV, home.name)


def install_from_galaxy(path: Path) -> bool:
    try:
        urllib.request.urlopen(GALAXY, timeout=5).close()
    except OSError:
        return False
    command = ["ansible-galaxy", "collection", "install", "-p", str(path), "-r", str(REQUIREMENTS)]
    done = subprocess.run(command, check=False, env=tool_environment(), capture_output=True, timeout=300)
    return done.returncode == 0


def install_from_wheel(path: Path) -> None:
    pip = [str(VENV / "bin/python"), "-m", "pip", "-qq", "--disable-pip-version-check", "download", "--no-deps"]
    subprocess.run([*pip, "-d", path, WHEEL], check=True)
    (wheel,) = path.glob("ansible-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        prefixes = tuple(f"ansible_collections/{name}/" for name in NEEDED)
        archive.extractall(path, [name for name in archive.namelist() if name.startswith(prefixes)])
    wheel.unlink()


def install_collections() -> None:
    """Install the collections beside a link to the work tree, so that the tests use the edited files."""
    home = CACHE / f"collections-{compute_digest(REQUIREMENTS.read_bytes(), WHEEL)}"
    if not home.exists():
        print_progress("Fetching the collections that the tests need …")
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="collections-new-") as beside:
            path = Path(beside) / "path"
            if not install_from_galaxy(path):
                shutil.rmtree(path, ignore_errors=True)
                path.mkdir()
                install_from_wheel(path)
            path.rename(home)
    namespace = home / "ansible_collections/flaskops"
    namespace.mkdir(exist_ok=True)
    replace_link(namespace / "production", ROOT)
    replace_link(COLLECTIONS, home.name)


def setup() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - this is the check of the version
        fail(f"The tools need Python 3.11 or newer, not {sys.version.split()[0]}. Name one: make PYTHON=python3.12")
    CACHE.mkdir(exist_ok=True)
    # Only one process at a time changes .cache/.
    with open(CACHE / "setup.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        install_tools()
        install_collections()


if __name__ == "__main__":
    setup()
