"""Print the state of an application and its host as JSON: look.py ROOT SERVICE URL."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import pwd
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path


def fetch_page(path: str) -> bytes | None:
    """Return the body of a page, or None after an error."""
    try:
        with urllib.request.urlopen(URL + path, timeout=60) as response:
            return response.read()
    except urllib.error.HTTPError:
        return None


def compute_digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read_file(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def read_process() -> dict:
    """Return the PID, the working directory and the virtual environment of the service's main process."""
    result = subprocess.run(
        ["systemctl", "show", SERVICE, "--property=MainPID,ActiveState"], capture_output=True, text=True, check=True
    )
    unit = dict(line.split("=", 1) for line in result.stdout.splitlines())
    found = {"state": unit["ActiveState"], "pid": int(unit["MainPID"])}
    if found["pid"]:
        # In a container, root may lack the permission to read other users' processes.
        place = os.stat(f"/proc/{found['pid']}")
        owner = {"user": place.st_uid, "group": place.st_gid, "extra_groups": []}
        readlink = ["readlink", f"/proc/{found['pid']}/cwd"]
        found["cwd"] = subprocess.run(readlink, check=False, capture_output=True, text=True, **owner).stdout.strip()
        parents = [path.read_text().rpartition(")")[2].split()[1] for path in Path("/proc").glob("[0-9]*/stat")]
        found["workers"] = parents.count(unit["MainPID"])
        found["user"] = pwd.getpwuid(place.st_uid).pw_name
    return found


def list_packages(prefix: str) -> dict[str, str]:
    """Return the names and versions of the packages in a virtual environment."""
    found = glob.glob(f"{prefix}/lib/python*/site-packages/*.dist-info")
    return dict(os.path.basename(path)[: -len(".dist-info")].lower().split("-", 1) for path in found)


def read_data() -> dict:
    """Return the data, which no deploy may change."""
    shared, env = ROOT / "shared", ROOT / "shared/.env"
    found = {
        "env": [env.stat().st_uid, env.stat().st_gid, oct(env.stat().st_mode)],
        "media": {path.name: compute_digest(path.read_bytes()) for path in sorted((shared / "media").iterdir())},
        "logs": {path.name: path.stat().st_ino for path in sorted((shared / "logs").iterdir())},
        "rows": [],
    }
    database = shared / "instance/demo.sqlite3"
    if database.exists():
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        found["rows"] = connection.execute("SELECT * FROM entry ORDER BY id").fetchall()
        connection.close()
    return found


def list_directory(path: Path) -> list[str]:
    return sorted(os.listdir(path)) if path.is_dir() else []


def main() -> dict:
    state = ROOT / ".deploy"
    records = {path.stem: json.loads(path.read_bytes()) for path in sorted(state.glob("releases/*.json"))}
    log, found = read_file(state / "activations.log"), read_process()
    live = os.path.islink(ROOT / "app") and found["state"] == "active"
    info = json.loads(fetch_page("/info") or "null") if live else None
    return {
        "app": os.readlink(ROOT / "app") if os.path.islink(ROOT / "app") else None,
        "next": os.path.lexists(ROOT / "next"),
        "candidate": subprocess.run(
            ["systemctl", "is-active", f"{SERVICE}-next"], check=False, capture_output=True
        ).returncode
        == 0,
        "locked": os.path.lexists(state / "lock"),
        "venv": os.path.realpath(ROOT / "venv"),
        "process": found,
        "info": info,
        "page": (fetch_page("/") or b"").decode() if live else None,
        "packages": list_packages(info["prefix"]) if info else {},
        "static": [
            name for name in list_directory(ROOT / "shared/static") if fetch_page(f"/static/{name}") is not None
        ],
        "css": (fetch_page("/static/demo.css") or b"").decode().rpartition("/*")[2].strip(" */\n"),
        "build": (fetch_page("/static/build.txt") or b"").decode().split(),
        "data": read_data(),
        "env": compute_digest((ROOT / "shared/.env").read_bytes()),
        "migrations": (read_file(ROOT / "shared/instance/migrations") or b"").decode().splitlines(),
        "releases": list_directory(ROOT / "releases"),
        "venvs": [name for name in list_directory(ROOT / "venvs") if not name.startswith(".")],
        "states": {name: record["state"] for name, record in records.items()},
        "reasons": {name: record.get("reason", "") for name, record in records.items()},
        "story": [
            f"{entry['action']} {entry['before'] or '-'} {entry['release']}"
            for entry in map(json.loads, (log or b"").decode().splitlines())
        ],
    }


ROOT, SERVICE, URL = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
print(json.dumps(main()))
