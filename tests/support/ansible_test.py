"""Run ansible-test on a copy of the work tree: ansible_test.py units --venv --python 3.8 …

ansible-test wants the collection under its real path, and asks the network for more than PyPI.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from environment import CACHE, ROOT, VENV, ca_bundle, tool_environment

COMMAND = (str(VENV / "bin/ansible-test"),)
# ansible-test fetches a script of this name for the pip that it pins. Python brings a pip that installs the same one.
GET_PIP = """\
import subprocess, sys
subprocess.run([sys.executable, "-m", "ensurepip"], check=True)
wanted = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *wanted]))
"""


def pip_settings() -> str:
    """What pip is told on this machine, as a file: ansible-test passes no variable of the environment on."""
    command = [VENV / "bin/python", "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # The environment, which is listed first, wins.
    settings = {}
    for name, value in (line.split("=", 1) for line in listed.splitlines()):
        settings.setdefault(name.rpartition(".")[2], ast.literal_eval(value))
    return "".join(["[global]\n", *(f"{name} = {value}\n" for name, value in settings.items())])


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def copy(tree: Path) -> None:
    """Copy the work tree; what ansible-test has installed for an earlier copy stays."""
    tree.mkdir(parents=True, exist_ok=True)
    for path in (*tree.iterdir(), *tree.glob("tests/*"), *tree.glob("tests/output/*")):
        if path.name not in (".git", "tests", "output", ".tmp"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    present = b"\0".join(name for name in names if name and os.path.lexists(os.path.join(os.fsencode(ROOT), name)))
    archive = ["tar", "--create", "--null", "--files-from=-"]
    packed = subprocess.run(archive, cwd=ROOT, input=present, capture_output=True, check=True).stdout
    subprocess.run(["tar", "--extract"], cwd=tree, input=packed, check=True)
    # A repository of its own: else ansible-test would look at the one around it, which ignores this directory.
    subprocess.run(["git", "init", "--quiet"], cwd=tree, check=True)


def prepare(job: str) -> tuple[Path, dict[str, str]]:
    """A copy for one run, beside which others may go on, and the environment for it."""
    home = CACHE / "ansible-test" / job / "home"
    tree = home.parent / "ansible_collections/flaskops/production"
    copy(tree)
    for version in ("23_1_2", "24_2", "25_2"):
        write(home / f".ansible/test/cache/get_pip_{version}.py", GET_PIP)
    write(home / ".config/pip/pip.conf", pip_settings())
    if ca_bundle():
        write(home / "bin/uv", f'#!/bin/sh\nSSL_CERT_FILE={ca_bundle()} exec {VENV / "bin/uv"} "$@"\n')
        (home / "bin/uv").chmod(0o755)
    settings = tool_environment(HOME=str(home))
    return tree, settings | {"PATH": f"{home / 'bin'}{os.pathsep}{settings['PATH']}"}


if __name__ == "__main__":
    tree, environment = prepare("-".join(word for word in sys.argv[1:] if not word.startswith(("-", "tests"))))
    os.chdir(tree)
    os.execvpe(COMMAND[0], [*COMMAND, *sys.argv[1:], "--color", "no"], environment)
