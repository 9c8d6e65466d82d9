"""Put the tools and the collections that the tests need under .cache/. Done already: nothing happens.

Interrupted at any point, the next run starts the missing part again.
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

from environment import CACHE, COLLECTIONS, ROOT, fail, say, tool_environment
from packages import install_venv

VENV = CACHE / "venv"
TOOLS = ROOT / "tools/requirements.txt"
NEEDED = ("ansible/posix", "community/docker", "community/library_inventory_filtering_v1")
REQUIREMENTS = ROOT / "tools/collections.yml"
GALAXY = "https://galaxy.ansible.com/api/"
# The `ansible` package on PyPI carries the same collections: the way to them where Galaxy does not answer.
WHEEL = "ansible==12.3.0" if sys.version_info < (3, 12) else "ansible==14.5.0"


def digest(*parts: bytes | str) -> str:
    return hashlib.sha256(b"\0".join(p.encode() if isinstance(p, str) else p for p in parts)).hexdigest()[:12]


def point(link: Path, target: str | Path) -> None:
    """Make `link` a link to `target` in one step, whatever link it was."""
    if not (link.is_symlink() and os.readlink(link) == str(target)):
        beside = link.with_name(f"{link.name}.new")
        beside.unlink(missing_ok=True)
        beside.symlink_to(target)
        beside.replace(link)


def tools() -> None:
    """The environment that holds all tools, made once for each content of its requirements and each Python."""
    # A virtual environment cannot be moved: it is made at its final path and counts once it is marked complete.
    home = CACHE / f"venv-{digest(TOOLS.read_bytes(), sys.version, sys.executable)}"
    if not (home / "complete").exists():
        say("Installing the tools (a minute, once) …")
        install_venv()
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        pip = [home / "bin/python", "-m", "pip", "-qq", "--disable-pip-version-check", "install"]
        (uv,) = (line for line in TOOLS.read_text().splitlines() if line.startswith("uv=="))
        subprocess.run([*pip, uv], check=True)
        # uv takes seconds, but does not read pip's settings, which may name another index.
        quick = [home / "bin/uv", "pip", "install", "--quiet", "--python", home / "bin/python", "-r", TOOLS]
        if subprocess.run(quick, check=False, capture_output=True).returncode:
            subprocess.run([*pip, "-r", TOOLS], check=True)
        (home / "complete").touch()
    point(VENV, home.name)


def from_galaxy(path: Path) -> bool:
    try:
        urllib.request.urlopen(GALAXY, timeout=5).close()
    except OSError:
        return False
    command = ["ansible-galaxy", "collection", "install", "-p", str(path), "-r", str(REQUIREMENTS)]
    done = subprocess.run(command, check=False, env=tool_environment(), capture_output=True, timeout=300)
    return done.returncode == 0


def from_wheel(path: Path) -> None:
    pip = [VENV / "bin/python", "-m", "pip", "-qq", "--disable-pip-version-check", "download", "--no-deps"]
    subprocess.run([*pip, "-d", path, WHEEL], check=True)
    (wheel,) = path.glob("ansible-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        prefixes = tuple(f"ansible_collections/{name}/" for name in NEEDED)
        archive.extractall(path, [name for name in archive.namelist() if name.startswith(prefixes)])
    wheel.unlink()


def collections() -> None:
    """Collections beside a link to the work tree, so that what is tested is what is being edited."""
    home = CACHE / f"collections-{digest(REQUIREMENTS.read_bytes(), WHEEL)}"
    if not home.exists():
        say("Fetching the collections that the tests need …")
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="collections-new-") as beside:
            path = Path(beside) / "path"
            if not from_galaxy(path):
                shutil.rmtree(path, ignore_errors=True)
                path.mkdir()
                from_wheel(path)
            path.rename(home)
    namespace = home / "ansible_collections/flaskops"
    namespace.mkdir(exist_ok=True)
    point(namespace / "production", ROOT)
    point(COLLECTIONS, home.name)


def setup() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - this file is what says so
        fail(f"The tools need Python 3.11 or newer, not {sys.version.split()[0]}. Name one: make PYTHON=python3.12")
    CACHE.mkdir(exist_ok=True)
    # One process at a time puts things under .cache/.
    with open(CACHE / "setup.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tools()
        collections()


if __name__ == "__main__":
    setup()
