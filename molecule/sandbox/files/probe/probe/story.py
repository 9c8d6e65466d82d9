# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Information about the application's process."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path


def describe_process() -> dict:
    # Write to both streams, for the journal.
    print("told on stdout", flush=True)
    print("told on stderr", file=sys.stderr, flush=True)
    umask = os.umask(0)
    os.umask(umask)
    return {
        "pid": os.getpid(),
        "arbiter": os.getppid(),
        "umask": f"{umask:04o}",
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "override": os.environ.get("PROBE_OVERRIDE", ""),
        "worker": "gevent" if "gevent.monkey" in sys.modules else "gthread",
        "status": Path("/proc/self/status").read_text(),
    }
