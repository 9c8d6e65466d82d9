# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Derive findings from facts: pure functions, one for each theme."""

from __future__ import annotations

import os
import re
import time
from typing import Callable, Iterable, Iterator

from ansible_collections.flaskops.production.plugins.module_utils._core.accounts import get_group_name, get_user_name
from ansible_collections.flaskops.production.plugins.module_utils._doctor.catalog import SEVERITIES
from ansible_collections.flaskops.production.plugins.module_utils._doctor.discovery import find_working_directory
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts, find_venv
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import (
    MAX_SCANNED,
    Account,
    Node,
    has_permission,
    is_within,
)
from ansible_collections.flaskops.production.plugins.module_utils._doctor.finding import Finding, create_finding
from ansible_collections.flaskops.production.plugins.module_utils._nginx.parser import Location, find_conflicts

# The maximum number of paths in a finding. Further paths are counted.
MAX_PATHS = 3
MAX_RESTARTS = 3
# Results of units that have reached their start limit: of services, and of their sockets.
START_LIMITS = ("start-limit-hit", "service-start-limit-hit", "trigger-limit-hit")
# The age in seconds of a stale deploy lock, and the days before its expiry at which a certificate should be renewed.
LOCK_AGE = 3600
CERTIFICATE_DAYS = 14
# The bytes that a deploy needs, and the shares of free space at which a file system is nearly full or full.
ROOM, NEARLY, FULL = 2 * 1024**3, 0.10, 0.01

UPLOADS = {"media", "uploads", "upload"}
LOGS = {"logs", "log"}
DATABASE = re.compile(r"\.(sqlite3?|db)$")
SECRETS = re.compile(r"^\.env(\..+)?$")
PUBLIC_ENV = re.compile(r"\.(example|sample|template|dist|defaults?)$")
KEY = re.compile(r"^(id_(rsa|dsa|ecdsa|ed25519)|.+\.key|.*privkey.*\.pem)$")


def examine_facts(facts: Facts) -> list[Finding]:
    """Return the findings, sorted by severity, outages first."""
    found = [item for theme in EXAMINATIONS for item in theme(facts)]
    if facts.restart_reason and not any(item.id.startswith(EXPLAINING_PREFIXES) for item in found):
        found.append(
            create_finding(
                "service-outdated", facts.restart_reason, "a process that matches the layout", name=facts.name
            )
        )
    return sorted(found, key=lambda item: (-SEVERITIES.index(item.severity), not item.id.startswith(OUTAGES)))


# Findings of an outage, which come first among those of the same severity.
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


# Findings that explain why a service is outdated.
EXPLAINING_PREFIXES = (
    "unit-",
    "process-",
    "live-",
    "record-",
    "releases-",
    "venv-interpreter-",
    "venv-mismatch",
    "activation-",
    "root-",
    "socket-",
    "parent-",
)


def format_node(item: Node) -> str:
    """Return a node's path, kind, mode, user and group."""
    return f"{item.path} ({item.kind}, {item.mode:04o}, {get_user_name(item.uid)}:{get_group_name(item.gid)})"


def format_paths(paths: list[str]) -> str:
    """Return the first paths and the number of further ones."""
    more = len(paths) - MAX_PATHS
    return ", ".join(paths[:MAX_PATHS]) + (f" and {more} more" if more > 0 else "")


def find_common_path(items: Iterable[Node]) -> str:
    """Return the only path, or the common directory of several."""
    paths = [item.path for item in items]
    return paths[0] if len(paths) == 1 else os.path.commonpath([os.path.dirname(path) for path in paths])


# --- place -----------------------------------------------------------------------------------------------------------


def examine_place(facts: Facts) -> Iterator[Finding]:
    """Yield findings on the application's location and its parent directories."""
    root, name = facts.root, facts.name
    if root not in facts.nodes:
        yield create_finding("root-missing", f"{root} does not exist", "the application's directory", root)
        return
    expected = "a path outside /root, /home and /tmp, such as /srv/" + name
    if re.match(r"/(root|home)(/|$)", root):
        yield create_finding("root-in-home", root, expected, root, name=name)
    if re.match(r"/(tmp|var/tmp)(/|$)", root):
        yield create_finding("root-in-tmp", root, expected, root, name=name)
    yield from _examine_parents(facts)
    yield from _examine_writable_parents(facts)


def _examine_parents(facts: Facts) -> Iterator[Finding]:
    web = [facts.listen.replace("unix:", "", 1)] + facts.served()
    runtime = [facts.root, facts.code, find_working_directory(facts.unit), facts.program, *facts.media]
    for account, paths, kind in (
        (facts.web_user, web, "parent-not-traversable-web"),
        (facts.runtime_user, runtime, "parent-not-traversable-runtime"),
    ):
        closed: dict[str, Node] = {}
        for path in paths if account else []:
            for item in facts.routes.get(path, []):
                if item.path != path and item.kind == "directory" and not has_permission(account, item, 1):
                    closed.setdefault(item.path, item)
        for item in closed.values():
            yield create_finding(kind, format_node(item), f"search permission (x) for {account.name}", item.path)


def _examine_writable_parents(facts: Facts) -> Iterator[Finding]:
    """Yield findings on parent directories that users other than root can write to."""
    above = [*facts.routes.get(facts.root, []), *facts.routes.get(facts.code, []), facts.nodes[facts.root]]
    # A directory has several paths if a parent is a link.
    for item in {os.path.realpath(item.path): item for item in above}.values():
        if item.kind != "directory" or item.path == facts.code or item.mode & 0o1000:
            continue
        by_runtime = facts.runtime_user and facts.runtime_user.uid and has_permission(facts.runtime_user, item, 2)
        if item.mode & 0o002 or by_runtime:
            yield create_finding(
                "parent-writable", format_node(item), "a directory that only root can write to", item.path
            )


# --- owners and modes ------------------------------------------------------------------------------------------------


def _find_data(facts: Facts) -> list[str]:
    """Return directories in the code that contain data."""
    return [item.path for item in facts.tree if _holds_data(facts, item)]


def _holds_data(facts: Facts, item: Node) -> bool:
    if item.kind != "directory" or os.path.basename(item.path) not in UPLOADS | LOGS:
        return False
    writable = (
        facts.runtime_user is not None and facts.runtime_user.uid != 0 and has_permission(facts.runtime_user, item, 2)
    )
    return writable or item.path in facts.served()


def _is_code(facts: Facts, item: Node, data: list[str]) -> bool:
    name = os.path.basename(item.path)
    if item.kind not in ("file", "directory") or any(is_within(item.path, path) for path in data):
        return False
    return not (
        DATABASE.search(name) or SECRETS.match(name) or KEY.match(name) or name.endswith(".log") or name == ".git"
    )


def examine_owners(facts: Facts) -> Iterator[Finding]:
    """Yield findings on owners and modes."""
    yield from _examine_code_modes(facts)
    yield from _examine_data_modes(facts)
    yield from _examine_served_files(facts)
    yield from _examine_secrets(facts)


def _examine_code_modes(facts: Facts) -> Iterator[Finding]:
    data = _find_data(facts)
    own = facts.nodes.get(facts.code)
    code = ([own] if own else []) + [item for item in facts.tree if _is_code(facts, item, data)]
    open_to_all = [item for item in code if item.mode & 0o002]
    if open_to_all:
        found = format_paths([format_node(item) for item in open_to_all])
        yield create_finding(
            "code-world-writable", found, "files that only their owner can write to", find_common_path(open_to_all)
        )
    if facts.runtime_user and facts.runtime_user.uid:
        writable = [item for item in code if item not in open_to_all and has_permission(facts.runtime_user, item, 2)]
        if writable:
            found = f"{facts.runtime_user.name} can write to {format_paths([format_node(item) for item in writable])}"
            yield create_finding(
                "code-writable-by-runtime",
                found,
                "code that belongs to root or a deploy user",
                find_common_path(writable),
            )
        closed = [
            item for item in code if not has_permission(facts.runtime_user, item, 5 if item.kind == "directory" else 4)
        ]
        if closed:
            found = f"{facts.runtime_user.name} cannot read {format_paths([format_node(item) for item in closed])}"
            yield create_finding(
                "code-unreadable", found, "files and directories that it may read", find_common_path(closed)
            )


def _examine_data_modes(facts: Facts) -> Iterator[Finding]:
    runtime = facts.runtime_user
    if not runtime or not runtime.uid:
        return
    run = os.path.dirname(facts.listen.replace("unix:", "", 1)) if facts.listen.startswith("unix:") else ""
    run = run if is_within(run, facts.root) and run != facts.root else ""
    logs = [
        path
        for path in (os.path.join(facts.root, "shared", "logs"), os.path.join(facts.root, "logs"))
        if path in facts.nodes
    ]
    data = [path for path in dict.fromkeys([run, *facts.media, *logs]) if facts.nodes.get(path)]
    # systemd creates the socket in this directory. The application needs no write access to it.
    needed = [path for path in data if path != run or not facts.socket_unit]
    for path in data:
        item = facts.nodes[path]
        if item.mode & 0o002 and not item.mode & 0o1000:
            yield create_finding(
                "data-world-writable", format_node(item), "a directory that only the application can write to", path
            )
        if path in needed and not has_permission(runtime, item, 3):
            expected = f"a directory that {runtime.name} can write to"
            yield create_finding(
                "data-not-writable", format_node(item), expected, path, user=runtime.name, group=runtime.group
            )
    if facts.code == facts.root or facts.code not in facts.nodes:
        return  # the links of the live code define the shared paths
    allowed = {*data, *facts.link_targets, facts.live, facts.releases, facts.code}
    allowed |= {path.lstrip("-+") for path in facts.unit.get("ReadWritePaths", "").split()}
    for item in facts.top_level:
        private = SECRETS.match(os.path.basename(item.path)) or item.path in allowed
        if item.kind in ("directory", "file") and not private and has_permission(runtime, item, 2):
            found = f"{runtime.name} can write to {format_node(item)}"
            expected = "write permission for run, media, logs and shared paths only"
            yield create_finding("writable-elsewhere", found, expected, item.path)


def _examine_served_files(facts: Facts) -> Iterator[Finding]:
    if not facts.web_user:
        return
    tops = [facts.nodes[path] for path in facts.served() if path in facts.nodes and is_within(path, facts.root)]
    needed = {"directory": 1, "file": 4}
    closed = [
        item for item in tops + facts.public if not has_permission(facts.web_user, item, needed.get(item.kind, 0))
    ]
    # Nginx does not serve hidden files.
    closed = [item for item in closed if "/." not in item.path[len(facts.root) :]]
    if closed:
        found = f"{facts.web_user.name} cannot read {format_paths([format_node(item) for item in closed])}"
        yield create_finding(
            "served-file-unreadable", found, "files and directories that it may read", find_common_path(closed)
        )


def _examine_secrets(facts: Facts) -> Iterator[Finding]:
    group = facts.runtime_user.group if facts.runtime_user else "www-data"
    files = [facts.nodes.get(path.lstrip("-")) for path in facts.env_files]
    names = [item for item in facts.top_level + facts.tree if SECRETS.match(os.path.basename(item.path))]
    env_files = {
        item.path: item
        for item in files + names
        if item and item.kind == "file" and not PUBLIC_ENV.search(os.path.basename(item.path))
    }
    for item in env_files.values():
        if item.mode & 0o004:
            yield create_finding(
                "env-world-readable", format_node(item), f"mode 0640, root:{group}", item.path, group=group
            )
        if facts.runtime_user and facts.runtime_user.uid and has_permission(facts.runtime_user, item, 2):
            found = f"{facts.runtime_user.name} can write to {format_node(item)}"
            yield create_finding("env-writable-by-runtime", found, f"mode 0640, root:{group}", item.path, group=group)
    served = {path for site in facts.sites() for path in site.keys}
    for item in [*facts.nodes.values(), *facts.top_level, *facts.tree]:
        key = item.path in served or KEY.match(os.path.basename(item.path))
        if key and item.kind == "file" and item.mode & 0o004:
            yield create_finding("secret-world-readable", format_node(item), "mode 0600 or 0640", item.path)


# --- code and data ---------------------------------------------------------------------------------------------------


def examine_code_and_data(facts: Facts) -> Iterator[Finding]:
    """Yield findings on data, virtual environments and secrets in the code."""
    expected = "releases that contain only code"
    by_kind: dict[str, list[str]] = {}
    data = _find_data(facts)
    for item in facts.tree:
        kind = _classify_misplaced(facts, item, data)
        if kind:
            by_kind.setdefault(kind, []).append(item.path)
    for kind, paths in by_kind.items():
        yield create_finding(kind, format_paths(paths), expected, paths[0])
    if facts.truncated:
        yield create_finding(
            "scan-truncated", f"more than {MAX_SCANNED} files below {facts.code}", "a tree of code", facts.code
        )


def _classify_misplaced(facts: Facts, item: Node, data: list[str]) -> str | None:
    name = os.path.basename(item.path)
    if item.path in data:
        return "upload-in-release" if name in UPLOADS else "log-in-release"
    if any(is_within(item.path, path) for path in data):
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


def examine_releases(facts: Facts) -> Iterator[Finding]:
    """Yield findings on the live release and on files of interrupted runs."""
    if facts.root not in facts.nodes:
        return
    live = facts.nodes.get(facts.live)
    expected = f"a link to a release in {facts.root}/releases"
    if _are_releases_missing(facts):
        path = os.path.join(facts.root, "releases")
        yield create_finding(
            "releases-missing", f"{path} is not there", "the directory of the releases", path, name=facts.name
        )
    playbook = "rollback" if facts.previous else "deploy"
    if live is None:
        yield create_finding("live-missing", f"{facts.live} does not exist", expected, facts.live, playbook=playbook)
    elif live.kind != "link":
        yield create_finding("live-not-a-link", format_node(live), expected, facts.live)
    elif _are_releases_missing(facts):
        pass  # the live release is missing with all others
    elif facts.code not in facts.nodes:
        found = f"{facts.live} -> {live.target}, which does not exist"
        yield create_finding("live-dangling", found, expected, facts.live, playbook=playbook)
    elif facts.releases and os.path.dirname(facts.code) != os.path.realpath(facts.releases):
        yield create_finding("live-outside-releases", f"{facts.live} -> {facts.code}", expected, facts.live)
    elif facts.managed:
        yield from _examine_live_release(facts)
    yield from _examine_leftovers(facts)


def _are_releases_missing(facts: Facts) -> bool:
    """Return whether the directory of the releases is missing."""
    return facts.managed and not facts.releases


def _examine_live_release(facts: Facts) -> Iterator[Finding]:
    playbook = "rollback" if facts.previous else "deploy"
    if os.path.join(facts.root, ".deploy", "releases", facts.release + ".json") in facts.unreadable:
        return  # reported with the other unreadable records
    if facts.record is None:
        found = f"{facts.code} has no record"
        yield create_finding("live-incomplete", found, "a record of the release", facts.code, playbook=playbook)
    elif facts.record.get("state") == "bad":
        found = f"{facts.release} was rejected: {facts.record.get('reason') or 'no reason recorded'}"
        yield create_finding("live-rejected", found, "a release that passed its checks", facts.code, playbook=playbook)
    if facts.record is not None and facts.last_recorded != facts.release:
        found = f"{facts.release} is live, the last one recorded is {facts.last_recorded or 'none'}"
        yield create_finding("activation-unrecorded", found, "the last entry of activations.log", facts.live)
    if not facts.venv_complete:
        path = os.path.join(facts.root, "venvs", facts.venv)
        yield create_finding(
            "venv-incomplete", f"{path} does not match its record", "an unchanged virtual environment", path
        )
    if facts.missing_interpreter:
        path = os.path.join(facts.root, "venvs", facts.venv)
        yield create_finding("venv-interpreter-missing", facts.missing_interpreter, "an interpreter", path)
    venv, own = os.path.join(facts.root, "venv"), os.path.join(facts.code, ".venv")
    if os.path.lexists(own) and os.path.realpath(venv) != os.path.realpath(own):
        found = f"{venv} leads to {os.path.realpath(venv)}"
        yield create_finding("venv-mismatch", found, os.path.realpath(own), venv, name=facts.name)


def _examine_leftovers(facts: Facts) -> Iterator[Finding]:
    if facts.lock:
        found = "held by {by} on {controller} since {time}, run {run}".format(**facts.lock)
        kind = "lock-stale" if facts.lock_age > LOCK_AGE else "lock-held"
        yield create_finding(
            kind, found, "no deploy lock, unless a deploy is running", os.path.join(facts.root, ".deploy", "lock")
        )
    elif facts.drained:
        found = "drained by {by} since {time}, run {run}".format(**facts.drained)
        place = os.path.join(facts.root, ".deploy", "drained.json")
        yield create_finding("hooks-open", found, "no drained host, unless a deploy is running", place)
    if not facts.lock and facts.candidate:
        yield create_finding(
            "activation-interrupted",
            f"{facts.candidate} exists",
            "no candidate, unless a deploy is running",
            facts.candidate,
        )
    if not facts.lock and facts.unfinished:
        yield create_finding(
            "release-half-staged", format_paths(facts.unfinished), "no unfinished files", facts.unfinished[0]
        )
    # Without the releases, the references to virtual environments are unknown.
    if facts.unused_venvs and not _are_releases_missing(facts):
        yield create_finding(
            "venv-unreferenced",
            format_paths(facts.unused_venvs),
            "virtual environments that a release uses",
            facts.unused_venvs[0],
        )
    if facts.unreadable:
        found = f"no record can be read in {format_paths(facts.unreadable)}"
        yield create_finding(
            "record-unreadable", found, "a record of a release in JSON", facts.unreadable[0], name=facts.name
        )
    if facts.unrecorded:
        yield create_finding(
            "release-unrecorded", format_paths(facts.unrecorded), "releases with a record", facts.unrecorded[0]
        )


# --- the process -----------------------------------------------------------------------------------------------------


def examine_process(facts: Facts) -> Iterator[Finding]:
    """Yield findings on differences between the process and the files."""
    name = facts.name
    if not facts.working_directory:
        return
    directory = os.path.realpath(find_working_directory(facts.unit) or "/")
    if _are_releases_missing(facts):
        pass  # a restart would end the last process that serves
    elif facts.working_directory != directory:
        yield create_finding(
            "process-stale-release",
            f"it runs in {facts.working_directory}",
            directory,
            facts.working_directory,
            name=name,
        )
    else:
        changed = [item.path for item in facts.tree if item.path.endswith(".py") and item.modified > facts.started + 1]
        if changed and is_within(facts.code, directory):
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(facts.started))
            yield create_finding(
                "process-stale-code",
                f"changed since {since}: {format_paths(changed)}",
                "unchanged code",
                changed[0],
                name=name,
            )
    venv = find_venv(facts)
    if facts.process_venv and os.path.isdir(venv) and facts.process_venv != venv:
        yield create_finding("process-stale-venv", f"it runs with {facts.process_venv}", venv, venv, name=name)
    elif facts.dependencies_changed > facts.started + 1:
        found = f"{venv} changed since the process started"
        yield create_finding("process-stale-dependencies", found, "an unchanged virtual environment", venv, name=name)
    if facts.replaced_files:
        expected = "the files on the disk"
        yield create_finding(
            "process-replaced-files", format_paths(facts.replaced_files), expected, facts.replaced_files[0], name=name
        )
    if facts.changed_settings:
        found = f"{facts.changed_settings} changed since the process started"
        yield create_finding(
            "process-stale-settings", found, "a process started after the change", facts.changed_settings, name=name
        )
    if facts.health_failure:
        yield create_finding("health-failing", facts.health_failure, "a successful health check", name=name)


# --- the unit --------------------------------------------------------------------------------------------------------


def examine_unit(facts: Facts) -> Iterator[Finding]:
    """Yield findings on the unit's settings and state."""
    if not facts.unit:
        found = f"no {facts.name}.service, and no unit that names {facts.root}"
        yield create_finding("unit-missing", found, "a service", f"/etc/systemd/system/{facts.name}.service")
        return
    yield from _examine_unit_user(facts)
    yield from _examine_unit_paths(facts)
    yield from _examine_unit_sandbox(facts)
    yield from _examine_unit_state(facts)
    if facts.unit.get("NeedDaemonReload") == "yes":
        found = f"{facts.unit['Id']} changed on disk"
        yield create_finding("unit-reload-needed", found, "a unit that systemd has loaded", name=facts.name)
    if facts.journal_errors:
        found = f"{len(facts.journal_errors)} lines, the last one: {facts.journal_errors[-1].strip()}"
        yield create_finding("journal-permission-errors", found, "none", name=facts.name)


def _examine_unit_user(facts: Facts) -> Iterator[Finding]:
    path, user = facts.unit["FragmentPath"], facts.unit.get("User", "")
    if facts.runtime_user is None:
        yield create_finding("unit-user-missing", f"User={user}", "a user that exists", path, user=user)
    elif facts.runtime_user.uid == 0:
        yield create_finding("unit-user-root", f"User={user}" if user else "no User=", "a user of its own", path)
    else:
        yield from _examine_shared_user(facts, facts.runtime_user.name, path)


def _examine_shared_user(facts: Facts, user: str, path: str) -> Iterator[Finding]:
    expected = "a user of its own"
    if facts.web_user and facts.web_user.uid == facts.runtime_user.uid:
        yield create_finding(
            "unit-user-web", f"Nginx and {facts.unit['Id']} run as {user}", expected, path, name=facts.name
        )
    if facts.services_of_user:
        found = f"{format_paths(facts.services_of_user)} and {facts.unit['Id']} run as {user}"
        yield create_finding("unit-user-shared", found, expected, path)


def _examine_unit_paths(facts: Facts) -> Iterator[Finding]:
    name, live = facts.name, facts.live
    directory = find_working_directory(facts.unit)
    if not facts.unit.get("WorkingDirectory", "").startswith(("-", "!")) and directory and not os.path.isdir(directory):
        if facts.code in facts.nodes or os.path.normpath(directory) != live:
            yield create_finding("unit-directory-missing", directory, "an existing directory", directory, name=name)
    elif facts.releases and is_within(os.path.normpath(directory), facts.releases):
        yield create_finding(
            "unit-pins-release", f"WorkingDirectory={directory}", live, directory, name=name, live=live
        )
    elif (
        facts.code in facts.nodes
        and facts.root in facts.nodes
        and not is_within(os.path.realpath(directory or "/"), facts.code)
    ):
        yield create_finding(
            "unit-directory-elsewhere", f"WorkingDirectory={directory or '/'}", live, directory, name=name, live=live
        )
    program = facts.program
    if program and not os.access(program, os.X_OK):
        if facts.code in facts.nodes:
            yield create_finding("unit-exec-missing", program, "an existing program", program, name=name)
    elif program and facts.releases and is_within(program, facts.releases):
        yield create_finding("unit-pins-release", f"ExecStart={program}", live, program, name=name, live=live)
    elif program and not is_within(program, facts.root):
        expected = f"a virtual environment below {facts.root}"
        yield create_finding("unit-exec-elsewhere", f"ExecStart={program}", expected, program, name=name)
    for path in facts.env_files:
        if path.startswith("/") and not os.path.exists(path):
            yield create_finding(
                "unit-environment-file-missing", f"EnvironmentFile={path}", "an existing file", path, name=name
            )
    own = [os.path.join(facts.root, *parts) for parts in (("shared", ".env"), (".env",))]
    own = [path for path in own if path in facts.nodes]
    if own and not any(path.lstrip("-") in own for path in facts.env_files):
        found = ", ".join(f"EnvironmentFile={path}" for path in facts.env_files) or "no EnvironmentFile="
        if not any(path.startswith("/") and not os.path.exists(path) for path in facts.env_files):
            yield create_finding("unit-environment-file-elsewhere", found, own[0], own[0], name=name)


def _examine_unit_sandbox(facts: Facts) -> Iterator[Finding]:
    values, name = facts.unit, facts.name
    for path in facts.missing_paths:
        yield create_finding(
            "unit-read-write-path-missing",
            f"ReadWritePaths={path}",
            "an existing path",
            path.lstrip("+"),
            name=name,
        )
    writable = [path.lstrip("-+") for path in values.get("ReadWritePaths", "").split()]
    if values.get("ProtectSystem") == "strict":
        for path in facts.media:
            if not any(is_within(path, allowed) for allowed in writable):
                found = f"ProtectSystem=strict without ReadWritePaths={path}"
                yield create_finding("unit-sandbox-blocks", found, f"ReadWritePaths={path}", path, name=name)
    hides = {"ProtectHome": ("/home", "/root"), "PrivateTmp": ("/tmp", "/var/tmp")}
    for setting, directories in hides.items():
        hidden = any(is_within(facts.root, directory) for directory in directories)
        if hidden and values.get(setting, "no") not in ("no", "", "read-only"):
            found = f"{setting}={values[setting]}, and the application is in {facts.root}"
            yield create_finding(
                "unit-sandbox-hides", found, "an application that its process can see", facts.root, name=name
            )


def _examine_unit_state(facts: Facts) -> Iterator[Finding]:
    values = facts.unit
    service = values.get("Id") or f"{facts.name}.service"
    for item in [values] + ([facts.socket_unit] if facts.socket_unit else []):
        name = item.get("Id") or service
        if item.get("UnitFileState", "").startswith("masked") or item.get("LoadState") == "masked":
            yield create_finding("unit-masked", f"{name} is masked", "a unit that is not masked", name, unit=name)
            continue
        if item.get("Result") in START_LIMITS:
            yield create_finding("unit-start-limit", f"{name}: {item['Result']}", "active", name, unit=name)
        elif item.get("ActiveState") == "failed" or item.get("SubState") == "auto-restart":
            yield create_finding("unit-failed", f"{name}: {item.get('Result')}", "active", name, unit=name)
        elif item is values and facts.managed and facts.live not in facts.nodes:
            pass  # no release can be started
        elif item.get("ActiveState") not in ("active", "activating", "reloading"):
            yield create_finding("unit-inactive", f"{name}: {item.get('ActiveState')}", "active", name, unit=name)
        if item.get("UnitFileState") == "disabled":
            yield create_finding("unit-not-enabled", f"{name}: {item['UnitFileState']}", "enabled", name, unit=name)
    if values.get("NRestarts", "0").isdigit() and int(values.get("NRestarts", "0")) >= MAX_RESTARTS:
        yield create_finding(
            "unit-restarts", f"{service}: {values['NRestarts']} restarts", "none", service, unit=service
        )


# --- the socket ------------------------------------------------------------------------------------------------------


def examine_sockets(facts: Facts) -> Iterator[Finding]:
    """Yield findings on the socket, its listener and Nginx's access."""
    if facts.socket_unit and facts.unit and facts.socket_unit.get("Triggers"):
        service = facts.unit.get("Id", "")
        is_named = facts.socket_unit["Id"] in facts.unit.get("Sockets", "").split()
        if service not in facts.socket_unit["Triggers"].split() and not is_named:
            found = f"{facts.socket_unit['Id']} starts {facts.socket_unit['Triggers']}, not {service}"
            yield create_finding("unit-socket-mismatch", found, service, name=facts.name)
    if not facts.listen.startswith("unix:"):
        return
    path = facts.listen.replace("unix:", "", 1)
    item = facts.nodes.get(path)
    name = (facts.socket_unit or facts.unit).get("Id", f"{facts.name}.service")
    if item is None or item.kind != "socket":
        found = f"{path} does not exist" if item is None else format_node(item)
        yield create_finding("socket-missing", found, "a socket", path, unit=name)
        return
    if facts.foreign_listener:
        yield create_finding("socket-foreign", facts.foreign_listener, "systemd or the service", path, unit=name)
    elif facts.listening is False:
        yield create_finding("socket-not-listening", format_node(item), "a process that listens", path, unit=name)
    group = facts.web_user.group if facts.web_user else "www-data"
    if facts.web_user and not has_permission(facts.web_user, item, 2):
        expected = f"write permission for {facts.web_user.name}"
        yield create_finding("socket-unreachable", format_node(item), expected, path, group=group)
    elif item.mode & 0o002:
        yield create_finding("socket-open-to-all", format_node(item), f"mode 0660, group {group}", path, group=group)
    run = facts.nodes.get(os.path.dirname(path))
    if facts.socket_unit and run and _can_replace(facts.runtime_user, run):
        yield create_finding("socket-replaceable", format_node(run), f"mode 1775, root:{group}", run.path, group=group)


def _can_replace(account: Account | None, directory: Node) -> bool:
    """Return whether an account can replace entries that root has created in a directory."""
    if account is None or not account.uid:
        return False
    return account.uid == directory.uid or (has_permission(account, directory, 2) and not directory.mode & 0o1000)


# --- Nginx -----------------------------------------------------------------------------------------------------------


def examine_nginx(facts: Facts) -> Iterator[Finding]:
    """Yield findings on Nginx's state, proxies, locations and certificates."""
    if facts.nginx_state == "missing":
        yield create_finding("nginx-missing", "no program called nginx", "nginx")
        return
    if facts.nginx_state.startswith("invalid"):
        errors = [line for line in facts.nginx_output.splitlines() if "[emerg]" in line or "[alert]" in line]
        yield create_finding(
            "nginx-config-invalid", " ".join(errors or facts.nginx_output.split()), "no error from nginx -t"
        )
    if facts.nginx_state.endswith("masked"):
        yield create_finding("unit-masked", "nginx.service is masked", "a unit that is not masked", unit="nginx")
    elif facts.nginx_state.endswith("stopped"):
        yield create_finding("nginx-not-running", "nginx.service is not active", "active")
    yield from _examine_server_names(facts)
    yield from _examine_proxies(facts)
    for site in facts.sites():
        for location in site.locations:
            if not location.proxy:
                yield from _examine_location(facts, location)
    yield from _examine_certificates(facts)
    if facts.nginx_exhausted:
        found = f"{len(facts.nginx_exhausted)} lines, the last one: {facts.nginx_exhausted[-1]}"
        yield create_finding("nginx-connections-exhausted", found, "two connections for each waiting request")
    if facts.nginx_errors:
        found = f"{len(facts.nginx_errors)} lines, the last one: {facts.nginx_errors[-1]}"
        match = re.search(r'"(/[^"]+)" failed|unix:(/[^:\s]+)', facts.nginx_errors[-1])
        path = (match.group(1) or match.group(2)) if match else facts.root
        yield create_finding("nginx-permission-errors", found, "none", path)


def _examine_server_names(facts: Facts) -> Iterator[Finding]:
    ours = {name.lower() for site in facts.sites() for name in site.names}
    for name, address in dict.fromkeys(find_conflicts(facts.nginx_output)):
        if name.lower() in ours:
            files = [site.file for site in facts.config.servers if name.lower() in map(str.lower, site.names)]
            found = f"'{name}' on {address} in {' and '.join(dict.fromkeys(files))}"
            yield create_finding("nginx-duplicate-name", found, "one site for each name and address", files[0])


def _examine_proxies(facts: Facts) -> Iterator[Finding]:
    if not facts.listen:
        return
    proxies = [(location.proxy, site.file) for site in facts.sites() for location in site.locations if location.proxy]
    if any(proxy == facts.listen for proxy, _file in proxies):
        return
    # A TCP address or another socket in the application's directory was meant for this application.
    mismatched = [
        (proxy, file) for proxy, file in proxies if not proxy.startswith("unix:") or is_within(proxy[5:], facts.root)
    ]
    if mismatched:
        proxy, file = mismatched[0]
        yield create_finding(
            "nginx-proxy-mismatch", f"proxy_pass to {proxy} in {file}", facts.listen, file, listen=facts.listen
        )
    else:
        yield create_finding("nginx-no-site", f"no proxy_pass to {facts.listen}", "a server block with this proxy_pass")


def _examine_location(facts: Facts, location: Location) -> Iterator[Finding]:
    served, alias = location.directory, location.alias
    if not served:
        return
    found = (
        f"location {location.path} {{ {'alias ' + alias if alias else 'root ' + location.root}; }} in {location.file}"
    )
    values = {"file": location.file, "location": location.path}
    if alias.endswith("/") and not location.path.endswith("/"):
        yield create_finding("nginx-alias-traversal", found, f"location {location.path}/", served, **values)
    elif alias and not alias.endswith("/") and location.path.endswith("/") and not os.path.isfile(alias):
        yield create_finding("nginx-alias-slash", found, f"alias {alias}/", served, **values)
    exposed = [facts.root, facts.code, os.path.join(facts.root, "shared"), facts.releases]
    exposed += [
        os.path.dirname(file.lstrip("-")) for file in facts.env_files if is_within(file.lstrip("-"), facts.root)
    ]
    real = os.path.realpath(served)
    if real in [os.path.realpath(item) for item in exposed if item]:
        yield create_finding("nginx-exposes-tree", found, "directories with public files only", served, **values)
    elif not os.path.exists(served):
        yield create_finding("nginx-alias-missing", found, "an existing directory", served, **values)
    elif facts.releases and is_within(served, facts.releases):
        yield create_finding("nginx-pins-release", found, "a path that does not name a release", served, **values)
    elif alias and not is_within(real, facts.root):
        own = os.path.join(facts.root, "shared", os.path.basename(location.path.rstrip("/")))
        if os.path.isdir(own):
            yield create_finding("nginx-alias-elsewhere", found, own, served, own=own, **values)


def _examine_certificates(facts: Facts) -> Iterator[Finding]:
    for item in dict.fromkeys(facts.certificates):
        if item.expires is None:
            if "$" not in item.path:
                found = f"{item.path}: {item.error}"
                yield create_finding("certificate-unreadable", found, "a certificate", item.path)
            continue
        until = time.strftime("%Y-%m-%d", time.gmtime(item.expires))
        days = (item.expires - facts.now) / 86400
        if days < 0:
            yield create_finding("certificate-expired", f"{item.path}: since {until}", "a valid certificate", item.path)
        elif days < CERTIFICATE_DAYS:
            expected = f"at least {CERTIFICATE_DAYS} days"
            yield create_finding("certificate-expiring", f"{item.path}: on {until}", expected, item.path)


# --- the host --------------------------------------------------------------------------------------------------------


def examine_host(facts: Facts) -> Iterator[Finding]:
    """Yield findings on the host's file systems."""
    for disk in facts.disks:
        if disk.read_only:
            yield create_finding("file-system-read-only", disk.path, "a file system that is mounted rw", disk.path)
        if disk.noexec and disk.path == facts.root:
            yield create_finding("file-system-noexec", disk.path, "a file system that is mounted exec", disk.path)
        found = f"{disk.path}: {disk.free // 1024**2} of {disk.size // 1024**2} MiB free"
        if disk.size and disk.free < FULL * disk.size:
            yield create_finding("disk-full", found, f"at least {NEARLY:.0%}", disk.path)
        elif disk.size and disk.free < NEARLY * disk.size and disk.free < ROOM:
            yield create_finding("disk-nearly-full", found, f"at least {NEARLY:.0%}", disk.path)
        if disk.inodes and disk.inodes_free < NEARLY / 2 * disk.inodes:
            found = f"{disk.path}: {disk.inodes_free} of {disk.inodes} inodes free"
            yield create_finding("inodes-nearly-full", found, f"at least {NEARLY / 2:.0%}", disk.path)


EXAMINATIONS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    examine_place,
    examine_owners,
    examine_code_and_data,
    examine_releases,
    examine_process,
    examine_unit,
    examine_sockets,
    examine_nginx,
    examine_host,
)
