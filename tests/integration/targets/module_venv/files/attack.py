# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The build backend of a hostile package: it tries what must not work, and packs what came of it into its wheel."""

from __future__ import annotations

import base64
import contextlib
import glob
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile

# What a build must neither read nor write; the test's own directories come by the file beside this one.
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "targets.json"), encoding="utf-8") as file:
    TARGETS = json.load(file)


def attempt(found, name, work):
    """Note that something worked."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if work():
            found.append(name)


def read(path):
    with open(path, "rb") as stream:
        stream.read(1)
    return True


def write(path):
    with open(path, "wb") as stream:
        stream.write(b"* * * * * root id\n")
    return True


def call(*command):
    return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0


def connect(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    return True


def set_user_id(path):
    shutil.copy("/bin/true", path)
    os.chmod(path, 0o4755)
    return os.stat(path).st_mode & 0o4000


def environments():
    """The environments of the other users' processes."""
    return [path for path in glob.glob("/proc/[0-9]*/environ") if os.stat(path).st_uid != os.getuid() and read(path)]


def runs_programs(directory):
    shutil.copy("/bin/true", os.path.join(directory, "program"))
    return call(os.path.join(directory, "program"))


def everything():
    found = []
    for path in TARGETS["read"]:
        attempt(found, f"read {path}", lambda path=path: os.listdir(path) if os.path.isdir(path) else read(path))
    for path in TARGETS["write"]:
        attempt(found, f"write {path}", lambda path=path: write(path))
        attempt(found, f"link {path}", lambda path=path: os.link(path, os.path.join(sys.prefix, "linked")) or True)
        attempt(found, f"chmod {path}", lambda path=path: os.chmod(path, 0o777) or True)
    for path in ("/run/dbus/system_bus_socket", "/run/systemd/private", *TARGETS["connect"]):
        attempt(found, f"connect {path}", lambda path=path: connect(path))
    attempt(found, "become root", lambda: os.setuid(0) or True)
    attempt(found, "a set-user-id file", lambda: set_user_id(os.path.join(os.environ["TMPDIR"], "suid")))
    attempt(found, "a namespace", lambda: call("unshare", "--user", "--map-root-user", "true"))
    attempt(found, "systemctl", lambda: call("systemctl", "start", "basic.target"))
    attempt(found, "systemd-run", lambda: call("systemd-run", "true"))
    attempt(found, "a signal to init", lambda: os.kill(1, 0) or True)
    attempt(found, "environments of others", environments)
    # Shared memory is no file of the build; it must be gone afterwards.
    write("/dev/shm/attack")
    # Left running, and writing to what the build has made.
    command = f"trap '' TERM HUP; exec 1>&- 2>&-; sleep {TARGETS['sleep']} & wait"
    subprocess.Popen(["sh", "-c", command], start_new_session=True)
    return found


def build_wheel(directory, *_arguments, **_options):
    found = everything()
    print("the hostile package was run", file=sys.stderr)
    info = "attack-1.0.dist-info"
    temporary = tempfile.gettempdir()
    told = {"found": found, "user": os.getuid(), "temporary": temporary, "runs": runs_programs(temporary)}
    files = {
        "attack_found.json": json.dumps(told),
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: attack\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: attack\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},"
        for name, text in files.items()
    ]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,"]) + "\n"
    with zipfile.ZipFile(os.path.join(directory, "attack-1.0-py3-none-any.whl"), "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return "attack-1.0-py3-none-any.whl"
