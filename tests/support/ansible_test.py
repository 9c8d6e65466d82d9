"""Run ansible-test on a copy of the work tree: ansible_test.py units --venv --python 3.8 …

ansible-test requires the collection at its real path, and downloads a script from the network.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from environment import CACHE, ROOT, VENV, find_ca_bundle, tool_environment

COMMAND = (str(VENV / "bin/ansible-test"),)
# ansible-test downloads a script of this name to install its pip. Python's own pip installs the same version.
GET_PIP = """\
import subprocess, sys
subprocess.run([sys.executable, "-m", "ensurepip"], check=True)
wanted = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *wanted]))
"""


def read_pip_settings() -> str:
    """Return pip's settings on this machine as a file, because ansible-test does not pass environment variables."""
    command = [VENV / "bin/python", "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # Environment variables are listed first and take precedence.
    settings = {}
    for name, value in (line.split("=", 1) for line in listed.splitlines()):
        settings.setdefault(name.rpartition(".")[2], ast.literal_eval(value))
    return "".join(["[global]\n", *(f"{name} = {value}\n" for name, value in settings.items())])


def write_file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def copy_work_tree(tree: Path) -> None:
    """Copy the work tree, and keep files that ansible-test has installed for an earlier copy."""
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
    # Without its own repository, ansible-test would use the outer one, which ignores this directory.
    subprocess.run(["git", "init", "--quiet"], cwd=tree, check=True)


def prepare_copy(job: str) -> tuple[Path, dict[str, str]]:
    """Return a copy of the work tree for one run, separate from concurrent runs, and its environment."""
    home = CACHE / "ansible-test" / job / "home"
    tree = home.parent / "ansible_collections/flaskops/production"
    copy_work_tree(tree)
    for version in ("23_1_2", "24_2", "25_2"):
        write_file(home / f".ansible/test/cache/get_pip_{version}.py", GET_PIP)
    write_file(home / ".config/pip/pip.conf", read_pip_settings())
    if find_ca_bundle():
        write_file(home / "bin/uv", f'#!/bin/sh\nSSL_CERT_FILE={find_ca_bundle()} exec {VENV / "bin/uv"} "$@"\n')
        (home / "bin/uv").chmod(0o755)
    settings = tool_environment(HOME=str(home))
    return tree, settings | {"PATH": f"{home / 'bin'}{os.pathsep}{settings['PATH']}"}


if __name__ == "__main__":
    tree, environment = prepare_copy("-".join(word for word in sys.argv[1:] if not word.startswith(("-", "tests"))))
    os.chdir(tree)
    os.execvpe(COMMAND[0], [*COMMAND, *sys.argv[1:], "--color", "no"], environment)
