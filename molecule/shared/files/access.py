# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Try the operations of a table as each user: access.py '{"users": [...], "rows": ["operation path", ...]}'

Prints the users that succeeded, for each row. A path that root cannot find is an error.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import socket
import sys


def read(path: str) -> None:
    with open(path, "rb") as file:
        file.read(1)


def write(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY))


def create(path: str) -> None:
    name = os.path.join(path, f".access-{os.getpid()}")
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    os.unlink(name)


def connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(path)


def lock(path: str) -> None:
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def replace(path: str) -> None:
    aside = f"{path}.{os.getpid()}"
    os.rename(path, aside)
    os.rename(aside, path)


OPERATIONS = {
    "read": read,
    "list": os.listdir,
    "write": write,
    "create": create,
    "connect": connect,
    "lock": lock,
    "replace": replace,
}


def succeeds(user: str, operation: str, path: str) -> bool:
    child = os.fork()
    if child == 0:
        try:
            account = pwd.getpwnam(user)
            os.setgroups(os.getgrouplist(user, account.pw_gid))
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            OPERATIONS[operation](path)
        except PermissionError:
            os._exit(1)
        except BaseException as error:
            print(f"{user} {operation} {path}: {error!r}", file=sys.stderr)
            os._exit(2)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code > 1:
        sys.exit(f"{operation} {path} could not be tried as {user}")
    return code == 0


if __name__ == "__main__":
    table = json.loads(sys.argv[1])
    rows = [row.split() for row in table["rows"]]
    for _operation, path in rows:
        os.lstat(path)
    found = [[user for user in table["users"] if succeeds(user, *row)] for row in rows]
    print(json.dumps(found))
