# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count what visitors notice of a deploy: the guide's plain unit beside both handovers of this collection, in one run.

Each of them gets the same load (benchmarks/load/client.py) on the same host, and three releases: a good one, one that
fails to import, and one that answers 500 on its health path. Writes the table into benchmarks/README.md.

    python3 benchmarks/load.py [--rate 300] [--platform debian13] [--dry-run]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "molecule/shared/image"))

import target
from build import SUITES, build_images, image
from environment import ROOT, docker, fail, say, tool_environment
from page import ansible_versions, between, markdown, today
from setup import setup

README = ROOT / "benchmarks/README.md"
CLIENT = ROOT / "benchmarks/load/client.py"
DEMO = ROOT / "molecule/shared/files/demo"
HOME = "/srv/myapp"
WORKERS, THREADS = 2, 16

# What the guide has: Gunicorn binds its own socket.
GUIDE_UNIT = f"""\
[Unit]
Description=Gunicorn instance to serve myapp
After=network.target

[Service]
User=www-data
Group=www-data
WorkingDirectory={HOME}/app
EnvironmentFile={HOME}/shared/.env
ExecStart={HOME}/venv/bin/gunicorn --workers {WORKERS} --threads {THREADS} --bind unix:{HOME}/run/gunicorn.sock wsgi:app
Restart=always

[Install]
WantedBy=multi-user.target
"""
# Seconds until whoever deployed by hand has seen that the site is down.
NOTICED = 5
CONNECTIONS = 4096

RELEASES = {
    "deploy": "deploy of a good release",
    "import": "release that fails to import",
    "health": "release that answers 500 on its health path",
}
WAYS = {
    "guide": "the guide's plain unit, `ln -sfn` and `systemctl restart`",
    "restart": "`gunicorn_systemd_handover: restart`",
    "connections": f"the same with `worker_connections {CONNECTIONS}` in Nginx (Debian has 768)",
    "overlap": "`gunicorn_systemd_handover: overlap` (the default)",
}


class Host:
    """A container with the application in it, and the controller's way to it."""

    def __init__(self, platform: str, work: Path) -> None:
        self.name, self.work = f"flaskops-benchmark-load-{os.getpid()}", work
        target.start(image(platform), f"--name={self.name}", f"--hostname={self.name}")
        self.inventory = work / "inventory.json"

    def describe(self, handover: str) -> None:
        application = {
            "ansible_connection": "community.docker.docker",
            "ansible_user": "root",
            "flask_app_name": "myapp",
            "flask_app_user": "www-data",
            "flask_app_env": {"SECRET_KEY": "a secret"},
            "gunicorn_systemd_handover": handover,
            "gunicorn_systemd_workers": WORKERS,
            "gunicorn_systemd_threads": THREADS,
            "release_directory": str(DEMO),
            "release_name": "v1",
            "release_health_path": "/health",
            "release_keep": 20,
        }
        self.inventory.write_text(json.dumps({"flask": {"hosts": {self.name: None}, "vars": application}}))

    def play(self, playbook: str, expected: int = 0, **variables: str) -> None:
        """Run a playbook as an operator would. It gives way to the host: a controller is a machine of its own."""
        command = ["nice", "-n", "10", "ansible-playbook", "-i", str(self.inventory), f"flaskops.production.{playbook}"]
        command.append(f"--extra-vars={json.dumps(variables)}")
        environment = tool_environment(
            ANSIBLE_PIPELINING="true",
            ANSIBLE_INJECT_FACT_VARS="false",
            ANSIBLE_PYTHON_INTERPRETER="auto_silent",
            ANSIBLE_NOCOLOR="true",
        )
        done = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True)
        if done.returncode != expected:
            fail(f"{' '.join(command)} returned {done.returncode}, not {expected}:\n{done.stdout}{done.stderr}")

    def sh(self, script: str) -> str:
        return docker("exec", self.name, "sh", "-euc", script)

    def info(self) -> dict:
        return json.loads(self.sh("python3 -c '" + ASK + "'"))


ASK = 'import urllib.request as r; print(r.urlopen("http://127.0.0.1/info").read().decode())'


def make_release(kind: str, path: Path) -> Path:
    """A release out of the demo app: its code differs from that of every other one, its dependencies do not."""
    shutil.copytree(DEMO, path, ignore=shutil.ignore_patterns("__pycache__"))
    page = path / "demo/templates/base.html"
    page.write_text(page.read_text().replace("<footer>Release", f"<footer>{path.name}, release"))
    if kind == "import":
        with open(path / "wsgi.py", "a") as file:
            file.write("\nimport a_module_that_nobody_has\n")
    if kind == "health":
        health = path / "demo/health.py"
        health.write_text(health.read_text().replace("200 if healthy else 503", "500"))
    return path


def by_playbook(host: Host, kind: str, name: str) -> None:
    directory = make_release(kind, host.work / name)
    host.play("deploy", expected=0 if kind == "deploy" else 2, release_name=name, release_directory=str(directory))


def by_hand(host: Host, kind: str, name: str) -> None:
    """The guide's way. The release is in place before; when it is a bad one, that is noticed, and the link put back."""
    directory = make_release(kind, host.work / name)
    docker("cp", str(directory), f"{host.name}:{HOME}/releases/{name}")
    host.sh(f"cd {HOME}; chown -R root:root releases/{name}; cp -P app/.venv releases/{name}/.venv")
    switch = "cd {}; ln -sfn releases/{} app; systemctl restart myapp"
    before = host.info()["release"]
    # It returns 0 for every release.
    host.sh(switch.format(HOME, name))
    if kind != "deploy":
        time.sleep(NOTICED)
        host.sh(switch.format(HOME, before))


def begin_guide(host: Host) -> None:
    host.describe("restart")
    host.play("site")
    (host.work / "unit").write_text(GUIDE_UNIT)
    host.sh(f"systemctl disable --now myapp.socket myapp.service; rm -f {HOME}/run/gunicorn.sock")
    docker("cp", str(host.work / "unit"), f"{host.name}:/etc/systemd/system/myapp.service")
    host.sh("systemctl daemon-reload; systemctl enable --now myapp")
    for _attempt in range(50):
        with contextlib.suppress(SystemExit):
            return host.info() and None
        time.sleep(0.2)


def begin_restart(host: Host) -> None:
    host.describe("restart")
    host.play("site")


def begin_connections(host: Host) -> None:
    begin_restart(host)
    host.sh(f"sed -i 's/worker_connections [0-9]*;/worker_connections {CONNECTIONS};/' /etc/nginx/nginx.conf")
    # Two files for each request: towards the client and towards the application.
    host.sh(
        f"echo 'worker_rlimit_nofile {4 * CONNECTIONS};' >> /etc/nginx/nginx.conf; nginx -qt; systemctl reload nginx"
    )


def begin_overlap(host: Host) -> None:
    host.describe("overlap")
    host.play("site")


# In the order in which one host goes through them.
BEGIN: dict[str, Callable[[Host], None]] = {
    "overlap": begin_overlap,
    "restart": begin_restart,
    "connections": begin_connections,
    "guide": begin_guide,
}


@contextlib.contextmanager
def load(host: Host, rate: float) -> Iterator[tuple[Callable[[str], None], dict]]:
    """A load on the host. Gives a function that begins a phase, and what will hold the report at the end."""
    docker("cp", str(CLIENT), f"{host.name}:/root/client.py")
    host.sh("rm -f /run/load.marks")
    command = ["docker", "exec", host.name, "python3", "/root/client.py", f"--rate={rate}", "--seconds=300"]
    client, report = subprocess.Popen(command, stdout=subprocess.PIPE), {}

    def mark(name: str) -> None:
        host.sh(f"echo {name} >> /run/load.marks")

    try:
        yield mark, report
    finally:
        mark("end")
        report.update(json.loads(client.communicate(timeout=120)[0]))


def measure(host: Host, way: str, rate: float, normal: float) -> dict:
    """One way of deploying under load; the client's report."""
    say(f"{way}: preparing …")
    BEGIN[way](host)
    deploy = by_hand if way == "guide" else by_playbook
    with load(host, rate) as (mark, report):
        time.sleep(normal)
        for kind in RELEASES:
            say(f"{way}: {RELEASES[kind]} …")
            mark(kind)
            deploy(host, kind, f"{way}-{kind}")
            # The last requests to the old process end, and what waited is answered.
            time.sleep(4)
    for kind in RELEASES:
        if f"{way}-deploy" not in report["phases"][kind]["releases"]:
            fail(f"{way}: the good release did not answer during '{kind}': {json.dumps(report)}")
    return report


def limit(report: dict) -> float:
    """The latency up to which nobody notices a change. An answer waits for the client while that does not run."""
    return 3 * report["phases"]["normal"]["p99"] + 50 + report["late"]


def cell(part: dict) -> str:
    worst = "none answered" if part["worst"] is None else f"worst {part['worst']:,.0f} ms"
    failing = f", over {part['failing']} s" if part["failed"] else ""
    return f"{part['failed']:,} of {part['total']:,} failed{failing}; {worst}"


def table(reports: dict[str, dict]) -> str:
    head = ["how", "normal p99", *RELEASES.values()]
    rows = [
        [WAYS[way], f"{report['phases']['normal']['p99']:,.0f} ms", *(cell(report["phases"][k]) for k in RELEASES)]
        for way, report in reports.items()
    ]
    return markdown([head, *rows])


def machine(host: Host, rate: float, load_before: float) -> str:
    system = host.sh(". /etc/os-release; echo $PRETTY_NAME")
    nginx = host.sh("nginx -v 2>&1").rpartition("/")[2]
    versions = host.info()["versions"]
    return (
        f"{today()}, {rate:g} requests/s, {os.cpu_count()} processors for client, Nginx, "
        f"Gunicorn and controller together (load average before: {load_before:.1f}). {system} in a container, Nginx "
        f"{nginx}, Gunicorn {versions['gunicorn']} with {WORKERS} workers of {THREADS} threads, "
        f"Python {versions['python']}, ansible-core {ansible_versions()[0]}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=300, help="requests per second (default: 300)")
    parser.add_argument(
        "--normal", type=float, default=10, help="seconds to measure before anything changes (default: 10)"
    )
    parser.add_argument("--platform", default="debian13", choices=SUITES, help="default: debian13")
    parser.add_argument("--way", action="append", choices=BEGIN, help="only these ways of deploying")
    parser.add_argument("--dry-run", action="store_true", help="print the table, don't write it")
    options = parser.parse_args()
    # However it is stopped, the container goes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    load_before = os.getloadavg()[0]
    setup()
    build_images(options.platform)
    host = None
    with tempfile.TemporaryDirectory(prefix="load-") as work:
        try:
            host = Host(options.platform, Path(work))
            done = {w: measure(host, w, options.rate, options.normal) for w in BEGIN if w in (options.way or BEGIN)}
            text = f"{machine(host, options.rate, load_before)}\n\n{table({w: done[w] for w in WAYS if w in done})}"
        finally:
            if host:
                target.remove(host.name)
    print(text)
    for way, report in done.items():
        for kind, part in report["phases"].items():
            if part["failed"]:
                print(f"{way}, {kind}: {json.dumps(part['failures'])}", file=sys.stderr)
            if kind in RELEASES and part["worst"] and part["worst"] > limit(report):
                print(
                    f"{way}, {kind}: a quick request took {part['worst']:,.0f} ms; 3 times the normal p99, 50 ms and "
                    f"the delay of the client itself are {limit(report):,.0f} ms.",
                    file=sys.stderr,
                )
    if not options.dry_run:
        README.write_text(between(README.read_text(), "load", text))


if __name__ == "__main__":
    main()
