# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Task files that are written at run time."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from ansible import constants


def task_file(name: str, text: str) -> str:
    """The path of a file with these tasks, written once per run, whichever host asks first."""
    path = Path(constants.DEFAULT_LOCAL_TMP, f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.yml")
    if not path.exists():
        beside = path.with_suffix(f".{os.getpid()}")
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    return str(path)
