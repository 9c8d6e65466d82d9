# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares the host outside of the applications' directories with what it was: outside.py '{"note": FILE, ...}'

The settings, as JSON:
    note       where to keep what the host is like; made when it is missing, and compared with otherwise
    without    directories that are left out
    expected   regular expressions for paths that may change; in /etc, they must stay root's
    secrets    files whose content may stand in no other file of the host
    readable   where to look for it

Prints as JSON which paths changed, and which files hold a secret that is not theirs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import sys
from collections.abc import Iterator

# Bytes. No file of a test is larger, but some of the system are.
LARGE = 1 << 26


def paths(top: str, without: list[str]) -> Iterator[str]:
    """Everything below a directory of one file system, without what Python leaves."""
    device = os.lstat(top).st_dev
    for directory, directories, files in os.walk(top):
        inside = [os.path.join(directory, name) for name in directories if name != "__pycache__"]
        kept = [path for path in inside if path not in without and device_of(path) == device]
        directories[:] = [os.path.basename(path) for path in kept]
        yield from (os.path.join(directory, name) for name in (*directories, *files))


def device_of(path: str) -> int | None:
    """None for what is gone by now."""
    with contextlib.suppress(FileNotFoundError):
        return os.lstat(path).st_dev
    return None


def look(path: str) -> list | None:
    with contextlib.suppress(FileNotFoundError):
        info = os.lstat(path)
        found = [stat.filemode(info.st_mode), info.st_uid, info.st_gid]
        if stat.S_ISLNK(info.st_mode):
            return [*found, os.readlink(path)]
        if not stat.S_ISREG(info.st_mode):
            return found
        if not path.startswith("/etc/"):
            return [*found, info.st_size, info.st_mtime_ns]
        # Whoever gave it away for a moment has left a trace in the time of its last change.
        with open(path, "rb") as file:
            return [*found, info.st_ctime_ns, hashlib.sha256(file.read()).hexdigest()]
    return None


def holders(secrets: list[str], tops: list[str]) -> list[str]:
    """The files that hold a secret and are not where it belongs."""
    contents = []
    for path in secrets:
        with open(path, "rb") as file:
            contents.append(file.read().strip())
    found = []
    for path in (path for top in tops for path in paths(top, secrets)):
        with contextlib.suppress(FileNotFoundError):
            info = os.lstat(path)
            if path not in secrets and stat.S_ISREG(info.st_mode) and info.st_size < LARGE:
                with open(path, "rb") as file:
                    data = file.read()
                found += [path for content in contents if content in data]
    return found


def is_roots(seen: list | None) -> bool:
    """Whether nobody else may write to what was seen, or it is gone."""
    return seen is None or seen[1:3] == [0, 0] and (seen[0][0] == "l" or seen[0][5] == seen[0][8] == "-")


def main() -> dict:
    settings = json.loads(sys.argv[1])
    now = {path: look(path) for path in paths("/", settings["without"])}
    if not os.path.exists(settings["note"]):
        with open(settings["note"], "w", encoding="utf-8", errors="surrogateescape") as file:
            json.dump(now, file)
        return {"noted": len(now)}
    with open(settings["note"], encoding="utf-8", errors="surrogateescape") as file:
        before = json.load(file)
    expected = re.compile("|".join(settings["expected"]))
    changed = sorted(
        f"{path}: {before.get(path)} -> {now.get(path)}"
        for path in {**before, **now}
        if before.get(path) != now.get(path)
        and not (expected.match(path) and (is_roots(now.get(path)) or not path.startswith("/etc/")))
    )
    return {"changed": changed, "holders": holders(settings["secrets"], settings["readable"])}


print(json.dumps(main()))
