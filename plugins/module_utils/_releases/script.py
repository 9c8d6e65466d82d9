# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scripts that fail when any of their commands fails."""

from __future__ import annotations

import subprocess

from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ModuleError

SHELL = "/bin/bash"


class ScriptError(ModuleError):
    """A text that is not a valid script. The message is that of the shell."""


def build_strict_script(text: str) -> str:
    """Return a bash script that exits after the first complete command that fails. Raises ScriptError.

    `set -e` ignores a failure before the end of a list such as `cd /nonexistent && make`. The script therefore checks
    the status after each complete command.
    """
    problem = _check_syntax(text)
    if problem:
        raise ScriptError(problem)
    lines = ["set -eu -o pipefail"]
    for command in split_commands(text):
        lines += [command, "(exit $?)"]
    return "\n".join(lines) + "\n"


def split_commands(text: str) -> list[str]:
    """Split a script into its complete commands, which may have several lines."""
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
    # The shell only warns about an unfinished here-document, so any output counts.
    return not continued and not _check_syntax(text)


def _check_syntax(text: str) -> str:
    """Return the errors and warnings of the shell's syntax check, or an empty string."""
    done = subprocess.run(
        [SHELL, "--norc", "--noprofile", "-n"],
        input=text.encode("utf-8", "surrogateescape") + b"\n",
        capture_output=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
    )
    return done.stderr.decode(errors="replace").strip().replace(f"{SHELL}: ", "")
