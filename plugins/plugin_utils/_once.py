# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Do a piece of work once per run, whichever host, batch or play asks for it."""

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

from ansible_collections.flaskops.production.plugins.plugin_utils._tree import SourceError

RESULT = "result.json"
FAULT = "fault.json"


def key_of(question: Any) -> str:
    return hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:24]


def once(base: Path, question: Any, work: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """The answer to a question, worked out by the first that asks, in a directory of its own below `base`.

    Those who wait meanwhile share the answer, or the fault: fifty hosts don't each wait for a dead server. Who asks
    after a fault tries again.
    """
    place = base / key_of(question)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    asked = time.time()
    with (place / "lock").open("a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result, fault = place / RESULT, place / FAULT
        if result.exists():
            return json.loads(result.read_text(encoding="utf-8"))
        if fault.exists() and (told := json.loads(fault.read_text(encoding="utf-8")))["time"] >= asked:
            raise SourceError(told["fault"])
        inside = place / "work"
        shutil.rmtree(inside, ignore_errors=True)
        inside.mkdir(mode=0o700)
        try:
            answer = work(inside)
        except SourceError as error:
            shutil.rmtree(inside, ignore_errors=True)
            _write(fault, {"fault": str(error), "time": time.time()})
            raise
        _write(result, answer)
        return answer


def _write(path: Path, data: dict[str, Any]) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(data), encoding="utf-8")
    os.replace(temporary, path)
