# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replace the name of a socket while systemd restarts it: race.py USER SOCKET SOCKET_UNIT TARGET

Restarts the unit 25 times while the application's user tries to replace the socket with a link to a file of root, or to
create a directory at its path. Prints the numbers of replacements and of failed restarts, and whether the file changed.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import subprocess
import sys

RESTARTS = 25


def replace_socket(path: str, target: str, aside: str) -> None:
    with contextlib.suppress(OSError):
        os.rename(path, aside)
        os.symlink(target, path)
    with contextlib.suppress(OSError):
        os.mkdir(path)
    for remove in (os.rmdir, os.unlink):
        with contextlib.suppress(OSError):
            remove(path)


def attack(user: str, path: str, target: str) -> int:
    child = os.fork()
    if child == 0:
        account = pwd.getpwnam(user)
        os.setgroups(os.getgrouplist(user, account.pw_gid))
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
        while True:
            replace_socket(path, target, f"{path}.aside")
    return child


def main() -> dict:
    user, path, unit, target = sys.argv[1:]
    before, failed, foreign = os.stat(target), 0, 0
    attacker = attack(user, path, target)
    try:
        for _restart in range(RESTARTS):
            subprocess.run(["systemctl", "reset-failed", unit], check=False, capture_output=True)
            done = subprocess.run(["systemctl", "restart", unit], check=False, capture_output=True, timeout=60)
            failed += done.returncode != 0
            with contextlib.suppress(FileNotFoundError):
                foreign += os.lstat(path).st_uid != 0
    finally:
        os.kill(attacker, signal.SIGKILL)
        os.waitpid(attacker, 0)
    after = os.stat(target)
    changed = [name for name in ("st_uid", "st_gid", "st_mode") if getattr(before, name) != getattr(after, name)]
    return {"failed": failed, "foreign": foreign, "changed": changed}


print(json.dumps(main()))
