# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs that tests call. A test whose program is not installed is skipped, and no other one."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

# Those of this environment first. A user's PATH often lacks the directories of daemons.
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


def find(name: str) -> str | None:
    return shutil.which(name, path=PATH)


def reason(*names: str) -> str:
    """Why a test cannot run; empty where it can."""
    missing = [name for name in names if not find(name)]
    return f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed" if missing else ""


def needs(*names: str) -> pytest.MarkDecorator:
    """A mark of tests that call these programs."""
    return pytest.mark.skipif(bool(reason(*names)), reason=reason(*names))


def require(*names: str) -> None:
    """Skip the test that runs, where it is known only now which programs it calls."""
    if reason(*names):
        pytest.skip(reason(*names))
