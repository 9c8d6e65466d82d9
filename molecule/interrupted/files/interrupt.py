# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interrupt deploys to one host at many points, and hold the collection to its promise after each.

    interrupt.py <host> <inventory> <application> <port> <source> <directory for what is made here>

After each interruption: no request through Nginx has failed, `app` leads to a complete release, and the process runs
in a complete release. The next plain run makes the intended release the only one that answers, and leaves nothing of
the interrupted one behind. The first broken promise ends the test, with what the host knows.

The controller is killed once between two tasks for each state of the host that lies between tasks: a first run observes
which these are. INTERRUPT_ONLY=<part of a name> narrows it down to points of points_of().
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, NamedTuple

HERE = Path(__file__).resolve().parent
PATIENCE = 300
# To look into some of the points.
ONLY = os.environ.get("INTERRUPT_ONLY", "")
# Moments of an activation that changes settings.
SETTINGS = ("staged", "kept", "pinned", "placed")
HELD = r"Another deploy holds \S+/lock: \S+ on \S+ since \S+, run \S+\. [^\"]*release_unlock=true"


class Broken(Exception):
    """A promise that was not kept."""


def check(kept: bool, promise: str, *evidence: object) -> None:
    if not kept:
        shown = [part if isinstance(part, str) else json.dumps(part, indent=1) for part in evidence]
        raise Broken("\n".join([promise, *shown]))


class Agent:
    """The visitor and observer on the host (agent.py)."""

    def __init__(self, host: str, app: str, root: str, port: int) -> None:
        source = (HERE / "agent.py").read_text()
        command = ["docker", "exec", "-i", host, "python3", "-u", "-c", source, app, root, str(port)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def send(self, do: str, **details: object) -> None:
        self.process.stdin.write(json.dumps({"do": do, **details}) + "\n")
        self.process.stdin.flush()

    def receive(self) -> dict:
        line = self.process.stdout.readline()
        check(bool(line), "the observer on the host has died")
        return json.loads(line)

    def __call__(self, do: str, **details: object) -> dict:
        self.send(do, **details)
        return self.receive()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


class Run:
    """One run of a playbook, that can be killed."""

    def __init__(
        self,
        playbook: str,
        host: str,
        inventory: str,
        work: Path,
        at: int | str = 0,
        observe: list[str] | None = None,
        **variables: object,
    ) -> None:
        self.started = time.monotonic()
        # What the callback plugin notes.
        self.tasks, self.modules = work / "tasks", work / "modules"
        for path in (self.tasks, self.modules):
            path.unlink(missing_ok=True)
        self.log = open(work / f"{playbook}-{variables['release_name']}.log", "w+")  # noqa: SIM115 - closed in output()
        environment = os.environ | {
            "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callbacks"),
            "ANSIBLE_CALLBACKS_ENABLED": "boundary",
            "ANSIBLE_NOCOLOR": "true",
            "INTERRUPT_AT": str(at),
            "INTERRUPT_OBSERVE": json.dumps(observe or []),
            "INTERRUPT_TASKS": str(self.tasks),
            "INTERRUPT_MODULES": str(self.modules),
        }
        command = ["ansible-playbook", "--inventory", inventory, "--limit", host, f"flaskops.production.{playbook}"]
        self.process = subprocess.Popen(
            [*command, "--extra-vars", json.dumps(variables)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait(self) -> int:
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Broken(f"the run did not end within {PATIENCE} s\n{self.output()}") from None
        self.seconds = time.monotonic() - self.started
        return code

    def kill(self) -> None:
        """End the controller as a power cut would: with every process that it has started."""
        for pid in [self.process.pid, *descendants(self.process.pid)]:
            with_pid(os.kill, pid, signal.SIGKILL)
        self.process.wait(PATIENCE)

    def cut(self) -> None:
        """Cut the connection to the host, and nothing else."""
        for pid in descendants(self.process.pid):
            if Path("/proc", str(pid), "comm").read_text().strip() == "docker":
                with_pid(os.kill, pid, signal.SIGKILL)

    def output(self) -> str:
        self.log.seek(0)
        return self.log.read()


def with_pid(act: Callable, pid: int, *arguments: object) -> None:
    """Act on a process, which may be gone by now."""
    with contextlib.suppress(ProcessLookupError):
        act(pid, *arguments)


def descendants(of: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            parent = int(Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(pid))
    found, pending = [], [of]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return found


def wait_for_answer(host: str, port: int) -> None:
    """Wait until somebody is answered on a host that has been restarted."""
    until = time.monotonic() + PATIENCE
    program = f"import urllib.request as r; r.urlopen('http://127.0.0.1:{port}/health')"
    ask = ["docker", "exec", host, "python3", "-c", program]
    while subprocess.run(ask, check=False, capture_output=True).returncode and time.monotonic() < until:
        time.sleep(0.3)


class Test:
    """The points, one after the other, on one host."""

    points = 0

    def __init__(self, host: str, inventory: str, app: str, port: int, source: Path, work: Path, **variables) -> None:
        self.host, self.inventory, self.app, self.port = host, inventory, app, port
        self.source, self.work, self.variables = source, work, variables
        self.releases, self.answered, self.live = 0, 0, ""
        # All that were answered, and with which release.
        self.total, self.seen = 0, set()
        # A release of an earlier test on the same host is another one.
        self.token = os.urandom(2).hex()
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)

    def watch(self) -> None:
        """Have the site visited and the files observed from now on."""
        self.agent = Agent(self.host, self.app, f"/srv/{self.app}", self.port)
        self.answered = 0
        until = time.monotonic() + PATIENCE
        while not self.agent("visits")["answered"]:
            check(time.monotonic() < until, "nobody is answered", self.agent("journal")["text"])
            time.sleep(0.1)

    def release(self, own_venv: bool = False) -> dict[str, str]:
        """A new release, as variables; the virtual environment is the one of the others, or its own."""
        self.releases += 1
        name = f"r{self.releases:03}-{self.token}"
        tree = self.work / name
        shutil.copytree(self.source, tree, ignore=shutil.ignore_patterns("__pycache__"))
        (tree / "static/release.txt").write_text(name)
        if own_venv:
            with (tree / "requirements.txt").open("a") as file:
                file.write(f"# {name} alone\n")
        return {"release_directory": str(tree), "release_name": name}

    def run(self, release: dict[str, str], playbook: str = "", **options: object) -> Run:
        playbook = playbook or ("site" if "flask_app_env" in release else "deploy")
        return Run(playbook, self.host, self.inventory, self.work, **self.variables, **release, **options)

    def serves(self) -> dict:
        """What has to be true at any time."""
        visits, state = self.agent("visits"), self.agent("state")
        check(not visits["faults"], f"{len(visits['faults'])} requests failed", {**visits, **state})
        check(visits["answered"] > 0, "nobody asked")
        check(state["complete"], "app does not lead to a complete release", state)
        self.total += visits["answered"] - self.answered
        self.answered = visits["answered"]
        self.seen.update(visits["seen"])
        return state

    def healthy(self) -> dict:
        """serves(), and the main process is in one release, whole."""
        state = self.serves()
        # Until systemd has put its sandbox up, the process of a service that starts is in no release yet.
        deadline = time.monotonic() + PATIENCE
        while state["main"] == "activating" and Path(state["runs"] or "").name not in state["states"]:
            check(time.monotonic() < deadline, "the service does not come to start", state)
            time.sleep(0.1)
            state = self.serves()
        check(bool(state["runs"]), "the service has no process", state)
        release = Path(state["runs"]).name
        check(release in state["states"], "the process runs in no release", state)
        # Each change of settings names the release that it comes with, apart from those of the dice.
        check(
            self.app == OnHost.app or state["mode"] in (None, release),
            f"{release} runs with the settings of {state['mode']}",
            state,
        )
        return state

    def converge(self, release: dict[str, str]) -> float:
        """A plain run, and what it leaves."""
        run = self.run(release)
        code = run.wait()
        check(code == 0, f"the next run ended with {code}", run.output())
        self.converged(release["release_name"], run.output())
        return run.seconds

    def converged(self, name: str, output: str) -> None:
        state = self.serves()
        home = f"/srv/{self.app}"
        active = [key for key, value in state["states"].items() if value == "active"]
        answers = self.agent("ask", times=10)["answers"]
        for kept, broken in (
            (state["app"] == f"releases/{name}", f"{name} is not live"),
            (state["main"] == "active" and state["runs"] == f"{home}/releases/{name}", f"{name} does not run"),
            (state["candidate"] == "inactive", "the candidate is still there"),
            (not state["lock"], "the lock is still there"),
            (not state["leftovers"], f"something is left over: {state['leftovers']}"),
            (not state["modules"], "a module still runs"),
            (active == [name], f"recorded as active: {active}"),
            (state["log"][-1:] == [name] and state["log"].count(name) == 1, f"the log ends with {state['log'][-3:]}"),
            (state["mode"] in (None, name), f"{name} runs with the settings of {state['mode']}"),
            (all(answer == [200, name] for answer in answers), f"not only {name} answers: {answers}"),
        ):
            check(kept, broken, state, output)
        self.live = name

    def interrupted(self, what: str, release: dict[str, str], other: bool = False) -> None:
        """The host right after an interruption, and the next run: of the same release, or of another one."""
        before = self.answered
        state = self.healthy()
        found = f"app {Path(state['app']).name}, process {Path(state['runs']).name}, candidate {state['candidate']}"
        left = ", ".join(path.removeprefix(f"/srv/{self.app}/") for path in state["leftovers"][:4]) or "nothing"
        if other:
            release = self.with_settings() if "flask_app_env" in release else self.release()
        seconds = self.converge(release)
        self.point(
            f"{what}: {found}; left over: {left}; the next run took {seconds:.1f} s "
            f"and left {self.live}; {self.answered - before} requests, 0 failed"
        )

    def point(self, text: str) -> None:
        Test.points += 1
        print(f"{Test.points:>3} {text}", flush=True)

    def with_settings(self) -> dict:
        """A new release, and settings that change together with it."""
        release = self.release()
        environment = {"SECRET_KEY": "a secret of the interrupted application", "MODE": release["release_name"]}
        return {**release, "flask_app_env": environment}

    # The points

    def observed(self) -> list[tuple[int, str]]:
        """A deploy without interruption: the number and name of each task that finds the host in a new state."""
        root = f"/srv/{self.app}"
        # What the application itself writes all the time is left out.
        skipped = " -o ".join(f"-path {root}/shared/{name}" for name in ("logs", "media", "instance"))
        script = f"find {root} \\( {skipped} \\) -prune -o -printf '%p %i %s %l %T@\\n' | sort; "
        script += f"systemctl show --property=ActiveState,MainPID {self.app}.service {self.app}-next.service"
        release = self.release(own_venv=True)
        run = self.run(release, observe=["docker", "exec", self.host, "sh", "-c", script])
        check(run.wait() == 0, "the deploy without interruption failed", run.output())
        self.converged(release["release_name"], run.output())
        tasks = [json.loads(line) for line in run.tasks.read_text().splitlines()]
        states = [state for _name, state in tasks]
        points = [(number, name) for number, (name, state) in enumerate(tasks, 1) if states.index(state) == number - 1]
        # The first task finds the host as the last run has left it.
        check(len(points) > 2, "a deploy does not change the host between its tasks", run.output())
        return points[1:]

    def boundary(self, number: int, task: str) -> None:
        release = self.release(own_venv=True)
        run = self.run(release, at=number)
        code = run.wait()
        check(code == -signal.SIGKILL, f"the run was not killed but ended with {code}", run.output())
        self.interrupted(f"controller killed before '{task}'", release)

    def struck(self, moment: str, how: str, **variables: str) -> tuple[dict[str, str], Run, list[int]]:
        """A deploy whose module is struck at a moment; again, when the moment was over too quickly."""
        for _attempt in range(3):
            release = self.with_settings() if moment in SETTINGS else self.release(own_venv=moment == "building")
            release = {**release, **variables}
            self.agent.send("strike", name=moment, release=release["release_name"], how=how, seconds=PATIENCE / 2)
            run = self.run(release)
            pids = self.agent.receive()["struck"]
            if pids:
                return release, run, pids
            run.wait()
        raise Broken(f"no module was at work when it was '{moment}', three times\n{run.output()}")

    def module_killed(self, moment: str, other: bool = False) -> None:
        release, run, _pids = self.struck(moment, "KILL")
        code = run.wait()
        check(code not in (0, -signal.SIGKILL), f"the run ended with {code}", run.output())
        self.interrupted(f"module killed while {moment}", release, other)

    def controller_killed(self, moment: str, other: bool = False) -> None:
        """The module goes on, without anybody to report to, while the next run is on its way."""
        release, run, pids = self.struck(moment, "STOP")
        run.kill()
        self.agent("signal", pids=pids, how="CONT")
        self.interrupted(f"controller killed while {moment}", release, other)

    def everything_killed(self, moment: str, other: bool = False) -> None:
        release, run, pids = self.struck(moment, "STOP")
        run.kill()
        self.agent("signal", pids=pids, how="KILL")
        self.interrupted(f"controller and module killed while {moment}", release, other)

    def migration_killed(self) -> None:
        """The command outlives the module that has started it: the next run's own begins when it has ended."""
        notes = f"/srv/{self.app}/shared/instance/migrations"
        parts = [f'echo {what} "$(basename "$PWD")" >> instance/migrations' for what in ("begin", "end")]
        command = {"release_migrate_command": "\nsleep 5\n".join(parts)}
        first, run, pids = self.struck("migrating", "STOP", **command)
        run.kill()
        self.agent("signal", pids=pids, how="KILL")
        self.healthy()
        second = {**self.release(), **command}
        seconds = self.converge(second)
        done = subprocess.run(["docker", "exec", self.host, "cat", notes], capture_output=True, text=True, check=True)
        names = [release["release_name"] for release in (first, second)]
        wanted = [f"{what} {name}" for name in names for what in ("begin", "end")]
        check(done.stdout.splitlines() == wanted, "the migrations were not run one after the other", done.stdout)
        self.point(f"controller and module killed while migrating: the next run waited, and took {seconds:.1f} s")

    def overtaken(self, moment: str) -> None:
        """The module of a run whose controller is gone is still at work when the next run has long begun."""
        _release, run, pids = self.struck(moment, "STOP")
        run.kill()
        following = self.release()
        run = self.run(following)
        until = time.monotonic() + PATIENCE
        while len(self.agent("state")["modules"]) < 2 and time.monotonic() < until:
            time.sleep(0.1)
        # Long enough to do harm, if it could.
        time.sleep(3)
        self.agent("signal", pids=pids, how="CONT")
        code = run.wait()
        check(code == 0, f"the next run ended with {code}", run.output())
        self.converged(following["release_name"], run.output())
        self.interrupted(f"controller killed while {moment}, and the module still at work in the next run", following)

    def connection_cut(self, moment: str) -> None:
        """The activation needs nobody: it is complete before the next run."""
        release, run, pids = self.struck(moment, "STOP")
        run.cut()
        # The run waits for what is still at work before it releases the deploy lock.
        self.agent("signal", pids=pids, how="CONT")
        code = run.wait()
        check(code > 0, f"the run ended with {code}", run.output())
        until = time.monotonic() + PATIENCE
        while self.agent("state")["modules"] and time.monotonic() < until:
            time.sleep(0.2)
        self.converged(release["release_name"], run.output())
        self.interrupted(f"connection cut while {moment}", release)

    def reboot(self, moment: str) -> None:
        """No request is answered by a host that is off; what counts is what it serves when it is back."""
        release, run, _pids = self.struck(moment, "STOP")
        state = self.healthy()
        check(state["candidate"] == "active", "the candidate does not serve", state)
        self.agent.end()
        run.kill()
        self.start_again()
        self.interrupted(f"host restarted while {moment}", release)

    def start_again(self) -> None:
        """Restart the host as a power cut does, and watch it again once it serves."""
        for command in (["kill"], ["start"]):
            subprocess.run(["docker", *command, self.host], check=True, stdout=subprocess.DEVNULL)
        wait_for_answer(self.host, self.port)
        self.watch()

    def concurrent(self) -> None:
        """Two deploys at once: one wins, the other one says who holds the lock."""
        both = [self.release(), self.release()]
        runs = [self.run(release) for release in both]
        codes = [run.wait() for run in runs]
        outputs = [run.output() for run in runs]
        check(sorted(code == 0 for code in codes) == [False, True], f"the runs ended with {codes}", "\n".join(outputs))
        winner, loser = (codes.index(0), 1 - codes.index(0))
        said = re.search(HELD, " ".join(outputs[loser].split()))
        check(bool(said), "the other one does not say who holds the lock and how to clear it", outputs[loser])
        self.healthy()
        self.converged(both[winner]["release_name"], outputs[winner])
        self.point(f"two deploys at once: one went live, the other one said: {said[0]}")
        self.converge(both[loser])

    def full(self, where: str, leave: int = 0, **variables: object) -> None:
        """A deploy to a file system without room for it."""
        release = self.release()
        if where == "the release":
            Path(release["release_directory"], "large").write_bytes(os.urandom(4 << 20))
        if where == "the environment":
            Path(release["release_directory"], "requirements.txt").write_text(f"# {release['release_name']}\n")
        if leave:
            self.agent("fill", leave=leave)
        run = self.run(release, **variables)
        code = run.wait()
        check(code > 0, f"the run ended with {code}", run.output())
        said = re.search(r"[^\n]*No space left on device[^\n]*", run.output())
        check(bool(said), "it does not say that there is no space left", run.output())
        state = self.healthy()
        check(not state["lock"], "the lock is still there", state)
        self.agent("free")
        self.interrupted(f"no room for {where} ({said[0].strip()})", release)


WSGI = """import os

RELEASE = os.path.basename(os.path.realpath(os.getcwd()))


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Demo-Release", RELEASE)])
    return [b"ok"]
"""


def small(host: str, inventory: str, work: Path) -> None:
    """A second application, whose file system is small."""
    source = work / "small"
    (source / "static").mkdir(parents=True)
    (source / "wsgi.py").write_text(WSGI)
    (source / "requirements.txt").write_text("")
    command = "mkdir -p /srv/small && mount -t tmpfs -o size=24m,mode=755 tmpfs /srv/small"
    subprocess.run(["docker", "exec", host, "sh", "-c", command], check=True)
    uv = os.environ.get("FLASKOPS_TARGET_UV") or "/srv/myapp/venvs/.uv/bin/uv"
    variables = {"flask_app_name": "small", "flask_app_root": "/srv/small", "nginx_site_listen": 8081, "venv_uv": uv}
    test = Test(host, inventory, "small", 8081, source, work / "releases of small", **variables)
    hook = work / "fill.yml"
    filler = 'python3 -c \'import os; s = os.statvfs("/srv/small"); '
    filler += 'open("/srv/small/shared/media/ballast", "wb").write(bytes(s.f_bavail * s.f_frsize))\''
    hook.write_text(json.dumps([{"name": "Fill the file system", "ansible.builtin.command": filler}]))
    first = test.release()
    run = test.run(first, "site")
    check(run.wait() == 0, "the small application can't be deployed", run.output())
    test.watch()
    try:
        test.converged(first["release_name"], run.output())
        test.full("the release", leave=1 << 20)
        test.full("the environment", leave=1 << 20)
        test.full("the activation", release_before_activate=[str(hook)])
    except Broken as broken:
        raise Broken(f"{broken}\n\n{test.agent('journal')['text']}") from None
    test.agent.end()


RANDOM_WSGI = """import os

RELEASE = os.path.basename(os.path.realpath(os.getcwd()))
# What the environment file, the unit and Gunicorn's configuration say.
SETTINGS = "/".join(os.environ.get(name, "none") for name in ("MODE", "UNIT_MODE", "CONFIG_MODE"))


def app(environ, start_response):
    # What the site says.
    site = environ.get("HTTP_X_DEMO_SITE", "none")
    headers = [("X-Demo-Release", RELEASE), ("X-Demo-Settings", SETTINGS), ("X-Demo-Site", site)]
    start_response("200 OK", headers)
    return [b"ok"]
"""


class Served(NamedTuple):
    """What answers a visitor: the release, its settings, and the site that leads to it."""

    release: str
    settings: str = "none/none/none"
    site: str = "none"


class OnHost:
    """Transactions of a small application, by modules on the host without a playbook.

    They are interrupted at a moment that is waited for, or at one of the dice, like adoptions.
    """

    app, root, port, place = "random", "/srv/random", 8082, "/opt/transaction"
    # What is changed, and how it is interrupted, with how often; a start of the host takes long.
    changes: ClassVar = {"release": 3, "settings": 3, "both": 3, "site": 2, "rollback": 3, "adoption": 2}
    ways: ClassVar = {"process": 4, "controller": 4, "everything": 3, "reboot": 1}

    def __init__(self, host: str, inventory: str, work: Path) -> None:
        self.host, self.work = host, work
        source = work / "source"
        (source / "static").mkdir(parents=True)
        (source / "wsgi.py").write_text(RANDOM_WSGI)
        (source / "requirements.txt").write_text("")
        uv = os.environ.get("FLASKOPS_TARGET_UV") or "/srv/myapp/venvs/.uv/bin/uv"
        variables = {"flask_app_name": self.app, "flask_app_root": self.root, "nginx_site_listen": self.port}
        self.test = Test(
            host, inventory, self.app, self.port, source, work / "releases", **variables, venv_uv=uv, flask_app_env={}
        )
        self.seed = int(os.environ.get("INTERRUPT_SEED", "8"))
        self.dice = random.Random(self.seed)
        self.run_id = 0
        self.now = Served("")
        # Arguments of the module that compares a host with a release, by its name.
        self.looks: dict[str, dict] = {}

    def prepare(self) -> None:
        """Deploy what is needed, once for all points."""
        if self.now.release:
            return
        self.releases = [self.deploy("site"), self.deploy("deploy")]
        self.now = Served(self.releases[-1])
        self.send_code()
        self.files = {path: self.read(path) for path in self.paths()}
        self.site = self.read(f"/etc/nginx/sites-available/{self.app}.conf")
        self.test.watch()
        # One without interruption: how long it takes.
        self.seconds = self.converge(*self.choose("both"))

    def end(self) -> None:
        if self.now.release:
            self.test.agent.end()

    def random(self) -> None:
        self.prepare()
        adoption = Adoption(self)
        begun, counts = time.monotonic(), collections.Counter()
        for number in range(int(os.environ.get("INTERRUPT_RANDOM", "10"))):
            what, how = (self.dice.choices(list(odds), odds.values())[0] for odds in (self.changes, self.ways))
            told = f"random {number} of seed {self.seed}: {what}, {how}"
            if what == "adoption":
                adoption.interrupt(told, how)
            else:
                self.interrupt(told, what, how)
            counts.update([what, how])
        self.test.point(
            f"random interruptions of seed {self.seed}: {dict(counts)}, "
            f"{self.test.total + adoption.total} requests, 0 failed, in {time.monotonic() - begun:.0f} s"
        )

    def struck(self, how: str, moment: str) -> None:
        """An activation that is struck at a moment: its module, its controller, both, or the host."""
        self.prepare()
        for _attempt in range(3):
            before, (wanted, action) = self.now, self.choose("both" if moment in SETTINGS else "release")
            what = {"name": moment, "release": wanted.release, "mode": wanted.settings.partition("/")[0]}
            way = "KILL" if how == "module" else "STOP"
            self.test.agent.send("strike", **what, how=way, seconds=PATIENCE / 2)
            program = [f"{self.place}/transaction.py", json.dumps(self.modules(wanted, action))]
            command = ["docker", "exec", self.host, "python3", *program]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
                hit = self.test.agent.receive()
                if hit["struck"] and how == "reboot":
                    state = self.test.healthy()
                    check(state["candidate"] == "active", "the candidate does not serve", state)
                    self.restart_host(f"{how} {moment}", before, wanted, state)
                elif hit["struck"]:
                    self.leave(how, hit)
                said = run.communicate()[0]
            if not hit["struck"]:
                check(run.returncode == 0, f"{how} {moment}: not even begun", said)
                self.now = wanted
                continue
            told = f"{how} {moment}"
            self.consistent(told, before, wanted, restarted=how == "reboot")
            seconds = self.converge(wanted, action, told)
            self.test.point(f"{told}, on the host: {before} or {wanted}; the next run took {seconds:.1f} s, 0 failed")
            return
        raise Broken(f"no module was at work when it was '{moment}', three times")

    def leave(self, how: str, hit: dict) -> None:
        """Do the rest to a transaction whose module has been struck."""
        if how != "module":
            self.test.agent("signal", pids=hit["controllers"], how="KILL")
            for signal_name in ("KILL",) if how == "both" else ("HUP", "CONT"):
                self.test.agent("signal", pids=hit["struck"], how=signal_name)

    def deploy(self, playbook: str) -> str:
        release = self.test.release()
        run = self.test.run(release, playbook)
        check(run.wait() == 0, "the random application can't be deployed", run.output())
        ran = [json.loads(line) for line in run.modules.read_text().splitlines()]
        # With this, each run begins: it cleans up after the one before, and takes the deploy lock.
        looks = [found for name, found in ran if name.endswith("release_stage") and found["only"] == "look"]
        given = {name: value for name, value in looks[-1].items() if value is not None and name != "run"}
        self.looks[release["release_name"]] = given
        return release["release_name"]

    def send_code(self) -> None:
        """The collection's modules, and what they need of Ansible."""
        import ansible

        collection, core = HERE.parents[2], Path(ansible.__file__).parent
        code = self.work / "transaction"
        target = code / "ansible_collections/flaskops/production/plugins"
        for name in ("modules", "module_utils"):
            shutil.copytree(collection / "plugins" / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        (code / "ansible").mkdir()
        for name in ("__init__.py", "release.py"):
            shutil.copy(core / name, code / "ansible" / name)
        for name in ("_vendor", "module_utils"):
            shutil.copytree(core / name, code / "ansible" / name)
        shutil.copy(HERE / "transaction.py", code)
        self.shell(f"rm -rf {self.place}")
        subprocess.run(["docker", "cp", "--quiet", str(code), f"{self.host}:{self.place}"], check=True)

    def shell(self, script: str) -> None:
        subprocess.run(["docker", "exec", self.host, "sh", "-ec", script], check=True)

    def read(self, path: str) -> str:
        command = ["docker", "exec", self.host, "cat", path]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def read_link(self, path: str) -> str:
        command = ["docker", "exec", self.host, "readlink", "-f", path]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def paths(self) -> list[str]:
        units = [f"/etc/systemd/system/{self.app}{end}.service" for end in ("", "-next")]
        return [f"{self.root}/shared/.env", f"{self.root}/gunicorn.conf.py", *units]

    def entries(self, mode: str) -> list[dict]:
        """The files of settings: each of them says which ones it is of."""
        more = [
            f'MODE="{mode}"\n',
            f'raw_env = ["CONFIG_MODE={mode}"]\n',
            *[f"\n[Service]\nEnvironment=UNIT_MODE={mode}\n"] * 2,
        ]
        options = {"type": "file", "owner": "root", "setting": True}
        return [
            {**options, "path": path, "mode": "0640" if path.endswith(".env") else "0644", "content": text + added}
            for (path, text), added in zip(self.files.items(), more, strict=True)
        ]

    def choose(self, what: str) -> tuple[Served, str]:
        """What is to serve, and how that is recorded."""
        release, settings, site = self.now
        if what in ("release", "both", "rollback"):
            release = next(name for name in self.releases if name != release)
        if what in ("settings", "both"):
            settings = "/".join([f"m{self.run_id}"] * 3)
        if what in ("settings", "both", "site"):
            site = f"s{self.run_id}"
        return Served(release, settings, site), "rollback" if what == "rollback" else "deploy"

    def run_options(self) -> dict:
        """A run of another controller that is known to be dead is replaced."""
        self.run_id += 1
        return {"run": f"run-{self.run_id}", "by": "dice", "controller": "ci", "replaces": f"run-{self.run_id - 1}"}

    def modules(self, wanted: Served, action: str) -> list:
        run = self.run_options()
        stage = {"root": self.root, "name": self.app}
        path = f"/etc/nginx/sites-available/{self.app}.conf"
        text = self.site.replace("proxy_pass ", f"proxy_set_header X-Demo-Site {wanted.site}; proxy_pass ")
        site = {"path": path, "link": path.replace("available", "enabled"), "content": text, "application": self.app}
        health = {"path": "/health", "attempts": 20, "interval": 0.2}
        activate = {"name": self.app, "root": self.root, "release": wanted.release, "action": action, "health": health}
        found = [["release_stage", {**self.looks[wanted.release], "run": run}]]
        if wanted.settings != Served.settings:
            entries = self.entries(wanted.settings.partition("/")[0])
            found.append(["tree", {"entries": entries, "stage": stage, "run": run}])
        if wanted.site != Served.site:
            found.append(["nginx_site", {**site, "stage": stage, "run": run}])
        return [*found, ["release_activate", {**activate, "site": path, "run": run}]]

    def begin(self, wanted: Served, action: str) -> None:
        self.test.agent("begin", program=f"{self.place}/transaction.py", modules=self.modules(wanted, action))

    def interrupt(self, told: str, what: str, how: str) -> None:
        before, (wanted, action) = self.now, self.choose(what)
        self.begin(wanted, action)
        moment = self.dice.uniform(0, self.seconds)
        time.sleep(moment)
        told = f"{told} after {moment:.2f} s"
        if how == "reboot":
            self.restart_host(told, before, wanted, self.test.serves())
        else:
            self.test.agent("interrupt", how=how.replace("everything", "both"))
        self.consistent(told, before, wanted, restarted=how == "reboot")
        self.converge(wanted, action, told)

    def restart_host(self, told: str, before: Served, wanted: Served, state: dict) -> None:
        """Check the answers so far, and restart the host: answers from after the restart are checked on their own."""
        self.check_answers(told, before, wanted, state)
        self.test.agent.end()
        self.test.start_again()

    def consistent(self, told: str, before: Served, wanted: Served, restarted: bool = False) -> None:
        """Check that the host serves, and that all answers came from one set or the other."""
        self.check_answers(told, before, wanted, self.test.healthy(), restarted)

    def check_answers(self, told: str, before: Served, wanted: Served, state: dict, restarted: bool = False) -> None:
        """Check all answers since the last check.

        During an activation, the new release answers beside the old one, through the old site. The old release never
        answers through the new site, and a start of the host starts one set or the other.
        """
        seen = {Served(*answer.split(" ")) for answer in self.test.seen}
        self.test.seen.clear()
        allowed = {before, wanted} if restarted else {before, wanted, wanted._replace(site=before.site)}
        check(seen <= allowed, f"{told}: {sorted(seen - allowed)} was served, allowed: {sorted(allowed)}", state)

    def converge(self, wanted: Served, action: str, told: str = "") -> float:
        before, began = self.now, time.monotonic()
        self.begin(wanted, action)
        ended = self.test.agent("finish")
        seconds = time.monotonic() - began
        check(ended["code"] == 0, f"{told}: the next run failed", ended["said"])
        self.consistent(told, before, wanted)
        answers = {answer for __, answer in self.test.agent("ask", times=3)["answers"]}
        check(answers == {" ".join(wanted)}, f"{told}: {answers} is served, not {wanted}")
        state = self.test.serves()
        check(not state["leftovers"] and not state["lock"], f"{told}: something is left over", state)
        check(state["log"][-1] == wanted.release and not state["next"], f"{told}: the log or next is wrong", state)
        self.now = wanted
        return seconds


OLD_UNIT = """[Unit]
After=network.target
[Service]
User=old
RuntimeDirectory=old
WorkingDirectory=/opt/old
ExecStart={venv}/bin/gunicorn --bind unix:/run/old/gunicorn.sock --workers 1 wsgi:app
[Install]
WantedBy=multi-user.target
"""
OLD_SITE = """server {
    listen 8083;
    server_name localhost;
    location / {
        proxy_set_header Host $host;
        proxy_pass http://unix:/run/old/gunicorn.sock;
    }
}
"""


class Adoption:
    """An old deployment, and its adoption by modules on the host, from where all is copied. It can be repeated."""

    app, root, port = "adopted", "/srv/adopted", 8083
    module = "flaskops.production.adoption_activate"
    kept = "/opt/before-the-adoption.tar"

    def __init__(self, dice: OnHost) -> None:
        self.dice, self.host, self.total = dice, dice.host, 0
        self.make_old()
        work = dice.work / "adoption"
        work.mkdir()
        options = {"flask_app_name": self.app, "adopt_from": "/opt/old", "adopt_unit": "old.service"}
        options |= {"nginx_site_listen": self.port, "release_shared_paths": [], "release_name": "adopted"}
        options |= {"flask_app_env": {}, "venv_uv": dice.test.variables["venv_uv"]}
        task = "adoption | Activate the release after its health check"
        run = Run("adopt", self.host, dice.test.inventory, work, at=task, **options)
        code = run.wait()
        check(code == -signal.SIGKILL, f"the adoption was not killed but ended with {code}", run.output())
        # Only the activation is left; every repetition begins here.
        files = f"{self.root[1:]} opt/old etc/systemd/system etc/nginx"
        dice.shell(f"rm -f {self.root}/.deploy/lock; tar -C / -cf {self.kept} {files}")
        run = Run("adopt", self.host, dice.test.inventory, work, **options)
        check(run.wait() == 0, "the adoption failed", run.output())
        ran = [json.loads(line) for line in run.modules.read_text().splitlines()]
        given = next(found for name, found in ran if name == self.module and not found["only"])
        self.arguments = {name: value for name, value in given.items() if value is not None and name != "run"}
        began = time.monotonic()
        self.reset()
        self.watch()
        self.adopt("an adoption without interruption")
        self.seconds = time.monotonic() - began
        self.agent.end()

    def make_old(self) -> None:
        (self.dice.work / "old").mkdir()
        venv = self.dice.read_link(f"{self.dice.root}/app/.venv")
        texts = {"wsgi.py": RANDOM_WSGI, "old.service": OLD_UNIT.format(venv=venv), "old": OLD_SITE}
        for name, text in texts.items():
            (self.dice.work / "old" / name).write_text(text)
        subprocess.run(["docker", "cp", "--quiet", str(self.dice.work / "old"), f"{self.host}:/opt/old"], check=True)
        self.dice.shell(
            "useradd --system old; cd /opt/old; touch requirements.txt; chmod -R a+rX ."
            "; mv old.service /etc/systemd/system; mv old /etc/nginx/sites-available"
            "; ln -s ../sites-available/old /etc/nginx/sites-enabled"
            "; systemctl enable --quiet --now old.service; systemctl reload nginx"
        )

    def reset(self) -> None:
        """The old deployment serves again, with everything copied and nothing activated."""
        # The application of the dice goes on.
        sites = "/etc/nginx/sites-available /etc/nginx/sites-enabled"
        kept = ["opt/old", "etc/nginx/sites-available/old", "etc/nginx/sites-enabled/old", self.root[1:]]
        kept += ["etc/systemd/system/old.service", "etc/systemd/system/multi-user.target.wants/old.service"]
        self.dice.shell(
            f"systemctl stop {self.app}.socket {self.app}.service; systemctl disable --quiet {self.app}.socket"
            f"; find {sites} -name '{self.app}*' -delete; rm -rf {self.root} /etc/systemd/system/{self.app}*"
            f"; tar -C / -xf {self.kept} {' '.join(kept)}"
            f"; systemctl daemon-reload; systemctl start old.service; systemctl reload nginx"
        )
        wait_for_answer(self.host, self.port)

    def watch(self) -> None:
        self.agent = Agent(self.host, self.app, self.root, self.port)
        until = time.monotonic() + PATIENCE
        while not self.agent("visits")["answered"]:
            check(time.monotonic() < until, "nobody is answered", self.agent("journal")["text"])
            time.sleep(0.1)

    def begin(self, **options: object) -> None:
        modules = [["adoption_activate", {**options, "run": self.dice.run_options()}]]
        self.agent("begin", program=f"{self.dice.place}/transaction.py", modules=modules)

    def activate_again(self) -> None:
        self.begin(**self.arguments)

    def adopt(self, told: str) -> None:
        """A whole run, as the playbook does it: it recovers, and activates the release if it is not live yet."""
        self.begin(name=self.app, root=self.root, only="recover")
        ended = self.agent("finish")
        check(ended["code"] == 0, f"{told}: recovering failed", ended["said"])
        if json.loads(self.dice.read(f"{self.root}/.deploy/adoption.json"))["state"] != "done":
            self.activate_again()
            ended = self.agent("finish")
            check(ended["code"] == 0, f"{told}: the next run failed", ended["said"])
        answers = {answer.split(" ")[0] for __, answer in self.agent("ask", times=3)["answers"]}
        check(answers == {self.arguments["release"]}, f"{told}: {answers} is served")
        visits, state = self.agent("visits"), self.agent("state")
        self.total += visits["answered"]
        check(not visits["faults"], f"{told}: {len(visits['faults'])} requests failed", visits, state)
        check(not state["leftovers"] and not state["lock"], f"{told}: something is left over", state)

    def interrupt(self, told: str, how: str) -> None:
        self.reset()
        self.watch()
        self.activate_again()
        moment = self.dice.dice.uniform(0, self.seconds)
        time.sleep(moment)
        if how == "reboot":
            # The agents end with the host.
            self.dice.test.serves()
            visits = self.agent("visits")
            check(not visits["faults"], f"{told}: {len(visits['faults'])} requests failed", visits)
            self.total += visits["answered"]
            for agent in (self.agent, self.dice.test.agent):
                agent.end()
            self.dice.test.start_again()
            wait_for_answer(self.host, self.port)
            self.watch()
        else:
            self.agent("interrupt", how=how.replace("everything", "both"))
        self.adopt(f"{told} after {moment:.2f} s")
        self.agent.end()


def points_of(test: Test, on_host: OnHost) -> dict[str, Callable[[], None]]:
    """What the host is put through, by name. Each moment is struck at least once, and the ways to strike alternate.

    Where the rest of a run proves nothing, the transaction alone is struck, by modules on the host.
    """
    boundaries = {
        f"boundary {number}": lambda number=number, task=task: test.boundary(number, task)
        for number, task in (test.observed() if not ONLY or ONLY.startswith("boundary") else [])
    }
    alone = {
        "module": ("pointed", "starting", "ready", "restarted", "leaving", "kept", "placed"),
        "both": ("restarting", "pinned"),
        "controller": ("starting", "pinned"),
        "reboot": ("ready", "pinned", "placed"),
    }
    modules = ("unpacking", "building", "swapped", "pruning")
    return {
        **boundaries,
        **{f"module {moment}": lambda moment=moment: test.module_killed(moment) for moment in modules},
        "both unpacking": lambda: test.everything_killed("unpacking", other=True),
        "both migrating": test.migration_killed,
        "controller building": lambda: test.controller_killed("building"),
        "controller swapped": lambda: test.controller_killed("swapped", other=True),
        "overtaken starting": lambda: test.overtaken("starting"),
        "connection swapped": lambda: test.connection_cut("swapped"),
        "reboot swapped": lambda: test.reboot("swapped"),
        "concurrent": test.concurrent,
        # From here on, the live release has settings of its own.
        **{f"module {moment}": lambda moment=moment: test.module_killed(moment) for moment in ("staged", "pinned")},
        "controller staged": lambda: test.controller_killed("staged", other=True),
        **{
            f"{how} {moment} on the host": lambda how=how, moment=moment: on_host.struck(how, moment)
            for how, moments in alone.items()
            for moment in moments
        },
        "random": on_host.random,
        "full": lambda: small(test.host, test.inventory, test.work),
    }


def main() -> None:
    host, inventory, app, port, source, work = sys.argv[1:]
    started = time.monotonic()
    test = Test(host, inventory, app, int(port), Path(source), Path(work) / host)
    on_host = OnHost(test.host, test.inventory, test.work / "random")
    test.watch()
    try:
        for name, point in points_of(test, on_host).items():
            if ONLY in name:
                point()
        on_host.end()
    except Broken as broken:
        watched = on_host.test if on_host.now.release else test
        print(f"\nAfter {Test.points} points, on {host}: {broken}\n\n{watched.agent('journal')['text']}")
        sys.exit(1)
    print(f"{Test.points} points on {host} in {time.monotonic() - started:.0f} s.")


if __name__ == "__main__":
    main()
