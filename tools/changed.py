"""Which unit tests a change asks for, by what imports what."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

from environment import ROOT

TESTS = ROOT / "tests/unit"
# What the tests in its directory and below share; pyproject.toml is everybody's.
SHARED = re.compile(r"tests/unit/(.*/)?(?!test_)[^/]+\.py|pyproject\.toml")
# A file of tests that take long is not run because of what the plugins that it imports import themselves.
# They say so by a constant: ansible-test knows none of our marks.
SLOW = "\nSLOW = True\n"
PLUGINS = "ansible_collections.flaskops.production.plugins."


def git(*arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], check=False, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.split() if done.returncode == 0 else []


def base() -> str:
    """Where the work began: the commit that it shares with main, or the last one on main itself."""
    for name in ("origin/main", "main"):
        if shared := git("merge-base", "HEAD", name):
            return shared[0]
    return "HEAD"


def changed_files(since: str) -> set[str]:
    return {*git("diff", "--name-only", since), *git("ls-files", "--others", "--exclude-standard")}


def imports(path: Path) -> set[str]:
    """The plugins that a file imports, as plugins/modules/tree.py."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PLUGINS):
            kind, _dot, module = node.module.removeprefix(PLUGINS).partition(".")
            names = [module.replace(".", "/")] if module else [alias.name for alias in node.names]
            found |= {f"plugins/{kind}/{name}.py" for name in names}
    return found


def affected(changes: set[str]) -> set[str]:
    """The changed plugins, and each that imports one of them, however far away."""
    plugins = {str(path.relative_to(ROOT)): imports(path) for path in (ROOT / "plugins").rglob("*.py")}
    found = changes & set(plugins)
    while more := {name for name, needs in plugins.items() if needs & found} - found:
        found |= more
    return found


def unit_tests() -> tuple[list[str], str]:
    """The test files to run, and why these."""
    since = base()
    changes = changed_files(since)
    tests = {str(path.relative_to(ROOT)): path for path in TESTS.rglob("test_*.py")}
    plugins = affected(changes)
    wanted = {
        name
        for name, path in tests.items()
        if name in changes or imports(path) & (changes if SLOW in path.read_text() else plugins)
    }
    for shared in (match[1] for name in changes if (match := SHARED.fullmatch(name))):
        wanted |= {name for name in tests if name.startswith(f"tests/unit/{shared or ''}")}
    if any(name.startswith("roles/") for name in changes):
        wanted |= {name for name in tests if name.startswith("tests/unit/roles/")}
    # Nearly everything can make a document wrong, and these tests take seconds.
    wanted |= {name for name in tests if name.startswith("tests/unit/docs/")}
    told = f"{len(wanted)} of {len(tests)} files of unit tests, for {len(changes)} files that differ from {since[:7]}."
    return sorted(wanted), told
