# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Explain from its output why a program of the application ended: the exception, its own frames, a hint."""

from __future__ import annotations

import re
from typing import NamedTuple

# The numbers of lines of a traceback, and of a log without one, in a message.
MAX_FRAME_LINES = MAX_LOG_LINES = 10
# The number of further lines of an exception's text.
MAX_FOLLOWING_LINES = 4

_START = re.compile(r"\s*Traceback \(most recent call last\):")
_FRAME = re.compile(r'\s*File "(?P<file>[^"]+)", line (?P<line>\d+)(?:, in (?P<function>.+))?\s*$')
_ERROR = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:: .*|:)?\s*$")
_CHAINED = re.compile(r"(The above exception was the direct cause|During handling of the above exception)")
_MARKS = re.compile(r"\s*[~^]+[~^\s]*$")
_NEW_RECORD = re.compile(r"\[?\d{4}-\d\d-\d\d|\[\d+\]|\S+\.(service|socket): ")
_GUNICORN = re.compile(
    r"Failed to (find attribute|find application|parse|import module)\b.*|Application object must .*"
)
_HEALTH = re.compile(r"GET \S+ answered \S+, expected .*")
# Consequences of another error, logged by Gunicorn and systemd.
_NOISE = re.compile(r"reentrant call inside|HaltServer|Worker failed to boot")
_FOREIGN_CODE = ("/site-packages/", "/dist-packages/", "/lib/python", "<frozen ", "/gunicorn.conf.py")
# Errors of the host, which do not depend on the release.
_HOST = re.compile(
    r"No space left on device|Disk quota exceeded|failed to map segment from shared object|Cannot allocate memory"
    r"|Input/output error|Too many open files in system|^MemoryError"
)
# Exit statuses that systemd sets before the program starts, and the logged reason.
_EXEC_FAILED = re.compile(r"process exited, code=exited, status=(?P<status>2[0-4]\d/[A-Z_]+)")
# The configuration file of Gunicorn, which is not part of a release.
_NO_CONFIG = re.compile(r"^Error: '(?P<path>/[^']+)' doesn't exist$", re.MULTILINE)
_EXEC_REASON = re.compile(r"\S+\.service: (?P<reason>(?:Failed|Unable|Changing) .*)")

_HINTS = (
    (
        r"(OSError|PermissionError|FileNotFoundError): \[Errno (?:2|13|30)\] .*: '(?P<path>[^'/][^']*)'",
        "a release is read-only: name the directory of '{path}' in release_shared_paths",
    ),
    (r"OSError: \[Errno 30\] ", "only shared/ is writable: name the path in release_shared_paths"),
    (
        r"unable to open database file|attempt to write a readonly database",
        "SQLite writes beside its file: name the database's directory, with a slash, in release_shared_paths",
    ),
    (
        r"\bmissing \d+ required positional arguments?: .*'(?:send|receive)'",
        "only WSGI is served, and flask_app_wsgi names an ASGI application",
    ),
    (r"Failed to (?:find|parse)|Application object must", "flask_app_wsgi must be <module>:<WSGI application>"),
    (r"failed to map segment", "a file system is mounted noexec: /srv, or the TMPDIR of the application"),
)


class Traceback(NamedTuple):
    """An exception: its text, the frames of the application as lines, and the files of all frames."""

    error: str
    frames: tuple[str, ...]
    files: tuple[str, ...]


class Cause(NamedTuple):
    """The cause of a program's exit, for an operator. by_host is set if the host caused it, not the release."""

    error: str
    lines: tuple[str, ...] = ()
    hint: str = ""
    by_host: bool = False

    def text(self) -> str:
        """Format the frames and the hint for a message."""
        hint = (f"Hint: {self.hint}.",) if self.hint else ()
        return "\n".join((*self.lines, *hint))


def parse_tracebacks(logged: str) -> list[Traceback]:
    """Return the exceptions of a log in order. Only the last exception of a chain is returned."""
    found: list[Traceback] = []
    lines = logged.splitlines()
    position = 0
    while position < len(lines):
        if not _START.match(lines[position]):
            position += 1
            continue
        traceback, after = _parse_traceback(lines, position + 1)
        if traceback:
            chained = any(_CHAINED.match(line.strip()) for line in lines[max(0, position - 3) : position])
            if chained and found:
                found.pop()
            found.append(traceback)
        position = after
    return found


def _parse_traceback(lines: list[str], position: int) -> tuple[Traceback | None, int]:
    """Parse the traceback whose frames start at a position. Returns it, or None, and the position after it."""
    frames: list[str] = []
    files: list[str] = []
    own = False
    while position < len(lines):
        line = lines[position]
        frame = _FRAME.match(line)
        if frame:
            files.append(frame["file"])
            own = not any(part in frame["file"] for part in _FOREIGN_CODE)
        elif not line.startswith((" ", "\t")):
            break
        if own and not _MARKS.match(line):
            frames.append(line.rstrip())
        position += 1
    if position == len(lines) or not _ERROR.match(lines[position]):
        return None, position
    error, following = [lines[position].strip()], position + 1
    while following < len(lines) and len(error) <= MAX_FOLLOWING_LINES and _is_continuation(lines[following]):
        error.append(lines[following].strip())
        following += 1
    return Traceback("\n".join(error), tuple(frames), tuple(files)), following


def _is_continuation(line: str) -> bool:
    """Return whether a line continues the text of an exception, such as a validation error."""
    return line.startswith((" ", "\t")) and not _START.match(line) and not _NEW_RECORD.match(line.strip())


def find_cause(logged: str) -> Cause:
    """Return the cause of a program's exit, or the last lines of the log if it has no exception."""
    failed = _EXEC_FAILED.search(logged)
    if failed:
        reasons = [match["reason"] for match in map(_EXEC_REASON.match, logged.splitlines()) if match]
        reason = f": {reasons[0]}" if reasons else ""
        return Cause(f"systemd could not execute it, status {failed['status']}{reason}", by_host=True)
    missing = _NO_CONFIG.search(logged)
    if missing:
        hint = "run the playbook site, which writes it"
        return Cause(f"its configuration {missing['path']} does not exist", hint=hint, by_host=True)
    every = [item for item in parse_tracebacks(logged) if not _NOISE.search(item.error)]
    health = [item for item in every if _HEALTH.search(item.error)]
    others = [item for item in every if item not in health]
    gunicorn = [line.strip() for line in logged.splitlines() if _GUNICORN.match(line.strip())]
    if health:
        # The application logged its own exception before the check failed.
        answered = _HEALTH.search(health[0].error)
        chosen = others[-1] if others else None
        error = answered.group() if answered else health[0].error
        error += f" ({chosen.error})" if chosen else ""
    elif others or gunicorn:
        chosen = next((item for item in others if item.frames), others[0] if others else None)
        error = chosen.error if chosen else gunicorn[0]
    else:
        lines = [line for line in logged.splitlines() if line.strip() and not _NOISE.search(line)]
        return Cause("", tuple(lines[-MAX_LOG_LINES:]), by_host=bool(_HOST.search(logged)))
    frames = chosen.frames[-MAX_FRAME_LINES:] if chosen else ()
    return Cause(error, frames, _find_hint(error, chosen), bool(chosen and _HOST.search(chosen.error)))


def _find_hint(error: str, traceback: Traceback | None) -> str:
    """Return a hint for a common error, or an empty string."""
    missing = re.match(r"ModuleNotFoundError: No module named '([^']+)'", error)
    if missing:
        if traceback and traceback.frames:
            return f"if {missing[1]} is a package, list it in the requirements file of the release"
        return f"the release has no module '{missing[1]}': set flask_app_wsgi to the one that defines the application"
    environment = traceback and any(re.search(r"(/os\.py|<frozen os>)$", file) for file in traceback.files)
    key = re.match(r"KeyError: ['\"](?P<name>\w+)['\"]", error)
    if key and environment:
        return f"set the environment variable {key['name']} in flask_app_env"
    for pattern, hint in _HINTS:
        match = re.search(pattern, error)
        if match:
            return hint.format(**{name: value or "" for name, value in match.groupdict().items()})
    return ""
