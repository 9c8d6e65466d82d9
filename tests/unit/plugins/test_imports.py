# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of helpers import from packages below them only, and tests mirror the packages."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[3] / "plugins"
TESTS = Path(__file__).parent
# From the lowest package to the highest. A package imports from itself and from those before it.
ORDER = {
    "module_utils": ["_core", "_files", "_systemd", "_app", "_nginx", "_python", "_releases", "_doctor", "_adoption"],
    "plugin_utils": ["_run", "_source", "_settings"],
}
HELPERS = sorted(path for kind in ORDER for path in (PLUGINS / kind).rglob("*.py") if path.name != "__init__.py")


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """The kind and the package of each helper that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and ".production.plugins." in node.module:
            kind, *packages = node.module.partition(".production.plugins.")[2].split(".")
            yield kind, packages[0] if packages else ""


@pytest.mark.parametrize("path", HELPERS, ids=lambda path: str(path.relative_to(PLUGINS)))
def test_a_helper_imports_from_lower_packages_only(path):
    kind, package = path.relative_to(PLUGINS).parts[:2]
    assert package in ORDER[kind], "a helper lies in a package"
    below = ORDER[kind][: ORDER[kind].index(package) + 1]
    for other_kind, other in imported(path):
        if other_kind == kind:
            assert other in below, f"{package} imports from {other}"
        else:
            assert (kind, other_kind) == ("plugin_utils", "module_utils"), f"a helper imports from {other_kind}"


def test_the_tests_of_helpers_mirror_their_packages():
    for kind, packages in ORDER.items():
        found = {path.relative_to(TESTS / kind).parts[0] for path in (TESTS / kind).glob("*/test_*.py")}
        assert found <= set(packages)
        assert not list((TESTS / kind).glob("test_*.py"))
