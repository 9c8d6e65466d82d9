# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scripts of which every command must succeed. Private."""

from __future__ import annotations

import subprocess

SHELL = "/bin/bash"


class ScriptError(Exception):
    """Why a text is no script, in the shell's own words."""


def build_strict_script(text: str) -> str:
    """A script for bash that ends with the first command that fails, whatever the command is made of.

    `set -e` alone goes on after a list such as `cd /nonexistent && make` that fails before its end. So the status of
    each complete command is looked at once more.
    """
    fault = _check_syntax(text)
    if fault:
        raise ScriptError(fault)
    lines = ["set -eu -o pipefail"]
    for command in split_commands(text):
        lines += [command, "(exit $?)"]
    return "\n".join(lines) + "\n"


def split_commands(text: str) -> list[str]:
    """The complete commands of a script, each with all of its lines."""
    found, pending = [], []
    for line in text.splitlines():
        pending.append(line)
        if _is_complete("\n".join(pending)):
            found.append("\n".join(pending))
            pending = []
    return [command for command in [*found, "\n".join(pending)] if command.strip()]


def _is_complete(text: str) -> bool:
    last = text.rpartition("\n")[2]
    continued = (len(last) - len(last.rstrip("\\"))) % 2 == 1
    # Of a here-document without its end, the shell only warns.
    return not continued and not _check_syntax(text)


def _check_syntax(text: str) -> str:
    """What the shell says about a text that it reads and does not run; empty when nothing."""
    done = subprocess.run(
        [SHELL, "--norc", "--noprofile", "-n"],
        input=text.encode("utf-8", "surrogateescape") + b"\n",
        capture_output=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
    )
    return done.stderr.decode(errors="replace").strip().replace(f"{SHELL}: ", "")
