# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Do a piece of work once per run, for all hosts, batches and plays."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.flaskops.production.plugins.plugin_utils._source.tree import SourceError

RESULT_FILE = "result.json"
ERROR_FILE = "error.json"


def hash_key(key: Any) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]


def run_once(base: Path, key: Any, work: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Return the result of `work` for this key. The first process to ask does the work in a directory below `base`.

    Processes that wait for it share the result or the error, so fifty hosts do not each wait for a server that is
    down. A process that asks after an error does the work again. Raises SourceError if the work did.
    """
    directory = base / hash_key(key)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    asked = time.time()
    with (directory / "lock").open("a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result_file, error_file = directory / RESULT_FILE, directory / ERROR_FILE
        if result_file.exists():
            return json.loads(result_file.read_text(encoding="utf-8"))
        if error_file.exists() and (data := json.loads(error_file.read_text(encoding="utf-8")))["time"] >= asked:
            raise SourceError(data["error"])
        inside = directory / "work"
        shutil.rmtree(inside, ignore_errors=True)
        inside.mkdir(mode=0o700)
        try:
            result = work(inside)
        except SourceError as error:
            shutil.rmtree(inside, ignore_errors=True)
            _write_json(error_file, {"error": str(error), "time": time.time()})
            raise
        _write_json(result_file, result)
        return result


def _write_json(path: Path, data: dict[str, Any]) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(data), encoding="utf-8")
    os.replace(temporary, path)
