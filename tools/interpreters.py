"""The Pythons of this machine, by their version."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

# What a usable Python answers. Debian splits `venv` off; a shim of pyenv may stand for no version.
ASK = "import ensurepip, sys, venv; print(sys.version.split()[0], sys.executable)"


def candidates(version: str) -> Iterator[Path]:
    name = f"python{version}"
    for directory in os.environ["PATH"].split(os.pathsep):
        yield Path(directory) / name
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for home in sorted(pyenv.glob(f"versions/{version}.*")):
        yield home / "bin" / name


@cache
def find(version: str) -> str | None:
    """The path of a Python of that version, such as 3.12, that can make virtual environments."""
    for path in candidates(version):
        if os.access(path, os.X_OK):
            done = subprocess.run([path, "-c", ASK], check=False, capture_output=True, text=True)
            found, __, executable = done.stdout.strip().partition(" ")
            if done.returncode == 0 and found.startswith(f"{version}."):
                return executable
    return None
