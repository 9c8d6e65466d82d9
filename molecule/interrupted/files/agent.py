# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the host: a visitor who asks all the time, and somebody who watches the files and strikes at a moment.

    agent.py <application> <its directory> <port>

Reads one command as JSON per line, and answers each with one line of JSON.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

APP, ROOT, PORT = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
COMPLETE = ".complete"


class Visitor(threading.Thread):
    """Asks through Nginx, one request after the other, and notes what was answered."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.answered, self.faults, self.worst = 0, [], 0.0
        self.seen: dict[str, int] = {}

    def run(self) -> None:
        while True:
            started = time.monotonic()
            answer, release = ask()
            if answer == 200:
                self.answered += 1
                self.worst = max(self.worst, time.monotonic() - started)
                self.seen[release] = self.seen.get(release, 0) + 1
            else:
                self.faults.append(f"{time.strftime('%H:%M:%S')} {answer}")
            time.sleep(0.05)


def ask() -> tuple[int | str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    try:
        connection.request("GET", "/health", headers={"Host": "localhost"})
        response = connection.getresponse()
        response.read()
        served = [response.getheader(name) for name in ("X-Demo-Release", "X-Demo-Settings", "X-Demo-Site")]
        return response.status, " ".join(filter(None, served))
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}", ""
    finally:
        connection.close()


def link(path: Path) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path)) if path.is_dir() else []


def unit(name: str) -> dict[str, str]:
    said = subprocess.run(
        ["systemctl", "show", name, "--property=ActiveState,SubState,MainPID"],
        check=False,
        capture_output=True,
        text=True,
    )
    return dict(line.split("=", 1) for line in said.stdout.splitlines())


def directory_of(pid: str) -> str | None:
    """Where a process runs."""
    return as_owner(pid, "readlink", f"/proc/{pid}/cwd").strip() or None


def as_owner(pid: str, *command: str) -> str:
    """What a command prints. In a container, root may not look at a process, but the process's own user may."""
    if pid in ("", "0"):
        return ""
    try:
        owner = os.stat(f"/proc/{pid}")
    except OSError:
        return ""
    user = ["setpriv", f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups"]
    return subprocess.run([*user, *command], check=False, capture_output=True, text=True).stdout


def mode_of(pid: str) -> str | None:
    """The variable MODE of a process."""
    found = re.search(r"(?:^|\0)MODE=([^\0]*)", as_owner(pid, "cat", f"/proc/{pid}/environ"))
    return found and found[1]


def modules() -> list[int]:
    """Modules that run: interpreters that read their program from a pipe, and what transaction.py has started."""
    found = [pid for controller in controllers() for pid in children(controller)]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path("/proc", pid, "cmdline").read_bytes().split(b"\0")[:-1]
            state = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if len(command) == 1 and re.search(rb"/python3[.\d]*$", command[0]) and state != "Z":
            found.append(int(pid))
    return found


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def controllers() -> list[int]:
    """The processes of transaction.py that play a controller, which are nobody's module."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if b"transaction.py" in Path("/proc", pid, "cmdline").read_bytes()[:200]:
                found.append(int(pid))
    return [pid for pid in found if int(status(pid)["PPid"]) not in found]


def status(pid: int) -> dict[str, str]:
    try:
        return dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    except OSError:
        return {"PPid": "0"}


def complete(environment: Path) -> bool:
    return (environment / COMPLETE).is_file()


def state() -> dict:
    """What an administrator would find."""
    release = (ROOT / "app").resolve()
    main, candidate = unit(f"{APP}.service"), unit(f"{APP}-next.service")
    log = []
    if (ROOT / ".deploy/activations.log").exists():
        log = [json.loads(line)["release"] for line in (ROOT / ".deploy/activations.log").read_text().splitlines()]
    records = {path.stem: json.loads(path.read_text()) for path in (ROOT / ".deploy/releases").glob("*.json")}
    return {
        "app": link(ROOT / "app"),
        "live": release.name,
        # What a visitor relies on: the code, and the environment that it runs in.
        "complete": (release / "wsgi.py").is_file() and complete((release / ".venv").resolve()),
        "main": main["ActiveState"],
        "pid": main["MainPID"],
        "runs": directory_of(main["MainPID"]),
        "mode": mode_of(main["MainPID"]),
        "candidate": candidate["ActiveState"],
        "next": link(ROOT / "next"),
        "lock": (ROOT / ".deploy/lock").exists(),
        "log": log,
        "states": {name: record["state"] for name, record in records.items()},
        "modules": modules(),
        "leftovers": leftovers(records),
    }


def leftovers(records: dict[str, dict]) -> list[str]:
    """Everything that has no place on a host on which nothing is going on."""
    known = {"app", "venv", "venvs", "releases", "shared", "run", "gunicorn.conf.py", ".deploy"}
    found = [str(ROOT / name) for name in names(ROOT) if name not in known]
    releases = names(ROOT / "releases")
    found += [str(ROOT / "releases" / name) for name in releases if name.startswith(".") or name not in records]
    wanted = {(path / ".venv").resolve().name for path in (ROOT / "releases").iterdir()}
    for path in sorted((ROOT / "venvs").iterdir()):
        if path.name not in (".lock", ".uv") and not (path.name in wanted and complete(path)):
            found.append(str(path))
    state_files = {"activations.log", "environments", "guard", "process.json", "releases", "rollout.json", "settings"}
    # What of an old deployment has made way.
    state_files |= {"adopted", "adoption.json"}
    found += [str(ROOT / ".deploy" / name) for name in names(ROOT / ".deploy") if name not in state_files]
    found += [str(ROOT / "run" / name) for name in names(ROOT / "run") if name != "gunicorn.sock"]
    units = Path("/run/systemd/system")
    found += [str(units / name) for name in names(units) if name.startswith(f"{APP}-")]
    for name in names(ROOT / ".deploy/releases"):
        stem = name.removesuffix(".json")
        if name.startswith(".") or (stem not in releases and records[stem]["state"] != "bad"):
            found.append(str(ROOT / ".deploy/releases" / name))
    settings = {"previous", *(f"{name}.json" for name in releases)}
    found += [
        str(ROOT / ".deploy/settings" / name) for name in names(ROOT / ".deploy/settings") if name not in settings
    ]
    wishes = [name for name in names(ROOT / ".deploy/environments") if name not in releases]
    found += [str(ROOT / ".deploy/environments" / name) for name in wishes]
    for below, _directories, files in os.walk(ROOT / "shared"):
        found += [os.path.join(below, name) for name in files if name.startswith(".") and name != ".env"]
    sites = Path("/etc/nginx/sites-available")
    found += [str(sites / name) for name in names(sites) if name.startswith(".")]
    found += [str(path) for path in (Path(f"/run/{APP}-next.env"),) if path.exists()]
    return found


class Transaction:
    """Modules that are run on this host, and can be interrupted."""

    process: subprocess.Popen | None = None
    children: list[int] = []

    @classmethod
    def begin(cls, program: str, modules: list) -> dict:
        # pylint: disable=consider-using-with; it ends in another call.
        cls.process = subprocess.Popen(
            ["python3", program, json.dumps(modules)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        cls.children = []
        return {}

    @classmethod
    def interrupt(cls, how: str) -> dict:
        """Kill the module, the controller, or both; whether there was anything to kill."""
        cls.children = children(cls.process.pid)
        running = cls.process.poll() is None
        if how in ("controller", "both"):
            cls.process.kill()
        for pid in cls.children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGHUP if how == "controller" else signal.SIGKILL)
        return {"running": running}

    @classmethod
    def finish(cls) -> dict:
        """Wait for the end of all of it."""
        said = cls.process.communicate()[0]
        return {"code": cls.process.returncode, "said": said}


MOMENTS_OF_SETTINGS = ("staged", "kept", "pinned", "placed")
MOMENTS_OF_PROCESSES = ("migrating", "starting", "ready", "restarting", "restarted")


def moment(name: str, before: dict, release: str, mode: str) -> bool:
    """Return whether a deploy of the release has reached a point that can be observed from outside."""
    if name in MOMENTS_OF_SETTINGS:
        return moment_of_settings(name, mode)
    pointed = link(ROOT / "next") is not None
    swapped = (link(ROOT / "app") or "").endswith("/" + release)
    if name in MOMENTS_OF_PROCESSES:
        return moment_of_processes(name, before, release, pointed, swapped)
    if name == "unpacking":
        return any(entry.startswith(".staging-") for entry in names(ROOT / "releases"))
    if name == "building":
        return any(not complete(ROOT / "venvs" / entry) for entry in names(ROOT / "venvs") if entry[0] != ".")
    if name == "pointed":
        return pointed
    if name == "swapped":
        return swapped
    if name == "leaving":
        return swapped and not pointed
    if name == "pruning":
        return any(entry.startswith(".removed-") for entry in names(ROOT / "releases") + names(ROOT / "venvs"))
    raise ValueError(name)


def moment_of_settings(name: str, mode: str) -> bool:
    settings = ROOT / ".deploy/settings"
    if name == "staged":
        return any(entry.startswith("next-") for entry in names(settings))
    if not (settings / "former").exists():
        return False
    if name == "pinned":
        return str(settings) in Path(f"/etc/systemd/system/{APP}.service").read_text()
    return name == "kept" or f'MODE="{mode}"' in (ROOT / "shared/.env").read_text()


def moment_of_processes(name: str, before: dict, release: str, pointed: bool, swapped: bool) -> bool:
    """Query systemd only if the moment is near, because each query starts a process."""
    if name == "migrating":
        return release in names(ROOT / "releases") and unit(f"{APP}-migrate.service")["ActiveState"] == "activating"
    if name in ("starting", "ready"):
        state_of_candidate = "activating" if name == "starting" else "active"
        return pointed and unit(f"{APP}-next.service")["ActiveState"] == state_of_candidate
    main = unit(f"{APP}.service") if swapped else {}
    if name == "restarted" and main.get("ActiveState") != "active":
        return False
    return swapped and main["MainPID"] != before["pid"]


def strike(name: str, release: str, how: str, seconds: float, mode: str = "") -> dict:
    """Wait for the moment, then stop (STOP) or kill (KILL) the module that is at work."""
    before, until = state(), time.monotonic() + seconds
    while time.monotonic() < until:
        if moment(name, before, release, mode or release):
            struck, controlled = modules(), controllers()
            for pid in struck:
                os.kill(pid, getattr(signal, f"SIG{how}"))
            # Settings stay staged, so that the next module will do, too.
            if struck or name != "staged":
                return {"struck": struck, "controllers": controlled}
        time.sleep(0.001)
    return {"struck": [], "late": True}


def fill(leave: int) -> dict:
    """Leave so many bytes on the application's file system."""
    found = os.statvfs(ROOT)
    with open(ROOT / "shared/media/ballast", "wb") as file:
        file.write(b"\0" * (found.f_bavail * found.f_frsize - leave))
    return {"free": os.statvfs(ROOT).f_bavail * found.f_frsize}


def journal() -> dict:
    units = [f"--unit={APP}.socket", f"--unit={APP}.service", f"--unit={APP}-next.service", "--unit=nginx.service"]
    commands = [
        ["journalctl", "--no-pager", "--lines=150", *units],
        ["tail", "--lines=20", "/var/log/nginx/error.log"],
        ["ls", "-lA", str(ROOT), str(ROOT / "venvs"), str(ROOT / "releases"), str(ROOT / ".deploy")],
    ]
    said = [subprocess.run(command, check=False, capture_output=True, text=True).stdout for command in commands]
    return {"text": "\n".join(said)}


def main() -> None:
    visitor = Visitor()
    visitor.start()
    for line in sys.stdin:
        command = json.loads(line)
        do = command.pop("do")
        if do == "visits":
            answer = {key: getattr(visitor, key) for key in ("answered", "faults", "worst", "seen")}
            visitor.seen = {}
        elif do == "ask":
            answer = {"answers": [ask() for __ in range(command["times"])]}
        elif do == "signal":
            for pid in command["pids"]:
                os.kill(pid, getattr(signal, f"SIG{command['how']}"))
            answer = {}
        elif do in ("begin", "interrupt", "finish"):
            answer = getattr(Transaction, do)(**command)
        elif do == "free":
            os.unlink(ROOT / "shared/media/ballast")
            answer = {}
        else:
            answer = {"state": state, "strike": strike, "fill": fill, "journal": journal}[do](**command)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
