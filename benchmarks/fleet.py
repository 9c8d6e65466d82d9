#!/usr/bin/env python3
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure what a fleet costs its controller: this collection beside stock modules and Ansistrano, in one run.

Builds fleets of containers that are reached over SSH, and writes the table into benchmarks/README.md, the plot
benchmarks/fleet.svg, and what follows for larger fleets into docs/sizing.md. The figures are kept in .cache/fleet.json.

    python3 benchmarks/fleet.py [--hosts 1,5,10,20] [--first 1] [--runs 3] [--ansistrano ROLES] [--dry-run]
    python3 benchmarks/fleet.py --render .cache/fleet.json [--dry-run]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "molecule/shared/image"))

import target
from build import SUITES, build_images, image
from environment import CACHE, ROOT, docker, fail, say, tool_environment
from fleet import connect
from setup import setup

HERE = ROOT / "benchmarks"
README = HERE / "README.md"
PLOT = HERE / "fleet.svg"
SIZING = ROOT / "docs/sizing.md"
FIGURES = CACHE / "fleet.json"
DEMO = ROOT / "molecule/shared/files/demo"
LABEL = f"flaskops-benchmark-fleet={os.getpid()}"
PROVISIONED = f"flaskops-benchmark-fleet:{os.getpid()}"

# In the order in which one round goes through them, after the first run of all.
JOBS = {
    "first": "first run on a bare host",
    "deploy": "new release, known dependencies",
    "live": "release that is live already",
    "noop": "whole site, nothing to do",
    "rollback": "rollback",
}
ROUND = tuple(job for job in JOBS if job != "first")
WAYS = {"ours": "this collection", "stock": "stock modules", "ansistrano": "Ansistrano"}
PORTS = {"ours": 80, "stock": 8081, "ansistrano": 8082}
# Ansistrano has no site, and neither it nor a guide has a deploy that knows that its release is live.
DONE_BY = {
    "first": ("ours", "stock"),
    "deploy": ("ours", "stock", "ansistrano"),
    "live": ("ours",),
    "noop": ("ours", "stock"),
    "rollback": ("ours", "stock", "ansistrano"),
}
UNCHANGED = ("live", "noop")
FLOOR = "floor"


@dataclass(frozen=True)
class Run:
    """What one run of a playbook took: for each host, or of the controller."""

    executions: float
    wall: float
    cpu: float
    # Bytes that each host received; None where packages are among them.
    sent: float | None


@dataclass(frozen=True)
class Results:
    machine: str
    processors: int
    # Of each number of hosts: the medians by job and way, "deploy/ours", and of the floor.
    sizes: dict[int, dict[str, Run]]

    @classmethod
    def read(cls, text: str) -> Results:
        data = json.loads(text)
        sizes = {int(count): {key: Run(**run) for key, run in runs.items()} for count, runs in data["sizes"].items()}
        return cls(data["machine"], data["processors"], sizes)

    def text(self) -> str:
        return json.dumps(asdict(self), indent=2)


# Measuring


class Fleet:
    """Containers that are hosts, and the controller's way to them."""

    def __init__(self, base: str, count: int, work: Path, roles: Path | None = None) -> None:
        self.work, self.roles, self.runs = work, roles, 0
        self.names = [f"flaskops-fleet-{os.getpid()}-{number:02}" for number in range(1, count + 1)]
        say(f"{hosts(count)}: starting …")
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda name: start(base, name), self.names))
        self.inventory = connect(self.names, work)
        inventory = json.loads(self.inventory.read_text())["flask"]
        self.addresses = [host["ansible_host"] for host in inventory["hosts"].values()]
        self.processes = docker("inspect", "--format={{.State.Pid}}", *self.names).split()

    def play(self, playbook: str, variables: dict) -> Run:
        """Run a playbook as an operator would, who has not been connected yet, and measure it."""
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
        received, cpu, begin = self.received(), children_cpu(), time.monotonic()
        done = subprocess.run(command, cwd=self.work, env=environment, capture_output=True, text=True)
        wall, cpu, received = time.monotonic() - begin, children_cpu() - cpu, self.received() - received
        disconnect(sockets)
        if done.returncode:
            fail(f"{' '.join(command)} returned {done.returncode}:\n{done.stdout}{done.stderr}")
        self.changed = sum(int(count) for count in re.findall(r" changed=(\d+) ", done.stdout))
        counts = json.loads(report.read_text()).values()
        executions = sum(sum(count.values()) for count in counts) / len(self.names)
        return Run(executions, wall, cpu, received / len(self.names))

    def received(self) -> int:
        """Bytes that have come to all hosts over the network."""
        return sum(received_bytes(Path(f"/proc/{process}/net/dev").read_text()) for process in self.processes)

    def labels(self, way: str) -> set[str]:
        """The releases that the hosts answer with, through Nginx."""
        return {footer(f"http://{address}:{PORTS[way]}/") for address in self.addresses}


def start(base: str, name: str) -> None:
    target.start(base, f"--name={name}", f"--hostname={name}", f"--label={LABEL}")


def remove_fleet() -> None:
    containers = docker("ps", "--all", "--quiet", f"--filter=label={LABEL}").split()
    if containers:
        docker("rm", "--force", "--volumes", *containers)


def remove_everything() -> None:
    """The containers of this run and their image, whoever interrupts."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    remove_fleet()
    if docker("images", "--quiet", PROVISIONED):
        docker("rmi", PROVISIONED)


def children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def received_bytes(net_dev: str) -> int:
    return int(re.search(r"^ *eth0: *(\d+)", net_dev, re.MULTILINE).group(1))


def disconnect(sockets: Path) -> None:
    """End the connections that a run leaves open for the next one, which is to be measured with its own."""
    for path in sockets.glob("*"):
        subprocess.run(["ssh", "-O", "exit", "-o", f"ControlPath={path}", "host"], capture_output=True)


def footer(url: str) -> str:
    # A proxy of the controller's network has no business here.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        found = re.search(r"<footer>(\w+), release", answer.read().decode())
    return found.group(1) if found else ""


def make_archive(label: str, work: Path) -> Path:
    """A release out of the demo app, whose pages carry the label; dependencies are the same in all of them."""
    directory, archive = work / label, work / f"{label}.tar.gz"
    shutil.copytree(DEMO, directory, ignore=shutil.ignore_patterns("__pycache__"))
    page = directory / "demo/templates/base.html"
    page.write_text(page.read_text().replace("<footer>Release", f"<footer>{label}, release"))
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(directory.iterdir()):
            tar.add(path, path.name)
    return archive


def playbook(way: str, job: str) -> str:
    name = {"first": "site", "noop": "site", "live": "deploy"}.get(job, job)
    return f"flaskops.production.{name}" if way == "ours" else str(HERE / way / f"{name}.yml")


def variables(way: str, archive: Path) -> dict:
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
        "flask_app_env": {"SECRET_KEY": "a secret"},
        "release_archive": str(archive),
        "release_name": release,
        "release_shared_paths": ["instance/"],
        "release_health_path": "/health",
    }


def measure(fleet: Fleet, way: str, job: str, label: str) -> Run:
    """One job done in one way, and checked to be done."""
    if way == FLOOR:
        return fleet.play(str(HERE / "stock/ping.yml"), {})
    # Provisioning is no business of Ansistrano's.
    book = playbook("stock" if way == "ansistrano" and job == "first" else way, job)
    archive = fleet.work / f"{label}.tar.gz"
    before = fleet.labels(way) if job != "first" else set()
    run = fleet.play(book, variables(way, archive if archive.exists() else make_archive(label, fleet.work)))
    live = fleet.labels(way)
    right = live == {label} if job != "rollback" else len(live) == 1 and not live & (before | {""})
    if not right or bool(fleet.changed) == (job in UNCHANGED):
        fail(f"{way}, {job} of {label}: {fleet.changed} changes, and hosts serve {', '.join(sorted(live))}")
    say(f"{hosts(len(fleet.names))}: {JOBS[job]}, {WAYS[way]}: {run.executions:g} executions, {run.wall:.1f} s")
    return run


def hosts(count: int) -> str:
    return f"{count} host{'s' if count > 1 else ''}"


def rotated(ways: list[str], by: int) -> list[str]:
    """Each round has another order, so that a machine that becomes slower does so for all of them."""
    by %= len(ways)
    return ways[by:] + ways[:by]


def measure_first(platform: str, count: int, ways: list[str]) -> dict[str, Run]:
    """First runs on bare hosts. Leaves an image of a host with an application of each way, if there is none yet."""
    runs = {}
    with tempfile.TemporaryDirectory(prefix="fleet-") as work:
        # A host is bare only once.
        for way in ("stock", "ours"):
            fleet = Fleet(image(platform, ssh=True), count, Path(work, way))
            runs[f"first/{way}"] = replace(measure(fleet, way, "first", "r00"), sent=None)
            if way == "ours" and not docker("images", "--quiet", PROVISIONED):
                for other in ways[1:]:
                    measure(fleet, other, "first", "r00")
                docker("stop", fleet.names[0])
                docker("commit", fleet.names[0], PROVISIONED)
            remove_fleet()
    return runs


def measure_rounds(count: int, rounds: int, ways: list[str], roles: Path | None) -> dict[str, Run]:
    """All other jobs, on hosts that have been provisioned."""
    runs: dict[str, list[Run]] = {}
    with tempfile.TemporaryDirectory(prefix="fleet-") as work:
        fleet = Fleet(PROVISIONED, count, Path(work, "rounds"), roles)
        for number in range(1, rounds + 1):
            label = f"r{number:02}"
            runs.setdefault(FLOOR, []).append(measure(fleet, FLOOR, FLOOR, label))
            for job in ROUND:
                for way in rotated([way for way in ways if way in DONE_BY[job]], number):
                    runs.setdefault(f"{job}/{way}", []).append(measure(fleet, way, job, label))
            runs[FLOOR].append(measure(fleet, FLOOR, FLOOR, label))
        remove_fleet()
    return {key: median(measured) for key, measured in runs.items()}


def machine(platform: str, load_before: float) -> str:
    system = docker("run", "--rm", image(platform), "sh", "-c", ". /etc/os-release; echo $PRETTY_NAME")
    ansible = subprocess.run(["ansible", "--version"], env=tool_environment(), capture_output=True, text=True).stdout
    core = re.search(r"core ([\d.]+)", ansible)
    python = re.search(r"python version = ([\d.]+)", ansible)
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} processors for controller and hosts together (load average "
        f"before: {load_before:.1f}). Hosts: {system} in containers. Controller: ansible-core "
        f"{core.group(1) if core else 'unknown'} on Python {python.group(1) if python else 'unknown'}."
    )


# Summing up


def median(runs: list[Run]) -> Run:
    return Run(*(statistics.median(getattr(run, field.name) for run in runs) for field in fields(Run)))


def times(value: float, floor: float) -> str:
    return f"{value / floor:.1f} ×"


def row(name: str, way: str, run: Run, floor: Run) -> list[str]:
    def cell(text: str, attribute: str) -> str:
        ratio = times(getattr(run, attribute), getattr(floor, attribute))
        return text if run is floor else f"{text} ({ratio})"

    sent = "–" if run.sent is None else cell(f"{run.sent / 1000:,.0f} kB", "sent")
    executions = cell(f"{run.executions:.3g}", "executions")
    return [name, way, executions, cell(f"{run.wall:.1f} s", "wall"), cell(f"{run.cpu:.1f} s", "cpu"), sent]


def markdown(rows: list[list[str]]) -> str:
    head, *rest = rows
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rest])


def table(runs: dict[str, Run]) -> str:
    floor = runs[FLOOR]
    rows = [["job", "done by", "executions per host", "wall time", "controller CPU", "sent to each host"]]
    rows.append(row("one `ping`", "the floor", floor, floor))
    for job, name in JOBS.items():
        for way in DONE_BY[job]:
            run = runs.get(f"{job}/{way}")
            if run:
                rows.append(row(name, WAYS[way], run, floor))
            elif job != "first":
                rows.append([name, WAYS[way], *["not measured"] * 4])
    return markdown(rows)


def verdicts(sizes: dict[int, dict[str, Run]]) -> list[str]:
    """What is asked of this collection, beside what was measured."""
    count = 10 if 10 in sizes else max(sizes)
    runs = sizes[count]
    asked = [("noop", FLOOR, 5.0), ("noop", "noop/stock", 0.4), ("deploy", "deploy/ansistrano", 0.7)]
    against = {FLOOR: "a play of one `ping`", "noop/stock": "stock modules", "deploy/ansistrano": "Ansistrano"}
    lines = []
    for job, other, limit in asked:
        subject = f"{capital(JOBS[job])}, {hosts(count)}"
        if other not in runs:
            lines.append(f"{subject}: not measured against {against[other]}.")
            continue
        ratio = runs[f"{job}/ours"].wall / runs[other].wall
        verdict = f"the aim is {limit:g} × at most: {'met' if ratio <= limit else '**missed**'}"
        lines.append(f"{subject}: {ratio:.2f} × the time of {against[other]}; {verdict}.")
    return lines


def capital(text: str) -> str:
    return text[0].upper() + text[1:]


def report(results: Results) -> str:
    parts = [results.machine, "\n".join(f"- {line}" for line in verdicts(results.sizes)), "![](fleet.svg)"]
    for count, runs in sorted(results.sizes.items()):
        parts.append(f"### {capital(hosts(count))}\n\n{table(runs)}")
    return "\n\n".join(parts)


# The plot

STYLE = """\
text { font-family: sans-serif; font-size: 12px; fill: #24292f }
.title { font-weight: bold }
.grid { stroke: #8884; stroke-width: 1 }
.line { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }"""
# Of the middle of the scale: they stand out from white and from black.
COLOURS = {"ours": "#2f81f7", "stock": "#d9822b", "ansistrano": "#a371f7", FLOOR: "#808890"}
NAMES = WAYS | {FLOOR: "one ping"}
PANEL = (300, 220)
MARGIN = {"left": 44, "right": 14, "top": 30, "bottom": 36}


def ticks(highest: float) -> list[float]:
    """Round numbers from 0 to at least the highest, some four of them."""
    step = 10 ** math.floor(math.log10(highest))
    step = next(step * factor for factor in (0.2, 0.5, 1, 2, 2.5) if highest / (step * factor) <= 5)
    return [step * number for number in range(math.ceil(highest / step - 1e-9) + 1)]


def panel(title: str, lines: dict[str, list[tuple[int, float]]]) -> list[str]:
    """A plot of seconds over hosts, as SVG elements at the origin."""
    width, height = PANEL
    counts = sorted({count for line in lines.values() for count, _ in line})
    marks = ticks(max(seconds for line in lines.values() for _, seconds in line))

    def x(count: float) -> float:
        return MARGIN["left"] + (width - MARGIN["left"] - MARGIN["right"]) * count / counts[-1]

    def y(seconds: float) -> float:
        return height - MARGIN["bottom"] - (height - MARGIN["top"] - MARGIN["bottom"]) * seconds / marks[-1]

    out = [f'<text class="title" x="{MARGIN["left"]}" y="18">{title}</text>']
    for mark in marks:
        out.append(f'<path class="grid" d="M{x(0):.1f} {y(mark):.1f}H{x(counts[-1]):.1f}"/>')
        out.append(f'<text text-anchor="end" x="{x(0) - 6:.1f}" y="{y(mark) + 4:.1f}">{mark:g}</text>')
    for count in counts:
        out.append(f'<text text-anchor="middle" x="{x(count):.1f}" y="{y(0) + 16:.1f}">{count}</text>')
    for way, line in lines.items():
        points = [(x(count), y(seconds)) for count, seconds in sorted(line)]
        path = "L".join(f"{left:.1f} {top:.1f}" for left, top in points)
        out.append(f'<path class="line" stroke="{COLOURS[way]}"{dashes(way)} d="M{path}"/>')
        out += [f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3" fill="{COLOURS[way]}"/>' for left, top in points]
    return out


def dashes(way: str) -> str:
    return ' stroke-dasharray="4 3"' if way == FLOOR else ""


def legend(ways: Iterable[str]) -> list[str]:
    out = ['<text x="44" y="40">wall time in seconds over hosts</text>']
    for number, way in enumerate(ways):
        top = 66 + 24 * number
        out.append(f'<path class="line" stroke="{COLOURS[way]}"{dashes(way)} d="M44 {top}h28"/>')
        out.append(f'<text x="82" y="{top + 4}">{NAMES[way]}</text>')
    return out


def svg(sizes: dict[int, dict[str, Run]]) -> str:
    """A panel for each job of the rounds, and a legend; every scale begins at 0."""

    def line(key: str) -> list[tuple[int, float]]:
        return [(count, runs[key].wall) for count, runs in sizes.items() if key in runs]

    panels, seen = [], []
    for job in ROUND:
        lines = {way: points for way in WAYS if (points := line(f"{job}/{way}"))} | {FLOOR: line(FLOOR)}
        seen += lines
        panels.append(panel(capital(JOBS[job]), lines))
    panels.append(legend(way for way in NAMES if way in seen))
    width, height = PANEL
    placed = (
        f'<g transform="translate({number % 3 * width} {number // 3 * height})">\n' + "\n".join(elements) + "\n</g>"
        for number, elements in enumerate(panels)
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {3 * width} {2 * height}" width="{3 * width}">'
    return "\n".join([head, f"<style>\n{STYLE}\n</style>", *placed, "</svg>", ""])


# Sizing


@dataclass(frozen=True)
class Cost:
    """What a job costs: seconds to start, of the controller's processors for each host, and of a host for itself."""

    start: float
    cpu: float
    own: float
    processors: int

    def spread(self, hosts: int, forks: int) -> float:
        """Seconds from the first host to the last one, after the start."""
        return max(hosts * self.cpu / self.processors, math.ceil(hosts / forks) * self.own)

    def wall(self, hosts: int, forks: int) -> float:
        return self.start + self.spread(hosts, forks)

    def forks(self) -> int:
        """As many hosts at a time as keep the processors busy; more only wait for them."""
        return max(1, math.ceil(self.processors * self.own / self.cpu))


def fit(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Intercept and slope of the straight line that lies closest."""
    slope, intercept = statistics.linear_regression(*zip(*points, strict=True))
    return intercept, slope


def cost(job: str, results: Results) -> Cost:
    runs = {count: of[f"{job}/ours"] for count, of in results.sizes.items()}
    start, cpu = fit([(count, run.cpu) for count, run in runs.items()])
    fewest = min(runs)
    # Noise may bend the line of a job that costs little.
    start, cpu = max(start, 0.0), max(cpu, 0.01)
    # A host's own time is taken where the fewest hosts shared the machine with the controller.
    return Cost(start, cpu, max(runs[fewest].wall - start, 0.01), results.processors)


def in_batches(whole: Cost, last: Cost, hosts: int, forks: int, batch: int) -> float:
    """Seconds of a deploy whose activation, which costs `last` for each host, goes batch by batch."""
    batches = math.ceil(hosts / batch)
    return whole.wall(hosts, forks) - last.spread(hosts, forks) + batches * last.spread(batch, forks)


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


SIZES = (10, 100, 1000)
FORKS = (5, 20, 50)
BATCHES = (1.0, 0.25, 0.1)
SIZED = ("noop", "deploy", "live", "rollback")


def sizing(results: Results) -> str:
    """The tables of docs/sizing.md."""
    costs = {job: cost(job, results) for job in SIZED}
    of_costs = [["job", "to start", "controller CPU per host", "a host's own time", "forks that are of use"]]
    for job, one in costs.items():
        cells = [f"{one.start:.1f} s", f"{one.cpu:.2f} s", f"{one.own:.1f} s", str(one.forks())]
        of_costs.append([JOBS[job], *cells])
    of_times = [["hosts", "forks", *(JOBS[job] for job in SIZED)]]
    for hosts in SIZES:
        for forks in (number for number in FORKS if number <= max(hosts, FORKS[0])):
            of_times.append([f"{hosts:,}", str(forks), *(duration(costs[job].wall(hosts, forks)) for job in SIZED)])
    of_batches = [["hosts", *(f"`flask_app_serial: {share:.0%}`" for share in BATCHES), "`flask_app_serial: 1`"]]
    most = FORKS[-1]
    for hosts in SIZES:
        batches = [*(max(1, int(hosts * share)) for share in BATCHES), 1]
        spent = (in_batches(costs["deploy"], costs["rollback"], hosts, most, batch) for batch in batches)
        of_batches.append([f"{hosts:,}", *map(duration, spent)])
    fewest = min(results.sizes)
    return "\n\n".join(
        [
            f"Computed by `benchmarks/fleet.py` for a controller with {results.processors} processors, from its own "
            f"figures at {', '.join(map(str, sorted(results.sizes)))} hosts: {results.machine}",
            f"What a job costs, where a host's own time is that of a fleet of {fewest}:\n\n{markdown(of_costs)}",
            f"What to expect:\n\n{markdown(of_times)}",
            f"A new release in batches, with {most} forks:\n\n{markdown(of_batches)}",
        ]
    )


# Writing


def between(text: str, name: str, new: str) -> str:
    """The text with something new between its markers."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, found, rest = text.partition(begin)
    _old, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"There is no {begin} … {end}.")
    return f"{before}{begin}\n{new}\n{end}{after}"


def pages(results: Results) -> Iterator[tuple[Path, str, str]]:
    yield README, "fleet", report(results)
    if len(results.sizes) > 1:
        yield SIZING, "sizing", sizing(results)
    else:
        say("One number of hosts says nothing about others: docs/sizing.md is left as it is.")


def publish(results: Results, dry: bool) -> None:
    for path, name, text in pages(results):
        print(text, end="\n\n")
        if not dry:
            path.write_text(between(path.read_text(), name, text))
    if not dry:
        PLOT.write_text(svg(results.sizes))


def run_benchmark(options: argparse.Namespace) -> Results:
    load_before = os.getloadavg()[0]
    setup()
    build_images(options.platform)
    ways = [way for way in WAYS if way != "ansistrano" or options.ansistrano]
    first = options.first or options.hosts[:1]
    sizes: dict[int, dict[str, Run]] = {}
    try:
        about = machine(options.platform, load_before)
        for count in first:
            sizes[count] = measure_first(options.platform, count, ways)
        for count in options.hosts:
            sizes.setdefault(count, {}).update(measure_rounds(count, options.runs, ways, options.ansistrano))
            # What is measured is not lost with what comes after it.
            whole = {size: runs for size, runs in sizes.items() if FLOOR in runs}
            FIGURES.write_text(Results(about, os.cpu_count(), whole).text())
    finally:
        remove_everything()
    return Results(about, os.cpu_count(), whole)


def host_counts(text: str) -> list[int]:
    counts = sorted({int(part) for part in text.split(",")})
    if counts[0] < 1:
        raise ValueError
    return counts


def roles_path(text: str) -> Path | None:
    path = Path(text).resolve()
    missing = [role for role in ("ansistrano.deploy", "ansistrano.rollback") if not (path / role).is_dir()]
    if missing:
        raise argparse.ArgumentTypeError(f"{path} has no {' and no '.join(missing)}")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--hosts", type=host_counts, default="1,5,10,20", help="sizes of the fleets (default: %(default)s)"
    )
    parser.add_argument("--first", type=host_counts, help="of them, those with first runs (default: the smallest)")
    parser.add_argument("--runs", type=int, default=3, help="rounds, whose medians count (default: %(default)s)")
    parser.add_argument("--ansistrano", type=roles_path, metavar="PATH", help="where Ansistrano's two roles are")
    parser.add_argument("--platform", default="debian13", choices=SUITES, help="default: %(default)s")
    parser.add_argument("--render", type=Path, metavar="FILE", help="write figures that were measured before")
    parser.add_argument("--dry-run", action="store_true", help="print the tables, don't write them")
    options = parser.parse_args()
    if options.first and not set(options.first) <= set(options.hosts):
        parser.error("--first has a size that --hosts has not")
    # However it is stopped, the containers go.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    results = Results.read(options.render.read_text()) if options.render else run_benchmark(options)
    publish(results, options.dry_run)
    for line in verdicts(results.sizes):
        say(line)


if __name__ == "__main__":
    main()
