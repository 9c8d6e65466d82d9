# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from typing import NamedTuple

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._python.output import (
    find_error_line,
    find_full_filesystem,
    get_last_lines,
    strip_escapes,
)

PSYCOPG = """\
  error: subprocess-exited-with-error

  × Getting requirements to build wheel did not run successfully.
  │ exit code: 1
  ╰─> [34 lines of output]
      running egg_info
      writing psycopg2.egg-info/PKG-INFO

      Error: pg_config executable not found.

      pg_config is required to build psycopg2 from source.  Please add the directory
      [end of output]

  note: This error originates from a subprocess, and is likely not a problem with pip.
ERROR: Failed to build 'psycopg2' when getting requirements to build wheel
"""
COMPILER = """\
      building '_x' extension
      x.c:10:10: fatal error: Python.h: No such file or directory
      compilation terminated.
      error: command '/usr/bin/gcc' failed with exit code 1
  ERROR: Failed building wheel for x
ERROR: Failed to build installable wheels for some pyproject.toml based projects (x)
"""


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (PSYCOPG, "Error: pg_config executable not found"),
        (COMPILER, "x.c:10:10: fatal error: Python.h: No such file or directory"),
        (
            "ERROR: Could not find a version that satisfies the requirement x (from versions: none)\n"
            "ERROR: No matching distribution found for x\n",
            "No matching distribution found for x",
        ),
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n",
            "Could not install packages due to an OSError: [Errno 28] No space left on device",
        ),
        (
            "  × No solution found when resolving:\n  ╰─▶ Because x was not found in the package registry\n",
            "Because x was not found in the package registry",
        ),
        ("npm ERR! x\n./build.sh: line 2: npm: command not found\n", "./build.sh: line 2: npm: command not found"),
        ("Traceback (most recent call last):\n  File\nValueError: too bad\n", "ValueError: too bad"),
        ("all is well\n", ""),
    ],
)
def test_error_line_is_found(output, expected):
    assert find_error_line(output) == expected


def test_last_lines_are_limited():
    lines = get_last_lines("x" * 5000 + "\n" + "\n".join(f"line {number}" for number in range(100)) + "\n" + "y" * 5000)
    assert len(lines) == 15 and lines[0] == "line 86" and len(lines[-1]) == 501


def test_terminal_sequences_are_removed():
    assert strip_escapes("\x1b[31mred\x1b[0m \x1b[2Kline\r\nä\tb\n") == "red line\nä\tb\n"
    assert find_error_line(strip_escapes("\x1b[1;31mModuleNotFoundError: No module named 'x'\x1b[0m")) == (
        "ModuleNotFoundError: No module named 'x'"
    )


class Filesystem(NamedTuple):
    """The figures of statvfs() that are read."""

    f_bavail: int = 2**20
    f_frsize: int = 4096
    f_files: int = 1000
    f_favail: int = 10


@pytest.mark.parametrize(
    ("found", "cause"),
    [
        (Filesystem(), ""),
        (Filesystem(f_bavail=768), "No space left on device: / has 3 MB free"),
        (Filesystem(f_bavail=0), "No space left on device: / has 0 MB free"),
        (Filesystem(f_favail=0), "No space left on device: / has no free inodes"),
        # Btrfs has no limit of inodes.
        (Filesystem(f_files=0, f_favail=0), ""),
    ],
)
def test_full_filesystem_is_the_cause(tmp_path, monkeypatch, found, cause):
    monkeypatch.setattr(os, "statvfs", lambda _path: found)
    monkeypatch.setattr(os.path, "ismount", lambda path: path == "/")
    assert find_full_filesystem([str(tmp_path)]) == cause


def test_missing_directory_is_not_full():
    assert find_full_filesystem(["/no/such/directory"]) == ""
