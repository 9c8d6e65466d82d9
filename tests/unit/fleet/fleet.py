# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet of trees in one directory, and runs of the playbooks on it, step by step as the roles take them.

Modules, records, locks and decisions are the real ones. Only the processes are left out: a host answers with the
release that its link `app` names, and a release that a host does not bear is rejected by it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ansible_collections.flaskops.production.plugins.filter.release_hosts import release_hosts
from ansible_collections.flaskops.production.plugins.filter.release_rollout import release_returns, release_rollout
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.rollout import read_drain, read_rollout
from ansible_collections.flaskops.production.plugins.modules import release_activate, release_stage
from ansible_collections.flaskops.production.plugins.modules import release_rollout as rollout_module
from ansible_collections.flaskops.production.plugins.plugin_utils._run import identity

MODULES = {
    "release_stage": release_stage,
    "release_activate": release_activate,
    "release_rollout": rollout_module,
}
HOSTS = ("web1", "web2", "web3")


class Killed(Exception):
    """The controller is gone, and nobody cleans up."""


class Stopped(Exception):
    """The run is over for all hosts."""


class Fleet:
    """Hosts, the balancer before them, and everybody who deploys to them."""

    def __init__(self, place: Path, run_module: Callable[..., dict], names: tuple[str, ...] = HOSTS) -> None:
        self.place, self.run_module = place, run_module
        self.names: list[str] = []
        self.dead: set[str] = set()
        self.unreachable: set[str] = set()
        self.rejecting: dict[str, set[str]] = {}
        self.out: set[str] = set()
        self.balancer_down = False
        self.join_fails = 0
        self.runs = 0
        self.executions: dict[str, int] = {}
        for name in names:
            self.add(name)

    def add(self, name: str) -> None:
        self.names.append(name)

    def layout(self, host: str, app: str = "shop") -> Layout:
        return Layout(str(self.place / host / app))

    def provision(self, host: str, app: str) -> None:
        for name in ("venvs/" + "e" * 12, "shared/static", "shared/media", "run", ".deploy/environments"):
            (self.place / host / app / name).mkdir(parents=True, exist_ok=True)

    def live(self, app: str = "shop") -> str:
        """What the hosts answer, in the order of their names."""
        return ",".join(self.layout(host, app).find_live() or "-" for host in self.names)

    def locks(self) -> list[str]:
        return [str(path.relative_to(self.place)) for path in sorted(self.place.glob("*/*/.deploy/lock"))]

    def states(self, app: str = "shop") -> str:
        return ",".join(read_rollout(self.layout(host, app)).get("state", "-") for host in self.names)

    def drained(self, app: str = "shop") -> list[str]:
        return [host for host in self.names if read_drain(self.layout(host, app))]

    def run(self, playbook: str, release: str = "", **options: Any) -> Run:
        self.runs += 1
        return Run(self, f"run{options.pop('order', self.runs):04}", playbook, release, **options).play()


class Run:
    """One run of a playbook. `at` are surprises, by the step and the host before which they come."""

    def __init__(
        self,
        fleet: Fleet,
        name: str,
        playbook: str,
        release: str,
        limit: tuple[str, ...] = (),
        apps: tuple[str, ...] = ("shop",),
        serial: int = 1,
        tolerated: int = 0,
        hooks: bool = False,
        to: str = "",
        undo: bool = False,
        unlock: bool = False,
        at: dict[tuple[str, str], Callable[[], None]] | None = None,
    ) -> None:
        self.fleet, self.name, self.playbook, self.release, self.apps = fleet, name, playbook, release, apps
        self.hosts = [host for host in fleet.names if not limit or host in limit]
        self.serial, self.tolerated, self.hooks = serial, tolerated, hooks
        self.to, self.undo, self.unlock, self.at = to, undo, unlock, at or {}
        self.failed: dict[str, str] = {}
        self.gone: set[str] = set()
        self.held: list[tuple[str, str]] = []
        self.looks: dict[str, dict[str, dict]] = {app: {} for app in apps}
        self.prepared: dict[str, dict[str, dict]] = {app: {} for app in apps}
        self.rollouts: dict[str, dict[str, dict]] = {app: {} for app in apps}
        self.seen: dict[str, dict[str, str | None]] = {}
        self.ends: dict[str, dict[str, dict]] = {}
        self.joined: set[tuple[str, str]] = set()
        self.said: list[str] = []
        self.code = 0

    # How a step reaches a host

    def step(self, what: str, host: str) -> None:
        surprise = self.at.get((what, host))
        if surprise:
            surprise()

    def execute(self, host: str, module: str, app: str, **arguments: Any) -> dict:
        """The action plugin's half, and the module itself. An unreachable host gives no answer."""
        if host in self.fleet.unreachable:
            return {"unreachable": True}
        named = {"app": app} if module == "release_stage" else {"name": app}
        given = {"root": str(self.fleet.place / host / app), **named, "unlock": self.unlock, **arguments}

        def on_host(name: str, module_args: dict, task_vars: dict) -> dict:
            self.fleet.executions[host] = self.fleet.executions.get(host, 0) + 1
            return self.fleet.run_module(MODULES[module], module_args)

        action = SimpleNamespace(_task=SimpleNamespace(resolved_action=module, action=module), _execute_module=on_host)
        return identity.execute_module(action, given, {})

    def active(self, app: str = "") -> list[str]:
        return [host for host in self.hosts if host not in self.failed and host not in self.gone]

    def lost(self) -> list[str]:
        return [host for host in self.hosts if host in self.failed or host in self.gone]

    # What the roles do when something fails: guard.yml and fail.yml

    def stops(self) -> bool:
        return len(self.lost()) > self.tolerated or "locked" in self.failed.values() or not self.active()

    def guard(self, app: str, hosts: list[str]) -> None:
        if self.stops():
            for host in hosts:
                self.fail(host, app, {"msg": f"{', '.join(self.lost())} failed or could not be reached"})
            raise Stopped

    def fail(self, host: str, app: str, result: dict) -> None:
        kind = "locked" if result.get("lock_holder") else "unreachable" if result.get("unreachable") else "failed"
        self.failed[host] = kind
        self.code = 2
        self.said.append(f"{host}: {result.get('msg', 'could not be reached')}")
        unreachable = [name for name, why in self.failed.items() if why == "unreachable"]
        hosts = [name for name in (self.hosts if self.stops() else [host]) if name not in unreachable]
        given = []
        for name, held_app in self.held:
            if name in hosts:
                rollout = self.rollouts[held_app].get(name)
                how = {"rollout": rollout, "state": "stopped", "joined": (name, held_app) in self.joined}
                found = self.execute(name, "release_rollout", held_app, step="finish", **how)
                given.append({**found, "__release_lock": [{"key": name}, {"app": held_app}]})
                self.seen.setdefault(name, {})[held_app] = found.get("live")
        self.said += release_hosts(self.seen, app, given)
        if self.hooks and "locked" not in self.failed.values() and self.balance(host, False):
            self.execute(host, "release_rollout", app, step="finish", joined=True)

    def balance(self, host: str, out: bool) -> bool:
        """Tell the balancer; Ansible takes a host out of the play where the balancer cannot be reached."""
        if self.fleet.balancer_down:
            self.gone.add(host)
            self.code = 4
            return False
        if not out and self.fleet.join_fails:
            self.fleet.join_fails -= 1
            return False
        (self.fleet.out.add if out else self.fleet.out.discard)(host)
        return True

    # The plays

    def play(self) -> Run:
        before = os.environ.get("THIS_RUN")
        os.environ["THIS_RUN"] = self.name
        try:
            self.begin()
            self.activate()
            self.finish()
        except Stopped:
            self.code = self.code or 2
        except Killed:
            self.fleet.dead.add(self.name)
            self.code = 137
        finally:
            os.environ["THIS_RUN"] = before or ""
        return self

    def begin(self) -> None:
        for app in self.apps:
            for host in self.active():
                self.step("claim", host)
                self.fleet.provision(host, app)
                self.held.append((host, app))
                self.claim(host, app)
        for app in self.apps:
            if any(look["locked"] for look in self.looks[app].values()):
                for host in [host for host in self.active() if not self.looks[app][host]["locked"]]:
                    found = self.execute(host, "release_rollout", app, step="claim")
                    if found.get("failed") or found.get("unreachable"):
                        self.fail(host, app, found)
                        continue
                    self.looks[app][host]["locked"] = found["locked"]
            self.guard(app, self.active())
            if self.playbook == "rollback":
                self.decide(app)
            else:
                self.prepare(app)

    def claim(self, host: str, app: str) -> None:
        if self.playbook == "rollback":
            found = self.execute(host, "release_rollout", app, step="claim")
            look = {**found.get("more", {}), "live": found.get("live"), "locked": found.get("locked")}
        else:
            found = look = self.execute(host, "release_stage", app, only="look", **source_of(self.release))
        if found.get("failed") or found.get("unreachable"):
            self.fail(host, app, found)
            return
        self.looks[app][host] = look
        self.seen.setdefault(host, {})[app] = look["live"]

    def looked(self, app: str) -> dict[str, dict]:
        return {host: look for host, look in self.looks[app].items() if host in self.active()}

    def decide(self, app: str) -> None:
        returns = release_returns(self.looked(app), app, self.to, self.undo)
        if returns["error"]:
            for host in self.active():
                self.fail(host, app, {"msg": returns["error"]})
            raise Stopped
        self.said.append(returns["message"])
        for host, target in returns["targets"].items():
            live = self.looks[app][host]["live"]
            self.prepared[app][host] = {"release": target, "needed": target != live, "action": "rollback"}
            self.rollouts[app][host] = {**returns["rollout"], "release": target}

    def prepare(self, app: str) -> None:
        rollout = release_rollout(self.looked(app))
        for host in self.active():
            self.step("prepare", host)
            look = self.looks[app][host]
            self.rollouts[app][host] = {**rollout, "release": look["release"]}
            if look["pending"]:
                archive = {"archive_content": content_of(self.release), "rollout": self.rollouts[app][host]}
                found = self.execute(host, "release_stage", app, **source_of(self.release), **archive)
                if found.get("failed") or found.get("unreachable"):
                    self.fail(host, app, found)
                    continue
            link = self.fleet.place / host / app / ".deploy/environments" / look["release"]
            if not link.is_symlink():
                link.symlink_to("../../venvs/" + "e" * 12)
            needed = look["live"] != look["release"]
            self.prepared[app][host] = {"release": look["release"], "needed": needed, "action": "deploy"}

    def activate(self) -> None:
        batches = [self.hosts[start : start + self.serial] for start in range(0, len(self.hosts), self.serial)]
        for batch in batches:
            for app in self.apps:
                due = [host for host in batch if self.prepared[app].get(host, {}).get("needed")]
                self.switch(app, [host for host in due if host in self.active()])

    def switch(self, app: str, batch: list[str]) -> None:
        for number, host in enumerate(batch):
            # One host of the batch runs its hooks first: see hooks.yml.
            if number < 2:
                self.guard(app, [host for host in batch[number:] if host in self.active()] or self.active()[:1])
            if self.hooks:
                self.step("drain", host)
                noted = self.execute(host, "release_rollout", app, step="drain")
                if noted.get("unreachable"):
                    self.fail(host, app, noted)
                    continue
                if not self.balance(host, True):
                    continue
            self.step("activate", host)
            wanted = self.prepared[app][host]
            found = self.execute(
                host,
                "release_activate",
                app,
                release=wanted["release"],
                action=wanted["action"],
                rollout=self.rollouts[app][host],
                health={"path": "/"},
            )
            self.seen[host][app] = found.get("release")
            if found.get("failed") or found.get("unreachable"):
                self.fail(host, app, found)
                continue
            self.step("join", host)
            if self.hooks and not self.balance(host, False):
                if host not in self.gone:
                    self.fail(host, app, {"msg": "the join hook failed"})
                continue
            self.joined.add((host, app))

    def finish(self) -> None:
        for app in self.apps:
            for host in self.active():
                self.step("finish", host)
                look = self.looks[app].get(host, {})
                if not look.get("locked"):
                    continue
                if look["drained"] and self.hooks and (host, app) not in self.joined and self.balance(host, False):
                    self.joined.add((host, app))
                rollout, joined = self.rollouts[app].get(host), (host, app) in self.joined
                state = self.state(host, app, rollout)
                found = self.execute(
                    host, "release_rollout", app, step="finish", rollout=rollout, state=state, joined=joined
                )
                if found.get("unreachable"):
                    self.code = 4
                self.seen.setdefault(host, {})[app] = found.get("live")
                self.ends.setdefault(host, {})[app] = found.get("more", {})
            for host in self.gone:
                if self.active() and (host, app) in self.held:
                    self.execute(host, "release_rollout", app, step="finish")
        self.said += release_hosts(self.seen, None, [], self.ends)

    def state(self, host: str, app: str, rollout: dict | None) -> str:
        live = self.fleet.layout(host, app).find_live()
        if live != self.prepared[app].get(host, {}).get("release"):
            return "stopped"
        if (rollout or {}).get("undo"):
            return "undone"
        return "stopped" if self.lost() else "done"

    @property
    def words(self) -> str:
        return " ".join(self.said)


def content_of(release: str) -> str:
    """The archive of a release, which holds its name."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        text = f"RELEASE = {release!r}\n".encode()
        member = tarfile.TarInfo("wsgi.py")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    return base64.b64encode(stream.getvalue()).decode()


def source_of(release: str) -> dict[str, Any]:
    content = base64.b64decode(content_of(release))
    digest = hashlib.sha256(release.encode()).hexdigest()
    source = {"name": release, "digest": digest, "sha256": hashlib.sha256(content).hexdigest(), "time": "2026-04-21"}
    return {"source": {**source, "size": len(content)}}
