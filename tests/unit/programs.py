# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Skip tests that call programs that are not installed."""

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
    """Return the reason to skip a test, or an empty string."""
    missing = [name for name in names if not find(name)]
    return f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed" if missing else ""


def needs(*names: str) -> pytest.MarkDecorator:
    """Return a mark for tests that call these programs."""
    return pytest.mark.skipif(bool(reason(*names)), reason=reason(*names))


def require(*names: str) -> None:
    """Skip the running test if programs are missing. Use this if a test determines its programs at run time."""
    if reason(*names):
        pytest.skip(reason(*names))
