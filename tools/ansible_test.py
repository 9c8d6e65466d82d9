"""ansible-test, which wants the collection under its real path and asks the network for more than PyPI."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import interpreters
from environment import CACHE, ROOT, VENV, ca_bundle, tool_environment
from results import Result, run, tests_result

HOME = CACHE / "ansible-test"
# Every Python that modules run on; the newest ansible-core serves 3.9 and newer.
PYTHONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13")
# ansible-test fetches a script of this name for the pip that it pins. Python brings a pip that installs the same one.
GET_PIP = """\
import subprocess, sys
subprocess.run([sys.executable, "-m", "ensurepip"], check=True)
wanted = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *wanted]))
"""


def pip_settings() -> str:
    """What pip is told on this machine, as a file: ansible-test passes no variable of the environment on."""
    command = [str(VENV / "bin/python"), "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    settings = dict(line.split("=", 1) for line in listed.splitlines())
    lines = [f"{name.rpartition('.')[2]} = {ast.literal_eval(value)}\n" for name, value in settings.items()]
    # An option that two places set may stand there once; the environment, which is listed first, wins.
    once = {line.split(" = ")[0]: line for line in reversed(lines)}
    return "[global]\n" + "".join(once.values())


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def prepare(job: str) -> Path:
    """A copy of the work tree for one run, beside which others may go on. What it has installed before stays."""
    tree = HOME / job / "ansible_collections/flaskops/production"
    tree.mkdir(parents=True, exist_ok=True)
    # A repository of its own: else ansible-test would look at the one around it, which ignores this directory.
    subprocess.run(["git", "init", "--quiet"], cwd=tree, check=True)
    for path in (*tree.iterdir(), *tree.glob("tests/*"), *tree.glob("tests/output/*")):
        if path.name not in (".git", "tests", "output", ".tmp"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name, follow_symlinks=False)
    return tree


def environment(home: Path, tools: Path) -> dict[str, str]:
    for version in ("23_1_2", "24_2", "25_2"):
        write(home / f".ansible/test/cache/get_pip_{version}.py", GET_PIP)
    write(home / ".config/pip/pip.conf", pip_settings())
    if ca_bundle() and (VENV / "bin/uv").exists():
        write(home / "bin/uv", f'#!/bin/sh\nSSL_CERT_FILE={ca_bundle()} exec {VENV / "bin/uv"} "$@"\n')
        (home / "bin/uv").chmod(0o755)
    found = [Path(path).parent for path in map(interpreters.find, PYTHONS) if path]
    settings = tool_environment(HOME=str(home))
    paths = [home / "bin", tools / "bin", VENV / "bin", *found, settings["PATH"]]
    return settings | {"PATH": os.pathsep.join(map(str, paths))}


def ansible_test(name: str, arguments: Iterable[str], tools: Path = VENV) -> Result:
    """Run it in a copy of its own, with the ansible-core of an environment; each test of its reports counts."""
    start = time.monotonic()
    job = name.replace(" ", "-")
    tree = prepare(job)
    command = [str(tools / "bin/ansible-test"), *arguments, "--color", "no"]
    code, log = run(command, environment(HOME / job / "home", tools), tree)
    reports = sorted((tree / "tests/output/junit").glob("*.xml"))
    return tests_result(name, code, log, time.monotonic() - start, reports)


def sanity(name: str = "ansible-test sanity", tools: Path = VENV) -> Result:
    """All tests, on the Pythons that are here; there is no file with exceptions."""
    result = ansible_test(name, ["sanity", "--junit"], tools)
    # A test without a file of its kind is skipped as well, which is no news.
    lacking = re.findall(r"Required program \"(\S+)\" not found", result.log)
    return replace(result, skipped=len(lacking), note=", ".join(f"{program} was not found" for program in lacking))


def units(name: str, *arguments: str, tools: Path = VENV) -> Result:
    return ansible_test(name, ["units", "--venv", "--num-workers", str(os.cpu_count()), *arguments], tools)


if __name__ == "__main__":
    from results import show, total

    results = [ansible_test("ansible-test", sys.argv[1:])]
    show(results[0])
    print(total(results))
