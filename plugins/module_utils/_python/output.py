# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the cause in the output of a failed build."""

from __future__ import annotations

import contextlib
import os
import re
from typing import Iterable

# Less free space than this is the cause of a failure, in MB: the smallest virtual environment is larger.
MIN_FREE_MB = 10
MAX_LINES = 15
MAX_WIDTH = 500

# In order of significance: a line that matches an earlier pattern is the cause.
_CAUSES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"No space left on device|Disk quota exceeded|Read-only file system|failed to map segment",
        r"\b(?:401|403)\b.*(?:Unauthorized|Forbidden)|(?:Unauthorized|Forbidden).*\b(?:401|403)\b",
        r"pg_config executable not found|mysql_config not found|pkg-config.*not found",
        r"fatal error: .*: No such file or directory|command '.*' failed: No such file|cannot find -l\w+",
        r"^error: can't find Rust compiler|unable to execute '.*': No such file",
        r"DO NOT MATCH THE HASHES|Hash mismatch for|Hashes are required|requires? .*--hash",
        r"No matching distribution found for|not found in the package registry|Could not find a version that satisfies",
        r"conflicting dependencies|No solution found|Cannot install .* because|has requirement .* but you have",
        r"Temporary failure in name resolution|Connection refused|Network is unreachable|certificate verify failed",
        r"requires a different Python|requires-python|Requires-Python",
        r"Invalid requirement|Could not open requirements file|Unsupported wheel|is not a supported wheel",
        r"^(?:[\w.]+\.)?\w*(?:Error|Exception|Exit)\b: ?\S",
        r": (?:command )?not found$|: No such file or directory$|: Permission denied$",
        r"^(?:error|fatal):? ",
    )
]
# Lines that installers print around the cause.
_GENERIC = re.compile(
    r"subprocess-exited-with-error|metadata-generation-failed|Failed (?:to build|building)|Getting requirements|"
    r"did not run successfully|This error originates|likely not a problem with pip|CalledProcessError|exit code: \d",
    re.IGNORECASE,
)


def find_full_filesystem(paths: Iterable[str]) -> str:
    """Return the cause of a failure because of a full file system, with its mount point, or an empty string.

    Some installers do not report it: ensurepip only ends with status 1.
    """
    for path in paths:
        with contextlib.suppress(OSError):
            info = os.statvfs(path)
            free = info.f_bavail * info.f_frsize // 1024**2
            mount = os.path.realpath(path)
            while not os.path.ismount(mount):
                mount = os.path.dirname(mount)
            if free < MIN_FREE_MB:
                return f"No space left on device: {mount} has {free} MB free"
            if info.f_files and not info.f_favail:
                return f"No space left on device: {mount} has no free inodes"
    return ""


def strip_escapes(text: str) -> str:
    """Remove terminal sequences for colors and cursor movement. Other control characters are escaped later."""
    return re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]", "", text.replace("\r\n", "\n"))


def find_error_line(output: str) -> str:
    """Return the line with the cause of a failure, or an empty string."""
    lines = [line for line in map(_strip_prefix, output.splitlines()) if line and not _GENERIC.search(line)]
    for pattern in _CAUSES:
        found = [line for line in lines if pattern.search(line)]
        if found:
            return found[-1][:MAX_WIDTH].rstrip(".")
    return ""


def _strip_prefix(line: str) -> str:
    """Remove frames, bullets and prefixes of installers from a line."""
    line = re.sub(r"^[\s│╰─▶├×·|>-]+", "", line)
    return re.sub(r"^(?:ERROR|error):\s+(?=[A-Z`'/])", "", line).strip()


def get_last_lines(output: str, count: int = MAX_LINES) -> list[str]:
    """Return the last non-empty lines, each cut to MAX_WIDTH characters."""
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    return [line if len(line) <= MAX_WIDTH else line[:MAX_WIDTH] + "…" for line in lines[-count:]]
