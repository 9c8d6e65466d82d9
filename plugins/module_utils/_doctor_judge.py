# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong, of what was read: pure functions, one for each theme. Private to the collection."""

from __future__ import annotations

import os
import re
import time
from typing import Callable, Iterable, Iterator

from ansible_collections.flaskops.production.plugins.module_utils._accounts import group_name, user_name
from ansible_collections.flaskops.production.plugins.module_utils._doctor_catalog import SEVERITIES
from ansible_collections.flaskops.production.plugins.module_utils._doctor_discovery import directory_of
from ansible_collections.flaskops.production.plugins.module_utils._doctor_facts import Facts, environment_of
from ansible_collections.flaskops.production.plugins.module_utils._doctor_files import (
    SCANNED,
    Account,
    Node,
    may,
    within,
)
from ansible_collections.flaskops.production.plugins.module_utils._doctor_finding import Finding, finding
from ansible_collections.flaskops.production.plugins.module_utils._nginx import Location, conflicts

# How many paths a finding names; the rest is counted.
NAMED = 3
RESTARTS = 3
# Results of a unit that systemd starts no more: of a service, and of a socket whose service is such.
START_LIMITS = ("start-limit-hit", "service-start-limit-hit", "trigger-limit-hit")
# Seconds after which a lock is not that of a deploy at work, days before its end in which a certificate is renewed.
LOCK_AGE = 3600
CERTIFICATE_DAYS = 14
# Bytes that a deploy needs, and the shares of a file system below which it is low.
ROOM, NEARLY, FULL = 2 * 1024**3, 0.10, 0.01

UPLOADS = {"media", "uploads", "upload"}
LOGS = {"logs", "log"}
DATABASE = re.compile(r"\.(sqlite3?|db)$")
SECRETS = re.compile(r"^\.env(\..+)?$")
PUBLIC_ENV = re.compile(r"\.(example|sample|template|dist|defaults?)$")
KEY = re.compile(r"^(id_(rsa|dsa|ecdsa|ed25519)|.+\.key|.*privkey.*\.pem)$")


def judge(facts: Facts) -> list[Finding]:
    """Everything that is wrong, the worst first."""
    found = [item for theme in THEMES for item in theme(facts)]
    if facts.outdated and not any(item.id.startswith(EXPLAINED) for item in found):
        found.append(
            finding("service-outdated", facts.outdated, "a process that is what the tree describes", name=facts.name)
        )
    return sorted(found, key=lambda item: (-SEVERITIES.index(item.severity), not item.id.startswith(OUTAGES)))


# Findings that say that nobody is served now; they come first among those of their severity.
OUTAGES = (
    "nginx-not-running",
    "unit-masked",
    "unit-failed",
    "unit-start-limit",
    "unit-inactive",
    "unit-missing",
    "socket-missing",
    "socket-not-listening",
    "socket-foreign",
    "socket-unreachable",
    "nginx-proxy-mismatch",
    "live-missing",
    "health-failing",
    "disk-full",
    "file-system-read-only",
)


# A service that is outdated for one of these reasons has been told of.
EXPLAINED = (
    "unit-",
    "process-",
    "live-",
    "record-",
    "releases-",
    "environment-interpreter-",
    "environment-m",
    "activation-",
    "root-",
    "socket-",
    "parent-",
)


def shown(item: Node) -> str:
    """A node as `ls -l` would name it."""
    return f"{item.path} ({item.kind}, {item.mode:04o}, {user_name(item.uid)}:{group_name(item.gid)})"


def several(paths: list[str]) -> str:
    """Some of the paths, and how many more there are."""
    more = len(paths) - NAMED
    return ", ".join(paths[:NAMED]) + (f" and {more} more" if more > 0 else "")


def top(items: Iterable[Node]) -> str:
    """The directory or file that all of them are, or are below."""
    paths = [item.path for item in items]
    return paths[0] if len(paths) == 1 else os.path.commonpath([os.path.dirname(path) for path in paths])


# --- place -----------------------------------------------------------------------------------------------------------


def place(facts: Facts) -> Iterator[Finding]:
    """Where the application is, and whether who has to get there does."""
    root, name = facts.root, facts.name
    if root not in facts.nodes:
        yield finding("root-missing", f"{root} is not there", "the application's directory", root)
        return
    expected = "a path outside /root, /home and /tmp, such as /srv/" + name
    if re.match(r"/(root|home)(/|$)", root):
        yield finding("root-in-home", root, expected, root, name=name)
    if re.match(r"/(tmp|var/tmp)(/|$)", root):
        yield finding("root-in-tmp", root, expected, root, name=name)
    yield from _traversable(facts)
    yield from _replaceable(facts)


def _traversable(facts: Facts) -> Iterator[Finding]:
    web = [facts.listen.replace("unix:", "", 1)] + facts.served()
    runtime = [facts.root, facts.code, directory_of(facts.unit), facts.program, *facts.media]
    for account, paths, kind in (
        (facts.web, web, "parent-not-traversable-web"),
        (facts.runtime, runtime, "parent-not-traversable-runtime"),
    ):
        closed: dict[str, Node] = {}
        for path in paths if account else []:
            for item in facts.routes.get(path, []):
                if item.path != path and item.kind == "directory" and not may(account, item, 1):
                    closed.setdefault(item.path, item)
        for item in closed.values():
            yield finding(kind, shown(item), f"search permission (x) for {account.name}", item.path)


def _replaceable(facts: Facts) -> Iterator[Finding]:
    """Directories above the code that somebody other than root may write to, up to the root of the file system."""
    above = [*facts.routes.get(facts.root, []), *facts.routes.get(facts.code, []), facts.nodes[facts.root]]
    # One directory may have several names, where one on the way is a link.
    for item in {os.path.realpath(item.path): item for item in above}.values():
        if item.kind != "directory" or item.path == facts.code or item.mode & 0o1000:
            continue
        by_runtime = facts.runtime and facts.runtime.uid and may(facts.runtime, item, 2)
        if item.mode & 0o002 or by_runtime:
            yield finding("parent-writable", shown(item), "a directory that only root may write to", item.path)


# --- owners and modes ------------------------------------------------------------------------------------------------


def _data_below(facts: Facts) -> list[str]:
    """Directories among the code that hold data, which are judged as such."""
    return [item.path for item in facts.tree if _holds_data(facts, item)]


def _holds_data(facts: Facts, item: Node) -> bool:
    if item.kind != "directory" or os.path.basename(item.path) not in UPLOADS | LOGS:
        return False
    writable = facts.runtime is not None and facts.runtime.uid != 0 and may(facts.runtime, item, 2)
    return writable or item.path in facts.served()


def _is_code(facts: Facts, item: Node, data: list[str]) -> bool:
    name = os.path.basename(item.path)
    if item.kind not in ("file", "directory") or any(within(item.path, path) for path in data):
        return False
    return not (
        DATABASE.search(name) or SECRETS.match(name) or KEY.match(name) or name.endswith(".log") or name == ".git"
    )


def owners(facts: Facts) -> Iterator[Finding]:
    """Who may read and write what."""
    yield from _code_modes(facts)
    yield from _data_modes(facts)
    yield from _served(facts)
    yield from _secrets(facts)


def _code_modes(facts: Facts) -> Iterator[Finding]:
    data = _data_below(facts)
    own = facts.nodes.get(facts.code)
    code = ([own] if own else []) + [item for item in facts.tree if _is_code(facts, item, data)]
    open_to_all = [item for item in code if item.mode & 0o002]
    if open_to_all:
        seen = several([shown(item) for item in open_to_all])
        yield finding("code-world-writable", seen, "files that only their owner may write", top(open_to_all))
    if facts.runtime and facts.runtime.uid:
        writable = [item for item in code if item not in open_to_all and may(facts.runtime, item, 2)]
        if writable:
            seen = f"{facts.runtime.name} may write {several([shown(item) for item in writable])}"
            yield finding("code-writable-by-runtime", seen, "code of root or a deploy user", top(writable))
        closed = [item for item in code if not may(facts.runtime, item, 5 if item.kind == "directory" else 4)]
        if closed:
            seen = f"{facts.runtime.name} cannot read {several([shown(item) for item in closed])}"
            yield finding("code-unreadable", seen, "files and directories that it may read", top(closed))


def _data_modes(facts: Facts) -> Iterator[Finding]:
    runtime = facts.runtime
    if not runtime or not runtime.uid:
        return
    run = os.path.dirname(facts.listen.replace("unix:", "", 1)) if facts.listen.startswith("unix:") else ""
    run = run if within(run, facts.root) and run != facts.root else ""
    logs = [
        path
        for path in (os.path.join(facts.root, "shared", "logs"), os.path.join(facts.root, "logs"))
        if path in facts.nodes
    ]
    data = [path for path in dict.fromkeys([run, *facts.media, *logs]) if facts.nodes.get(path)]
    # The socket in it is made by systemd, and what else the application makes there is its own affair.
    needed = [path for path in data if path != run or not facts.socket_unit]
    for path in data:
        item = facts.nodes[path]
        if item.mode & 0o002 and not item.mode & 0o1000:
            yield finding(
                "data-world-writable", shown(item), "a directory that only the application may write to", path
            )
        if path in needed and not may(runtime, item, 3):
            expected = f"a directory that {runtime.name} may write to"
            yield finding("data-not-writable", shown(item), expected, path, user=runtime.name, group=runtime.group)
    if facts.code == facts.root or facts.code not in facts.nodes:
        return  # what is shared is what the live code says
    allowed = {*data, *facts.linked, facts.live, facts.releases, facts.code}
    allowed |= {path.lstrip("-+") for path in facts.unit.get("ReadWritePaths", "").split()}
    for item in facts.top:
        private = SECRETS.match(os.path.basename(item.path)) or item.path in allowed
        if item.kind in ("directory", "file") and not private and may(runtime, item, 2):
            seen = f"{runtime.name} may write {shown(item)}"
            expected = "write permission for run, media, logs and shared paths only"
            yield finding("writable-elsewhere", seen, expected, item.path)


def _served(facts: Facts) -> Iterator[Finding]:
    if not facts.web:
        return
    tops = [facts.nodes[path] for path in facts.served() if path in facts.nodes and within(path, facts.root)]
    needed = {"directory": 1, "file": 4}
    closed = [item for item in tops + facts.public if not may(facts.web, item, needed.get(item.kind, 0))]
    # Nginx's own rules keep hidden files from visitors.
    closed = [item for item in closed if "/." not in item.path[len(facts.root) :]]
    if closed:
        seen = f"{facts.web.name} cannot read {several([shown(item) for item in closed])}"
        yield finding("served-file-unreadable", seen, "files and directories that it may read", top(closed))


def _secrets(facts: Facts) -> Iterator[Finding]:
    group = facts.runtime.group if facts.runtime else "www-data"
    files = [facts.nodes.get(path.lstrip("-")) for path in facts.env_files]
    names = [item for item in facts.top + facts.tree if SECRETS.match(os.path.basename(item.path))]
    environment = {
        item.path: item
        for item in files + names
        if item and item.kind == "file" and not PUBLIC_ENV.search(os.path.basename(item.path))
    }
    for item in environment.values():
        if item.mode & 0o004:
            yield finding("env-world-readable", shown(item), f"mode 0640, root:{group}", item.path, group=group)
        if facts.runtime and facts.runtime.uid and may(facts.runtime, item, 2):
            seen = f"{facts.runtime.name} may write {shown(item)}"
            yield finding("env-writable-by-runtime", seen, f"mode 0640, root:{group}", item.path, group=group)
    served = {path for site in facts.sites() for path in site.keys}
    for item in [*facts.nodes.values(), *facts.top, *facts.tree]:
        key = item.path in served or KEY.match(os.path.basename(item.path))
        if key and item.kind == "file" and item.mode & 0o004:
            yield finding("secret-world-readable", shown(item), "mode 0600 or 0640", item.path)


# --- code and data ---------------------------------------------------------------------------------------------------


def separation(facts: Facts) -> Iterator[Finding]:
    """What lies among the code and is none."""
    expected = "releases that hold nothing but code"
    by_kind: dict[str, list[str]] = {}
    data = _data_below(facts)
    for item in facts.tree:
        kind = _misplaced(facts, item, data)
        if kind:
            by_kind.setdefault(kind, []).append(item.path)
    for kind, paths in by_kind.items():
        yield finding(kind, several(paths), expected, paths[0])
    if facts.truncated:
        yield finding("scan-truncated", f"more than {SCANNED} files below {facts.code}", "a tree of code", facts.code)


def _misplaced(facts: Facts, item: Node, data: list[str]) -> str | None:
    name = os.path.basename(item.path)
    if item.path in data:
        return "upload-in-release" if name in UPLOADS else "log-in-release"
    if any(within(item.path, path) for path in data):
        return None
    if item.kind == "socket":
        return "socket-in-release"
    if item.kind == "directory":
        if name in (".git", ".hg", ".svn"):
            return "vcs-in-release"
        return "venv-in-release" if os.path.exists(os.path.join(item.path, "pyvenv.cfg")) else None
    if item.kind != "file":
        return None
    if SECRETS.match(name) and not PUBLIC_ENV.search(name):
        return "env-in-release"
    if DATABASE.search(name):
        return "database-in-release"
    return "log-in-release" if name.endswith(".log") else None


# --- releases --------------------------------------------------------------------------------------------------------


def releases(facts: Facts) -> Iterator[Finding]:
    """What is live, and what interrupted runs left."""
    if facts.root not in facts.nodes:
        return
    live = facts.nodes.get(facts.live)
    expected = f"a link to a release in {facts.root}/releases"
    if _none_left(facts):
        path = os.path.join(facts.root, "releases")
        yield finding(
            "releases-missing", f"{path} is not there", "the directory of the releases", path, name=facts.name
        )
    playbook = "rollback" if facts.previous else "deploy"
    if live is None:
        yield finding("live-missing", f"{facts.live} is not there", expected, facts.live, playbook=playbook)
    elif live.kind != "link":
        yield finding("live-not-a-link", shown(live), expected, facts.live)
    elif _none_left(facts):
        pass  # the live one is missing with all others
    elif facts.code not in facts.nodes:
        seen = f"{facts.live} -> {live.target}, which is not there"
        yield finding("live-dangling", seen, expected, facts.live, playbook=playbook)
    elif facts.releases and os.path.dirname(facts.code) != os.path.realpath(facts.releases):
        yield finding("live-outside-releases", f"{facts.live} -> {facts.code}", expected, facts.live)
    elif facts.managed:
        yield from _managed(facts)
    yield from _left(facts)


def _none_left(facts: Facts) -> bool:
    """Whether the directory of all releases is gone."""
    return facts.managed and not facts.releases


def _managed(facts: Facts) -> Iterator[Finding]:
    playbook = "rollback" if facts.previous else "deploy"
    if os.path.join(facts.root, ".deploy", "releases", facts.release + ".json") in facts.unreadable:
        return  # told of below, with what else can't be read
    if facts.record is None:
        seen = f"nothing is recorded of {facts.code}"
        yield finding("live-incomplete", seen, "a record of it", facts.code, playbook=playbook)
    elif facts.record.get("state") == "bad":
        seen = f"{facts.release} was rejected: {facts.record.get('reason') or 'no reason recorded'}"
        yield finding("live-rejected", seen, "a release that passed its checks", facts.code, playbook=playbook)
    if facts.record is not None and facts.recorded != facts.release:
        seen = f"{facts.release} is live, the last one recorded is {facts.recorded or 'none'}"
        yield finding("activation-unrecorded", seen, "the last entry of activations.log", facts.live)
    if not facts.environment_complete:
        path = os.path.join(facts.root, "venvs", facts.environment)
        yield finding(
            "environment-incomplete", f"{path} is not what was installed there", "a set as it was built", path
        )
    if facts.lost_interpreter:
        path = os.path.join(facts.root, "venvs", facts.environment)
        yield finding("environment-interpreter-missing", facts.lost_interpreter, "an interpreter", path)
    venv, own = os.path.join(facts.root, "venv"), os.path.join(facts.code, ".venv")
    if os.path.lexists(own) and os.path.realpath(venv) != os.path.realpath(own):
        seen = f"{venv} leads to {os.path.realpath(venv)}"
        yield finding("environment-mismatch", seen, os.path.realpath(own), venv, name=facts.name)


def _left(facts: Facts) -> Iterator[Finding]:
    if facts.lock:
        seen = "held by {by} on {controller} since {time}, run {run}".format(**facts.lock)
        kind = "lock-stale" if facts.lock_age > LOCK_AGE else "lock-held"
        yield finding(kind, seen, "no lock, when nobody deploys", os.path.join(facts.root, ".deploy", "lock"))
    elif facts.drained:
        seen = "drained by {by} since {time}, run {run}".format(**facts.drained)
        place = os.path.join(facts.root, ".deploy", "drained.json")
        yield finding("hooks-open", seen, "no open hooks, when nobody deploys", place)
    if not facts.lock and facts.next:
        yield finding(
            "activation-interrupted", f"{facts.next} is there", "no candidate, when nobody deploys", facts.next
        )
    if not facts.lock and facts.half_done:
        yield finding("release-half-staged", several(facts.half_done), "nothing half done", facts.half_done[0])
    # Without the releases, nobody knows which sets they name.
    if facts.unnamed and not _none_left(facts):
        yield finding("environment-unreferenced", several(facts.unnamed), "sets that a release names", facts.unnamed[0])
    if facts.unreadable:
        seen = f"no record can be read in {several(facts.unreadable)}"
        yield finding("record-unreadable", seen, "a record of a release in JSON", facts.unreadable[0], name=facts.name)
    if facts.unrecorded:
        yield finding("release-unrecorded", several(facts.unrecorded), "releases with a record", facts.unrecorded[0])


# --- the process -----------------------------------------------------------------------------------------------------


def process(facts: Facts) -> Iterator[Finding]:
    """Whether what runs is what is there."""
    name = facts.name
    if not facts.cwd:
        return
    directory = os.path.realpath(directory_of(facts.unit) or "/")
    if _none_left(facts):
        pass  # it is the last one that serves, and nobody is told to restart it
    elif facts.cwd != directory:
        yield finding("process-stale-release", f"it runs in {facts.cwd}", directory, facts.cwd, name=name)
    else:
        changed = [item.path for item in facts.tree if item.path.endswith(".py") and item.modified > facts.started + 1]
        if changed and within(facts.code, directory):
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(facts.started))
            yield finding(
                "process-stale-code",
                f"changed since {since}: {several(changed)}",
                "code that stays as it is",
                changed[0],
                name=name,
            )
    environment = environment_of(facts)
    if facts.prefix and os.path.isdir(environment) and facts.prefix != environment:
        yield finding("process-stale-environment", f"it runs with {facts.prefix}", environment, environment, name=name)
    elif facts.dependencies_changed > facts.started + 1:
        seen = f"{environment} changed since the process started"
        yield finding("process-stale-dependencies", seen, "an environment that stays as it is", environment, name=name)
    if facts.replaced:
        expected = "what is on the disk"
        yield finding("process-replaced-files", several(facts.replaced), expected, facts.replaced[0], name=name)
    if facts.settings_changed:
        seen = f"{facts.settings_changed} changed since the process started"
        yield finding(
            "process-stale-settings", seen, "a process that was started with it", facts.settings_changed, name=name
        )
    if facts.health:
        yield finding("health-failing", facts.health, "a healthy answer", name=name)


# --- the unit --------------------------------------------------------------------------------------------------------


def unit(facts: Facts) -> Iterator[Finding]:
    """Whether the unit agrees with the tree, and whether it is up."""
    if not facts.unit:
        seen = f"no {facts.name}.service, and no unit that names {facts.root}"
        yield finding("unit-missing", seen, "a service", f"/etc/systemd/system/{facts.name}.service")
        return
    yield from _unit_account(facts)
    yield from _unit_paths(facts)
    yield from _unit_sandbox(facts)
    yield from _unit_state(facts)
    if facts.unit.get("NeedDaemonReload") == "yes":
        seen = f"{facts.unit['Id']} changed on disk"
        yield finding("unit-reload-needed", seen, "what systemd has read", name=facts.name)
    if facts.journal:
        seen = f"{len(facts.journal)} lines, the last one: {facts.journal[-1].strip()}"
        yield finding("journal-permission-errors", seen, "none", name=facts.name)


def _unit_account(facts: Facts) -> Iterator[Finding]:
    path, user = facts.unit["FragmentPath"], facts.unit.get("User", "")
    if facts.runtime is None:
        yield finding("unit-user-missing", f"User={user}", "a user that exists", path, user=user)
    elif facts.runtime.uid == 0:
        yield finding("unit-user-root", f"User={user}" if user else "no User=", "a user of its own", path)
    else:
        yield from _shared_account(facts, facts.runtime.name, path)


def _shared_account(facts: Facts, user: str, path: str) -> Iterator[Finding]:
    expected = "a user of its own"
    if facts.web and facts.web.uid == facts.runtime.uid:
        yield finding("unit-user-web", f"Nginx and {facts.unit['Id']} run as {user}", expected, path, name=facts.name)
    if facts.neighbours:
        seen = f"{several(facts.neighbours)} and {facts.unit['Id']} run as {user}"
        yield finding("unit-user-shared", seen, expected, path)


def _unit_paths(facts: Facts) -> Iterator[Finding]:
    name, live = facts.name, facts.live
    directory = directory_of(facts.unit)
    if not facts.unit.get("WorkingDirectory", "").startswith(("-", "!")) and directory and not os.path.isdir(directory):
        if facts.code in facts.nodes or os.path.normpath(directory) != live:
            yield finding("unit-directory-missing", directory, "a directory that is there", directory, name=name)
    elif facts.releases and within(os.path.normpath(directory), facts.releases):
        yield finding("unit-pins-release", f"WorkingDirectory={directory}", live, directory, name=name, live=live)
    elif (
        facts.code in facts.nodes
        and facts.root in facts.nodes
        and not within(os.path.realpath(directory or "/"), facts.code)
    ):
        yield finding(
            "unit-directory-elsewhere", f"WorkingDirectory={directory or '/'}", live, directory, name=name, live=live
        )
    program = facts.program
    if program and not os.access(program, os.X_OK):
        if facts.code in facts.nodes:
            yield finding("unit-exec-missing", program, "a program that is there", program, name=name)
    elif program and facts.releases and within(program, facts.releases):
        yield finding("unit-pins-release", f"ExecStart={program}", live, program, name=name, live=live)
    elif program and not within(program, facts.root):
        expected = f"an environment below {facts.root}"
        yield finding("unit-exec-elsewhere", f"ExecStart={program}", expected, program, name=name)
    for path in facts.env_files:
        if path.startswith("/") and not os.path.exists(path):
            yield finding(
                "unit-environment-missing", f"EnvironmentFile={path}", "a file that is there", path, name=name
            )
    own = [os.path.join(facts.root, *parts) for parts in (("shared", ".env"), (".env",))]
    own = [path for path in own if path in facts.nodes]
    if own and not any(path.lstrip("-") in own for path in facts.env_files):
        seen = ", ".join(f"EnvironmentFile={path}" for path in facts.env_files) or "no EnvironmentFile="
        if not any(path.startswith("/") and not os.path.exists(path) for path in facts.env_files):
            yield finding("unit-environment-elsewhere", seen, own[0], own[0], name=name)


def _unit_sandbox(facts: Facts) -> Iterator[Finding]:
    values, name = facts.unit, facts.name
    for path in facts.paths_missing:
        yield finding(
            "unit-read-write-path-missing",
            f"ReadWritePaths={path}",
            "a path that is there",
            path.lstrip("+"),
            name=name,
        )
    writable = [path.lstrip("-+") for path in values.get("ReadWritePaths", "").split()]
    if values.get("ProtectSystem") == "strict":
        for path in facts.media:
            if not any(within(path, allowed) for allowed in writable):
                seen = f"ProtectSystem=strict without ReadWritePaths={path}"
                yield finding("unit-sandbox-blocks", seen, f"ReadWritePaths={path}", path, name=name)
    hides = {"ProtectHome": ("/home", "/root"), "PrivateTmp": ("/tmp", "/var/tmp")}
    for setting, directories in hides.items():
        hidden = any(within(facts.root, directory) for directory in directories)
        if hidden and values.get(setting, "no") not in ("no", "", "read-only"):
            seen = f"{setting}={values[setting]}, and the application is in {facts.root}"
            yield finding("unit-sandbox-hides", seen, "an application that its process sees", facts.root, name=name)


def _unit_state(facts: Facts) -> Iterator[Finding]:
    values = facts.unit
    service = values.get("Id") or f"{facts.name}.service"
    for item in [values] + ([facts.socket_unit] if facts.socket_unit else []):
        name = item.get("Id") or service
        if item.get("UnitFileState", "").startswith("masked") or item.get("LoadState") == "masked":
            yield finding("unit-masked", f"{name} is masked", "a unit that systemd may start", name, unit=name)
            continue
        if item.get("Result") in START_LIMITS:
            yield finding("unit-start-limit", f"{name}: {item['Result']}", "active", name, unit=name)
        elif item.get("ActiveState") == "failed" or item.get("SubState") == "auto-restart":
            yield finding("unit-failed", f"{name}: {item.get('Result')}", "active", name, unit=name)
        elif item is values and facts.managed and facts.live not in facts.nodes:
            pass  # it has nothing to start
        elif item.get("ActiveState") not in ("active", "activating", "reloading"):
            yield finding("unit-inactive", f"{name}: {item.get('ActiveState')}", "active", name, unit=name)
        if item.get("UnitFileState") == "disabled":
            yield finding("unit-not-enabled", f"{name}: {item['UnitFileState']}", "enabled", name, unit=name)
    if values.get("NRestarts", "0").isdigit() and int(values.get("NRestarts", "0")) >= RESTARTS:
        yield finding("unit-restarts", f"{service}: {values['NRestarts']} restarts", "none", service, unit=service)


# --- the socket ------------------------------------------------------------------------------------------------------


def sockets(facts: Facts) -> Iterator[Finding]:
    """Whether there is a socket, somebody behind it, and Nginx allowed to connect."""
    if facts.socket_unit and facts.unit and facts.socket_unit.get("Triggers"):
        service = facts.unit.get("Id", "")
        gets = facts.socket_unit["Id"] in facts.unit.get("Sockets", "").split()
        if service not in facts.socket_unit["Triggers"].split() and not gets:
            seen = f"{facts.socket_unit['Id']} starts {facts.socket_unit['Triggers']}, not {service}"
            yield finding("unit-socket-mismatch", seen, service, name=facts.name)
    if not facts.listen.startswith("unix:"):
        return
    path = facts.listen.replace("unix:", "", 1)
    item = facts.nodes.get(path)
    name = (facts.socket_unit or facts.unit).get("Id", f"{facts.name}.service")
    if item is None or item.kind != "socket":
        seen = f"{path} is not there" if item is None else shown(item)
        yield finding("socket-missing", seen, "a socket", path, unit=name)
        return
    if facts.foreign:
        yield finding("socket-foreign", facts.foreign, "systemd or the service", path, unit=name)
    elif facts.listening is False:
        yield finding("socket-not-listening", shown(item), "a process that listens", path, unit=name)
    group = facts.web.group if facts.web else "www-data"
    if facts.web and not may(facts.web, item, 2):
        expected = f"write permission for {facts.web.name}"
        yield finding("socket-unreachable", shown(item), expected, path, group=group)
    elif item.mode & 0o002:
        yield finding("socket-open-to-all", shown(item), f"mode 0660, group {group}", path, group=group)
    run = facts.nodes.get(os.path.dirname(path))
    if facts.socket_unit and run and _replaces(facts.runtime, run):
        yield finding("socket-replaceable", shown(run), f"mode 1775, root:{group}", run.path, group=group)


def _replaces(account: Account | None, directory: Node) -> bool:
    """Whether an account may put something else in the place of what root has made in a directory."""
    if account is None or not account.uid:
        return False
    return account.uid == directory.uid or (may(account, directory, 2) and not directory.mode & 0o1000)


# --- Nginx -----------------------------------------------------------------------------------------------------------


def nginx(facts: Facts) -> Iterator[Finding]:
    """Whether Nginx leads to the application, to its files, and to nothing else of it."""
    if facts.nginx == "missing":
        yield finding("nginx-missing", "no program called nginx", "nginx")
        return
    if facts.nginx.startswith("invalid"):
        said = [line for line in facts.nginx_output.splitlines() if "[emerg]" in line or "[alert]" in line]
        yield finding("nginx-config-invalid", " ".join(said or facts.nginx_output.split()), "nginx -t without an error")
    if facts.nginx.endswith("masked"):
        yield finding("unit-masked", "nginx.service is masked", "a unit that systemd may start", unit="nginx")
    elif facts.nginx.endswith("stopped"):
        yield finding("nginx-not-running", "nginx.service is not active", "active")
    yield from _names(facts)
    yield from _proxies(facts)
    for site in facts.sites():
        for location in site.locations:
            if not location.proxy:
                yield from _location(facts, location)
    yield from _certificates(facts)
    if facts.nginx_exhausted:
        seen = f"{len(facts.nginx_exhausted)} lines, the last one: {facts.nginx_exhausted[-1]}"
        yield finding(
            "nginx-connections-exhausted", seen, "a connection for every request that waits, and one for its client"
        )
    if facts.nginx_errors:
        seen = f"{len(facts.nginx_errors)} lines, the last one: {facts.nginx_errors[-1]}"
        match = re.search(r'"(/[^"]+)" failed|unix:(/[^:\s]+)', facts.nginx_errors[-1])
        path = (match.group(1) or match.group(2)) if match else facts.root
        yield finding("nginx-permission-errors", seen, "none", path)


def _names(facts: Facts) -> Iterator[Finding]:
    ours = {name.lower() for site in facts.sites() for name in site.names}
    for name, address in dict.fromkeys(conflicts(facts.nginx_output)):
        if name.lower() in ours:
            files = [site.file for site in facts.config.servers if name.lower() in map(str.lower, site.names)]
            seen = f"'{name}' on {address} in {' and '.join(dict.fromkeys(files))}"
            yield finding("nginx-duplicate-name", seen, "one site for each name and address", files[0])


def _proxies(facts: Facts) -> Iterator[Finding]:
    if not facts.listen:
        return
    proxies = [(location.proxy, site.file) for site in facts.sites() for location in site.locations if location.proxy]
    if any(proxy == facts.listen for proxy, _file in proxies):
        return
    # Another socket of the same tree, or one where there is nothing, was meant for this application.
    astray = [
        (proxy, file) for proxy, file in proxies if not proxy.startswith("unix:") or within(proxy[5:], facts.root)
    ]
    if astray:
        proxy, file = astray[0]
        yield finding(
            "nginx-proxy-mismatch", f"proxy_pass to {proxy} in {file}", facts.listen, file, listen=facts.listen
        )
    else:
        yield finding("nginx-no-site", f"no proxy_pass to {facts.listen}", "a server block that leads there")


def _location(facts: Facts, location: Location) -> Iterator[Finding]:
    served, alias = location.directory, location.alias
    if not served:
        return
    seen = (
        f"location {location.path} {{ {'alias ' + alias if alias else 'root ' + location.root}; }} in {location.file}"
    )
    values = {"file": location.file, "location": location.path}
    if alias.endswith("/") and not location.path.endswith("/"):
        yield finding("nginx-alias-traversal", seen, f"location {location.path}/", served, **values)
    elif alias and not alias.endswith("/") and location.path.endswith("/") and not os.path.isfile(alias):
        yield finding("nginx-alias-slash", seen, f"alias {alias}/", served, **values)
    exposed = [facts.root, facts.code, os.path.join(facts.root, "shared"), facts.releases]
    exposed += [os.path.dirname(file.lstrip("-")) for file in facts.env_files if within(file.lstrip("-"), facts.root)]
    real = os.path.realpath(served)
    if real in [os.path.realpath(item) for item in exposed if item]:
        yield finding("nginx-exposes-tree", seen, "directories that hold public files only", served, **values)
    elif not os.path.exists(served):
        yield finding("nginx-alias-missing", seen, "a directory that is there", served, **values)
    elif facts.releases and within(served, facts.releases):
        yield finding("nginx-pins-release", seen, "a path that does not name a release", served, **values)
    elif alias and not within(real, facts.root):
        own = os.path.join(facts.root, "shared", os.path.basename(location.path.rstrip("/")))
        if os.path.isdir(own):
            yield finding("nginx-alias-elsewhere", seen, own, served, own=own, **values)


def _certificates(facts: Facts) -> Iterator[Finding]:
    for item in dict.fromkeys(facts.certificates):
        if item.expires is None:
            if "$" not in item.path:
                seen = f"{item.path}: {item.error}"
                yield finding("certificate-unreadable", seen, "a certificate", item.path)
            continue
        until = time.strftime("%Y-%m-%d", time.gmtime(item.expires))
        days = (item.expires - facts.now) / 86400
        if days < 0:
            yield finding("certificate-expired", f"{item.path}: since {until}", "a valid certificate", item.path)
        elif days < CERTIFICATE_DAYS:
            expected = f"at least {CERTIFICATE_DAYS} days"
            yield finding("certificate-expiring", f"{item.path}: on {until}", expected, item.path)


# --- the host --------------------------------------------------------------------------------------------------------


def host(facts: Facts) -> Iterator[Finding]:
    """Room for what is to come."""
    for disk in facts.disks:
        if disk.read_only:
            yield finding("file-system-read-only", disk.path, "a file system that is mounted rw", disk.path)
        if disk.noexec and disk.path == facts.root:
            yield finding("file-system-noexec", disk.path, "a file system that is mounted exec", disk.path)
        seen = f"{disk.path}: {disk.free // 1024**2} of {disk.size // 1024**2} MiB free"
        if disk.size and disk.free < FULL * disk.size:
            yield finding("disk-full", seen, f"at least {NEARLY:.0%}", disk.path)
        elif disk.size and disk.free < NEARLY * disk.size and disk.free < ROOM:
            yield finding("disk-nearly-full", seen, f"at least {NEARLY:.0%}", disk.path)
        if disk.inodes and disk.inodes_free < NEARLY / 2 * disk.inodes:
            seen = f"{disk.path}: {disk.inodes_free} of {disk.inodes} inodes free"
            yield finding("inodes-nearly-full", seen, f"at least {NEARLY / 2:.0%}", disk.path)


THEMES: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    place,
    owners,
    separation,
    releases,
    process,
    unit,
    sockets,
    nginx,
    host,
)
