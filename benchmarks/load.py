# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count failed and slow requests during deploys, for a guide's plain unit and both handovers of this collection.

Each method gets the same load (benchmarks/load/client.py) on the same host, and three releases: a good one, one that
fails to import, and one that answers 500 on its health path. Writes the table to benchmarks/README.md.

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

import docker_hosts
from build import SUITES, build_images, image
from environment import ROOT, docker, fail, print_progress, tool_environment
from page import format_table, read_ansible_versions, replace_section, today
from setup import setup

README = ROOT / "benchmarks/README.md"
CLIENT = ROOT / "benchmarks/load/client.py"
DEMO = ROOT / "molecule/shared/files/demo"
HOME = "/srv/myapp"
WORKERS, THREADS = 2, 16

# The unit of the guide. Gunicorn binds its own socket.
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
# Seconds until an operator who deploys by hand notices that the site is down.
NOTICE_SECONDS = 5
CONNECTIONS = 4096

RELEASES = {
    "deploy": "deploy of a good release",
    "import": "release that fails to import",
    "health": "release that answers 500 on its health path",
}
METHODS = {
    "guide": "the guide's plain unit, `ln -sfn` and `systemctl restart`",
    "restart": "`gunicorn_systemd_handover: restart`",
    "connections": f"the same with `worker_connections {CONNECTIONS}` in Nginx (Debian has 768)",
    "overlap": "`gunicorn_systemd_handover: overlap` (the default)",
}


class LoadHost:
    """A container with the application, and its inventory."""

    def __init__(self, platform: str, work: Path) -> None:
        self.name, self.work = f"flaskops-benchmark-load-{os.getpid()}", work
        docker_hosts.start(image(platform), f"--name={self.name}", f"--hostname={self.name}")
        self.inventory = work / "inventory.json"

    def write_inventory(self, handover: str) -> None:
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
        """Run a playbook with low priority, because a real controller does not take CPU time of the host."""
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

    def run_script(self, script: str) -> str:
        return docker("exec", self.name, "sh", "-euc", script)

    def read_info(self) -> dict:
        return json.loads(self.run_script("python3 -c '" + READ_INFO + "'"))


READ_INFO = 'import urllib.request as r; print(r.urlopen("http://127.0.0.1/info").read().decode())'


def make_release(kind: str, path: Path) -> Path:
    """Create a release of the demo application with unique code. All releases have the same dependencies."""
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


def deploy_with_playbook(host: LoadHost, kind: str, name: str) -> None:
    directory = make_release(kind, host.work / name)
    host.play("deploy", expected=0 if kind == "deploy" else 2, release_name=name, release_directory=str(directory))


def deploy_by_hand(host: LoadHost, kind: str, name: str) -> None:
    """Deploy as in the guide: change the link and restart. If the release is broken, restore the link."""
    directory = make_release(kind, host.work / name)
    docker("cp", str(directory), f"{host.name}:{HOME}/releases/{name}")
    host.run_script(f"cd {HOME}; chown -R root:root releases/{name}; cp -P app/.venv releases/{name}/.venv")
    activate = "cd {}; ln -sfn releases/{} app; systemctl restart myapp"
    before = host.read_info()["release"]
    # It returns 0 for every release.
    host.run_script(activate.format(HOME, name))
    if kind != "deploy":
        time.sleep(NOTICE_SECONDS)
        host.run_script(activate.format(HOME, before))


def prepare_guide(host: LoadHost) -> None:
    host.write_inventory("restart")
    host.play("site")
    (host.work / "unit").write_text(GUIDE_UNIT)
    host.run_script(f"systemctl disable --now myapp.socket myapp.service; rm -f {HOME}/run/gunicorn.sock")
    docker("cp", str(host.work / "unit"), f"{host.name}:/etc/systemd/system/myapp.service")
    host.run_script("systemctl daemon-reload; systemctl enable --now myapp")
    for _attempt in range(50):
        with contextlib.suppress(SystemExit):
            return host.read_info() and None
        time.sleep(0.2)


def prepare_restart(host: LoadHost) -> None:
    host.write_inventory("restart")
    host.play("site")


def prepare_connections(host: LoadHost) -> None:
    prepare_restart(host)
    host.run_script(f"sed -i 's/worker_connections [0-9]*;/worker_connections {CONNECTIONS};/' /etc/nginx/nginx.conf")
    # Two files for each request: towards the client and towards the application.
    host.run_script(
        f"echo 'worker_rlimit_nofile {4 * CONNECTIONS};' >> /etc/nginx/nginx.conf; nginx -qt; systemctl reload nginx"
    )


def prepare_overlap(host: LoadHost) -> None:
    host.write_inventory("overlap")
    host.play("site")


# In the order in which they are applied to the host.
PREPARATIONS: dict[str, Callable[[LoadHost], None]] = {
    "overlap": prepare_overlap,
    "restart": prepare_restart,
    "connections": prepare_connections,
    "guide": prepare_guide,
}


@contextlib.contextmanager
def generate_load(host: LoadHost, rate: float) -> Iterator[tuple[Callable[[str], None], dict]]:
    """Generate load on the host. Yields a function that begins a phase, and a dictionary for the final report."""
    docker("cp", str(CLIENT), f"{host.name}:/root/client.py")
    host.run_script("rm -f /run/load.marks")
    command = ["docker", "exec", host.name, "python3", "/root/client.py", f"--rate={rate}", "--seconds=300"]
    client, report = subprocess.Popen(command, stdout=subprocess.PIPE), {}

    def mark(name: str) -> None:
        host.run_script(f"echo {name} >> /run/load.marks")

    try:
        yield mark, report
    finally:
        mark("end")
        report.update(json.loads(client.communicate(timeout=120)[0]))


def measure(host: LoadHost, way: str, rate: float, normal: float) -> dict:
    """Measure a method of deploying under load. Return the client's report."""
    print_progress(f"{way}: preparing …")
    PREPARATIONS[way](host)
    deploy = deploy_by_hand if way == "guide" else deploy_with_playbook
    with generate_load(host, rate) as (mark, report):
        time.sleep(normal)
        for kind in RELEASES:
            print_progress(f"{way}: {RELEASES[kind]} …")
            mark(kind)
            deploy(host, kind, f"{way}-{kind}")
            # Wait for the last requests to the old process, and for queued requests.
            time.sleep(4)
    for kind in RELEASES:
        if f"{way}-deploy" not in report["phases"][kind]["releases"]:
            fail(f"{way}: the good release did not answer during '{kind}': {json.dumps(report)}")
    return report


def compute_latency_limit(report: dict) -> float:
    """Return the highest acceptable latency in milliseconds. It includes the delay of the client itself."""
    return 3 * report["phases"]["normal"]["p99"] + 50 + report["late"]


def format_cell(part: dict) -> str:
    worst = "none answered" if part["worst"] is None else f"worst {part['worst']:,.0f} ms"
    failing = f", over {part['failing']} s" if part["failed"] else ""
    return f"{part['failed']:,} of {part['total']:,} failed{failing}; {worst}"


def format_results(reports: dict[str, dict]) -> str:
    head = ["how", "normal p99", *RELEASES.values()]
    rows = [
        [
            METHODS[way],
            f"{report['phases']['normal']['p99']:,.0f} ms",
            *(format_cell(report["phases"][k]) for k in RELEASES),
        ]
        for way, report in reports.items()
    ]
    return format_table([head, *rows])


def describe_machine(host: LoadHost, rate: float, load_before: float) -> str:
    system = host.run_script(". /etc/os-release; echo $PRETTY_NAME")
    nginx = host.run_script("nginx -v 2>&1").rpartition("/")[2]
    versions = host.read_info()["versions"]
    return (
        f"{today()}, {rate:g} requests/s, {os.cpu_count()} processors for client, Nginx, "
        f"Gunicorn and controller together (load average before: {load_before:.1f}). {system} in a container, Nginx "
        f"{nginx}, Gunicorn {versions['gunicorn']} with {WORKERS} workers of {THREADS} threads, "
        f"Python {versions['python']}, ansible-core {read_ansible_versions()[0]}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=300, help="requests per second (default: 300)")
    parser.add_argument(
        "--normal", type=float, default=10, help="seconds to measure before the first deploy (default: 10)"
    )
    parser.add_argument("--platform", default="debian13", choices=SUITES, help="default: debian13")
    parser.add_argument("--way", action="append", choices=PREPARATIONS, help="only these ways of deploying")
    parser.add_argument("--dry-run", action="store_true", help="print the table, don't write it")
    options = parser.parse_args()
    # Remove the container on SIGTERM, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    load_before = os.getloadavg()[0]
    setup()
    build_images(options.platform)
    host = None
    with tempfile.TemporaryDirectory(prefix="load-") as work:
        try:
            host = LoadHost(options.platform, Path(work))
            done = {
                w: measure(host, w, options.rate, options.normal)
                for w in PREPARATIONS
                if w in (options.way or PREPARATIONS)
            }
            results = format_results({way: done[way] for way in METHODS if way in done})
            text = f"{describe_machine(host, options.rate, load_before)}\n\n{results}"
        finally:
            if host:
                docker_hosts.remove(host.name)
    print(text)
    for way, report in done.items():
        for kind, part in report["phases"].items():
            if part["failed"]:
                print(f"{way}, {kind}: {json.dumps(part['failures'])}", file=sys.stderr)
            if kind in RELEASES and part["worst"] and part["worst"] > compute_latency_limit(report):
                print(
                    f"{way}, {kind}: a quick request took {part['worst']:,.0f} ms; 3 times the normal p99, 50 ms and "
                    f"the delay of the client itself are {compute_latency_limit(report):,.0f} ms.",
                    file=sys.stderr,
                )
    if not options.dry_run:
        README.write_text(replace_section(README.read_text(), "load", text))


if __name__ == "__main__":
    main()
