# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No program that a module runs on a host can hold up a run for ever."""

from __future__ import annotations

import ast
from pathlib import Path

from ansible_collections.flaskops.production.plugins.module_utils._systemd import manager

PLUGINS = Path(manager.__file__).parents[2]
# Programs whose time depends on the data only, and that ask neither systemd nor the application.
WITHOUT = {
    "module_utils/_systemd/transient_unit.py::ensure_build_user": "useradd",
    "module_utils/_files/ownership.py::remove_tree": "rm",
    "module_utils/_python/source_directory.py::copy_source": "cp",
    "module_utils/_releases/build.py::_copy_release": "cp",
    "module_utils/_releases/script.py::_check_syntax": "bash -n",
}
# Followed to their end by a loop that has a deadline.
FOLLOWED = {"module_utils/_systemd/transient_unit.py::follow_unit", "module_utils/_systemd/journal.py::_read_end"}


def calls(path: Path) -> dict[str, ast.Call]:
    """The calls of a file that start a program, by the function that they are in."""
    found = {}
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in ("subprocess.run", "subprocess.Popen"):
                    found[f"{path.relative_to(PLUGINS).as_posix()}::{function.name}"] = node
    return found


def test_every_program_has_a_deadline():
    paths = [*PLUGINS.glob("module_utils/**/*.py"), *PLUGINS.glob("modules/*.py")]
    started = {place: call for path in paths for place, call in calls(path).items()}
    endless = {place for place, call in started.items() if all(word.arg != "timeout" for word in call.keywords)}
    assert endless == {*WITHOUT, *FOLLOWED}
