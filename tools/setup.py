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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from environment import CACHE, COLLECTIONS, ROOT, VENV, fail, say, tool_environment

NEEDED = ("ansible/posix", "community/docker", "community/library_inventory_filtering_v1")
GALAXY = "https://galaxy.ansible.com/api/"
# The `ansible` package on PyPI carries the same collections: the way to them where Galaxy does not answer.
WHEEL = "ansible==12.3.0" if sys.version_info < (3, 12) else "ansible==14.5.0"


def digest(*parts: str | bytes) -> str:
    return hashlib.sha256(b"\0".join(p.encode() if isinstance(p, str) else p for p in parts)).hexdigest()[:12]


def point(link: Path, target: str | Path) -> None:
    """Make `link` a link to `target` in one step, whatever link it was."""
    if not (link.is_symlink() and os.readlink(link) == str(target)):
        beside = link.with_name(f"{link.name}.new")
        beside.unlink(missing_ok=True)
        beside.symlink_to(target)
        beside.replace(link)


def environment(requirements: Path, python: str = sys.executable) -> Path:
    """A virtual environment with what the file asks for, built once for each content of it and each Python."""
    ask = [python, "-c", "import sys; print(sys.version, end='')"]
    version = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    name = requirements.stem.replace("requirements", "venv")
    # A virtual environment can't be moved: it is built at its final path and counts once it is marked complete.
    home = CACHE / f"{name}-{digest(requirements.read_bytes(), version, python)}"
    if not (home / "complete").exists():
        say(f"Installing {requirements.relative_to(ROOT)} (a minute or two, once) …")
        if subprocess.run([python, "-m", "venv", "--clear", home], check=False).returncode:
            fail(f"{python} can't create virtual environments. On Debian: apt-get install python3-venv")
        pip = [home / "bin/python", "-m", "pip", "-qq", "--disable-pip-version-check", "install"]
        subprocess.run([*pip, "-r", requirements], check=True)
        (home / "complete").touch()
    return home


def tools() -> None:
    point(VENV, environment(ROOT / "tools/requirements.txt").name)


def from_galaxy(path: Path) -> bool:
    try:
        urllib.request.urlopen(GALAXY, timeout=5).close()
    except OSError:
        return False
    command = ["ansible-galaxy", "collection", "install", "-p", str(path), "-r", str(ROOT / "tools/collections.yml")]
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
    home = CACHE / f"collections-{digest((ROOT / 'tools/collections.yml').read_bytes(), WHEEL)}"
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


@contextmanager
def alone() -> Iterator[None]:
    """One process at a time puts things under .cache/."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this file is what says so
        fail(f"The tools need Python 3.11 or newer, not {sys.version.split()[0]}. Name one: make PYTHON=python3.12")
    CACHE.mkdir(exist_ok=True)
    with open(CACHE / "setup.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def setup() -> None:
    with alone():
        tools()
        collections()


if __name__ == "__main__":
    setup()
