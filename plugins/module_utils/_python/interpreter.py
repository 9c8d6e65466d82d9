# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the interpreter of a virtual environment on a host."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._python.options import MissingInputError, VenvError

# Prints path, version and platform of an interpreter, with fast imports only.
PROBE = """
import os, sys
print(os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable))
print(".".join(map(str, sys.version_info)))
print("-".join([sys.implementation.name, getattr(sys.implementation, "_multiarch", ""), os.uname()[4], sys.abiflags]))
"""


class MissingInterpreterError(MissingInputError):
    """A missing interpreter, or one without support for virtual environments."""


class Interpreter(NamedTuple):
    path: str
    version: str
    platform: str


def find_interpreter(python: str) -> Interpreter:
    path = python if os.path.isabs(python) else shutil.which(python)
    if not path or not os.access(path, os.X_OK) or os.path.isdir(path):
        raise MissingInterpreterError(
            f"The interpreter '{python}' (venv_python) does not exist on this host. "
            "Set another one; the role venv installs those of Debian."
        )
    try:
        done = subprocess.run([path, "-I", "-S", "-c", PROBE], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise VenvError(f"The interpreter '{python}' (venv_python) cannot be run: {error}.") from error
    lines = done.stdout.decode("utf-8", "surrogateescape").splitlines()
    if done.returncode or len(lines) != 3:
        stderr = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise VenvError(f"'{path}' (venv_python) is not a Python 3 interpreter: {' '.join(stderr) or 'no output'}.")
    return Interpreter(*lines)
