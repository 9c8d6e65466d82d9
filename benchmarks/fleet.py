# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the load of a fleet on its controller, for this collection, stock modules and Ansistrano.

Starts fleets of containers that are reached over SSH. Writes the tables to benchmarks/README.md, the plot to
benchmarks/fleet.svg, and estimates for larger fleets to docs/sizing.md. The figures are stored in .cache/fleet.json.

    python3 benchmarks/fleet.py [--hosts 1,5,10,20] [--first 1] [--runs 3] [--ansistrano ROLES] [--dry-run]
    python3 benchmarks/fleet.py --render .cache/fleet.json [--dry-run]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "molecule/shared/image"))

import docker_hosts
from build import SUITES, build_images, image
from environment import CACHE, ROOT, docker, fail, print_progress, tool_environment
from fleet_plot import draw_plot
from fleet_report import format_report, format_verdicts
from fleet_results import (
    FLOOR,
    JOBS,
    METHODS,
    METHODS_BY_JOB,
    ROUND,
    FleetResults,
    Measurement,
    compute_median,
    format_hosts,
)
from fleet_sizing import format_sizing
from page import read_ansible_versions, replace_section, today
from setup import setup
from ssh_hosts import connect_hosts

HERE = ROOT / "benchmarks"
README = HERE / "README.md"
PLOT = HERE / "fleet.svg"
SIZING = ROOT / "docs/sizing.md"
FIGURES = CACHE / "fleet.json"
DEMO = ROOT / "molecule/shared/files/demo"
LABEL = f"flaskops-benchmark-fleet={os.getpid()}"
PROVISIONED = f"flaskops-benchmark-fleet:{os.getpid()}"

PORTS = {"ours": 80, "stock": 8081, "ansistrano": 8082}
UNCHANGED = ("live", "noop")


# Measuring


class ContainerFleet:
    """Containers that are used as hosts, and their inventory."""

    def __init__(self, base: str, count: int, work: Path, roles: Path | None = None) -> None:
        self.work, self.roles, self.runs = work, roles, 0
        self.names = [f"flaskops-fleet-{os.getpid()}-{number:02}" for number in range(1, count + 1)]
        print_progress(f"{format_hosts(count)}: starting …")
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda name: start_container(base, name), self.names))
        self.inventory = connect_hosts(self.names, work)
        inventory = json.loads(self.inventory.read_text())["flask"]
        self.addresses = [host["ansible_host"] for host in inventory["hosts"].values()]
        self.processes = docker("inspect", "--format={{.State.Pid}}", *self.names).split()

    def play(self, playbook: str, variables: dict) -> Measurement:
        """Run a playbook without open SSH connections, and measure it."""
        self.runs += 1
        report, sockets = self.work / "report.json", self.work / f"ssh-{self.runs}"
        given = self.work / "variables.json"
        given.write_text(json.dumps(variables))
        command = ["ansible-playbook", "-i", str(self.inventory), playbook, f"--extra-vars=@{given}"]
        environment = tool_environment(
            ANSIBLE_CALLBACK_PLUGINS=str(HERE / "callback_plugins"),
            ANSIBLE_CALLBACKS_ENABLED="remote_executions",
            ANSIBLE_FORKS=str(len(self.names)),
            ANSIBLE_NOCOLOR="true",
            ANSIBLE_PIPELINING="true",
            ANSIBLE_ROLES_PATH=str(self.roles or ""),
            ANSIBLE_SSH_CONTROL_PATH_DIR=str(sockets),
            REMOTE_EXECUTIONS_REPORT=str(report),
        )
        received, cpu, begin = self.received(), measure_children_cpu(), time.monotonic()
        done = subprocess.run(command, check=False, cwd=self.work, env=environment, capture_output=True, text=True)
        wall, cpu, received = time.monotonic() - begin, measure_children_cpu() - cpu, self.received() - received
        disconnect(sockets)
        if done.returncode:
            fail(f"{' '.join(command)} returned {done.returncode}:\n{done.stdout}{done.stderr}")
        self.changed = sum(int(count) for count in re.findall(r" changed=(\d+) ", done.stdout))
        counts = json.loads(report.read_text()).values()
        executions = sum(sum(count.values()) for count in counts) / len(self.names)
        return Measurement(executions, wall, cpu, received / len(self.names))

    def received(self) -> int:
        """Return the number of bytes that all hosts have received over the network."""
        return sum(parse_received_bytes(Path(f"/proc/{process}/net/dev").read_text()) for process in self.processes)

    def read_labels(self, way: str) -> set[str]:
        """Return the labels of the releases that the hosts serve through Nginx."""
        return {read_footer(f"http://{address}:{PORTS[way]}/") for address in self.addresses}


def start_container(base: str, name: str) -> None:
    docker_hosts.start(base, f"--name={name}", f"--hostname={name}", f"--label={LABEL}")


def remove_fleet() -> None:
    containers = docker("ps", "--all", "--quiet", f"--filter=label={LABEL}").split()
    if containers:
        docker("rm", "--force", "--volumes", *containers)


def remove_everything() -> None:
    """Remove the containers of this run and their image, and ignore signals meanwhile."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    remove_fleet()
    if docker("images", "--quiet", PROVISIONED):
        docker("rmi", PROVISIONED)


def measure_children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def parse_received_bytes(net_dev: str) -> int:
    return int(re.search(r"^ *eth0: *(\d+)", net_dev, re.MULTILINE).group(1))


def disconnect(sockets: Path) -> None:
    """Close the connections that a run leaves open, so that the next run is measured with its own."""
    for path in sockets.glob("*"):
        subprocess.run(["ssh", "-O", "exit", "-o", f"ControlPath={path}", "host"], check=False, capture_output=True)


def read_footer(url: str) -> str:
    # Ignore a proxy of the controller's network.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        found = re.search(r"<footer>(\w+), release", answer.read().decode())
    return found.group(1) if found else ""


def make_archive(label: str, work: Path) -> Path:
    """Create a release of the demo application whose pages show the label. All releases have the same dependencies."""
    directory, archive = work / label, work / f"{label}.tar.gz"
    shutil.copytree(DEMO, directory, ignore=shutil.ignore_patterns("__pycache__"))
    page = directory / "demo/templates/base.html"
    page.write_text(page.read_text().replace("<footer>Release", f"<footer>{label}, release"))
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(directory.iterdir()):
            tar.add(path, path.name)
    return archive


def choose_playbook(way: str, job: str) -> str:
    name = {"first": "site", "noop": "site", "live": "deploy"}.get(job, job)
    return f"flaskops.production.{name}" if way == "ours" else str(HERE / way / f"{name}.yml")


def build_variables(way: str, archive: Path) -> dict:
    release = archive.name.removesuffix(".tar.gz")
    if way != "ours":
        return {
            "app_name": way,
            "app_port": PORTS[way],
            "app_release": release,
            "app_archive": str(archive),
            "app_secret": "a secret",
        }
    return {
        "flask_app_name": "ours",
        "flask_app_user": "www-data",
        "flask_app_env": {"SECRET_KEY": "a secret"},
        "release_archive": str(archive),
        "release_name": release,
        "release_shared_paths": ["instance/"],
        "release_health_path": "/health",
    }


def measure(fleet: ContainerFleet, way: str, job: str, label: str) -> Measurement:
    """Measure a job with one method, and check its result."""
    if way == FLOOR:
        return fleet.play(str(HERE / "stock/ping.yml"), {})
    # Ansistrano does not provision hosts.
    book = choose_playbook("stock" if way == "ansistrano" and job == "first" else way, job)
    archive = fleet.work / f"{label}.tar.gz"
    before = fleet.read_labels(way) if job != "first" else set()
    run = fleet.play(book, build_variables(way, archive if archive.exists() else make_archive(label, fleet.work)))
    live = fleet.read_labels(way)
    is_correct = live == {label} if job != "rollback" else len(live) == 1 and not live & (before | {""})
    if not is_correct or bool(fleet.changed) == (job in UNCHANGED):
        fail(f"{way}, {job} of {label}: {fleet.changed} changes, and hosts serve {', '.join(sorted(live))}")
    figures = f"{run.executions:g} executions, {run.wall:.1f} s"
    print_progress(f"{format_hosts(len(fleet.names))}: {JOBS[job]}, {METHODS[way]}: {figures}")
    return run


def rotate(ways: list[str], by: int) -> list[str]:
    """Rotate the order of methods in each round, so that a machine that slows down affects all of them."""
    by %= len(ways)
    return ways[by:] + ways[:by]


def measure_first(platform: str, count: int, ways: list[str]) -> dict[str, Measurement]:
    """Measure first runs on bare hosts. Create an image of a host with an application of each method on first use."""
    runs = {}
    with tempfile.TemporaryDirectory(prefix="fleet-") as work:
        # A host is bare only once.
        for way in ("stock", "ours"):
            fleet = ContainerFleet(image(platform, ssh=True), count, Path(work, way))
            runs[f"first/{way}"] = replace(measure(fleet, way, "first", "r00"), sent=None)
            if way == "ours" and not docker("images", "--quiet", PROVISIONED):
                for other in ways[1:]:
                    measure(fleet, other, "first", "r00")
                docker("stop", fleet.names[0])
                docker("commit", fleet.names[0], PROVISIONED)
            remove_fleet()
    return runs


def measure_rounds(count: int, rounds: int, ways: list[str], roles: Path | None) -> dict[str, Measurement]:
    """Measure all other jobs on provisioned hosts."""
    runs: dict[str, list[Measurement]] = {}
    with tempfile.TemporaryDirectory(prefix="fleet-") as work:
        fleet = ContainerFleet(PROVISIONED, count, Path(work, "rounds"), roles)
        for number in range(1, rounds + 1):
            label = f"r{number:02}"
            runs.setdefault(FLOOR, []).append(measure(fleet, FLOOR, FLOOR, label))
            for job in ROUND:
                for way in rotate([way for way in ways if way in METHODS_BY_JOB[job]], number):
                    runs.setdefault(f"{job}/{way}", []).append(measure(fleet, way, job, label))
            runs[FLOOR].append(measure(fleet, FLOOR, FLOOR, label))
        remove_fleet()
    return {key: compute_median(measured) for key, measured in runs.items()}


def describe_machine(platform: str, load_before: float) -> str:
    system = docker("run", "--rm", image(platform), "sh", "-c", ". /etc/os-release; echo $PRETTY_NAME")
    core, python = read_ansible_versions()
    return (
        f"{today()}, {os.cpu_count()} processors for controller and hosts together (load average "
        f"before: {load_before:.1f}). Hosts: {system} in containers. Controller: ansible-core "
        f"{core} on Python {python}."
    )


# Writing


def render_pages(results: FleetResults) -> Iterator[tuple[Path, str, str]]:
    yield README, "fleet", format_report(results)
    if len(results.sizes) > 1:
        yield SIZING, "sizing", format_sizing(results)
    else:
        print_progress("docs/sizing.md is unchanged: estimates require at least two sizes of fleets.")


def publish(results: FleetResults, dry: bool) -> None:
    for path, name, text in render_pages(results):
        print(text, end="\n\n")
        if not dry:
            path.write_text(replace_section(path.read_text(), name, text))
    if not dry:
        PLOT.write_text(draw_plot(results.sizes))


def run_benchmark(options: argparse.Namespace) -> FleetResults:
    load_before = os.getloadavg()[0]
    setup()
    build_images(options.platform)
    ways = [way for way in METHODS if way != "ansistrano" or options.ansistrano]
    first = options.first or options.hosts[:1]
    sizes: dict[int, dict[str, Measurement]] = {}
    try:
        about = describe_machine(options.platform, load_before)
        for count in first:
            sizes[count] = measure_first(options.platform, count, ways)
        for count in options.hosts:
            sizes.setdefault(count, {}).update(measure_rounds(count, options.runs, ways, options.ansistrano))
            # Store the figures before the next measurement, which may fail.
            whole = {size: runs for size, runs in sizes.items() if FLOOR in runs}
            FIGURES.write_text(FleetResults(about, os.cpu_count(), whole).text())
    finally:
        remove_everything()
    return FleetResults(about, os.cpu_count(), whole)


def parse_host_counts(text: str) -> list[int]:
    counts = sorted({int(part) for part in text.split(",")})
    if counts[0] < 1:
        raise ValueError
    return counts


def parse_roles_path(text: str) -> Path | None:
    path = Path(text).resolve()
    missing = [role for role in ("ansistrano.deploy", "ansistrano.rollback") if not (path / role).is_dir()]
    if missing:
        raise argparse.ArgumentTypeError(f"{path} lacks {' and '.join(missing)}")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--hosts", type=parse_host_counts, default="1,5,10,20", help="sizes of the fleets (default: %(default)s)"
    )
    parser.add_argument(
        "--first", type=parse_host_counts, help="of them, those with first runs (default: the smallest)"
    )
    parser.add_argument("--runs", type=int, default=3, help="rounds, whose medians count (default: %(default)s)")
    parser.add_argument("--ansistrano", type=parse_roles_path, metavar="PATH", help="where Ansistrano's two roles are")
    parser.add_argument("--platform", default="debian13", choices=SUITES, help="default: %(default)s")
    parser.add_argument("--render", type=Path, metavar="FILE", help="write figures that were measured before")
    parser.add_argument("--dry-run", action="store_true", help="print the tables, don't write them")
    options = parser.parse_args()
    if options.first and not set(options.first) <= set(options.hosts):
        parser.error("--first has a size that --hosts lacks")
    # Remove the containers on all signals that end the process.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    results = FleetResults.read(options.render.read_text()) if options.render else run_benchmark(options)
    publish(results, options.dry_run)
    for line in format_verdicts(results.sizes):
        print_progress(line)


if __name__ == "__main__":
    main()
