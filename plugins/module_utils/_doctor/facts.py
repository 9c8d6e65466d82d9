# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the facts of a host: directories, units, processes, Nginx. Nothing is changed.

Changes nothing and decides nothing. Also reads deployments of other tools.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
import time
from dataclasses import dataclass, field
from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._app import live_process
from ansible_collections.flaskops.production.plugins.module_utils._app.health import ENVIRONMENT_BYTES, add_script_name
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout, list_directory
from ansible_collections.flaskops.production.plugins.module_utils._app.lock import DeployLock
from ansible_collections.flaskops.production.plugins.module_utils._app.pruning import list_leftovers
from ansible_collections.flaskops.production.plugins.module_utils._app.record import ReleaseRecord
from ansible_collections.flaskops.production.plugins.module_utils._app.rollout import read_drain
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._core import secrets
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._doctor.discovery import (
    LIVE_NAMES,
    detect_application,
    find_listen_address,
    find_working_directory,
    names_path,
    parse_exec_start,
)
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import (
    MAX_SCANNED,
    Account,
    Node,
    find_account,
    is_within,
    list_route,
    load_text,
    read_node,
    resolve_safely,
    scan_tree,
)
from ansible_collections.flaskops.production.plugins.module_utils._doctor.system import (
    HostSystem,
    list_children,
    read_process_account,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import open_file, read_file
from ansible_collections.flaskops.production.plugins.module_utils._nginx import parser
from ansible_collections.flaskops.production.plugins.module_utils._python.requirements import normalize_name
from ansible_collections.flaskops.production.plugins.module_utils._python.venvs import is_complete
from ansible_collections.flaskops.production.plugins.module_utils._systemd import process

PERMISSION_ERRORS = re.compile(r"PermissionError|Permission denied|Read-only file system")
LOG_BYTES = 262144


class Disk(NamedTuple):
    """Space and mount options of the file system of a path."""

    path: str
    size: int
    free: int
    inodes: int
    inodes_free: int
    read_only: bool = False
    noexec: bool = False


class Certificate(NamedTuple):
    """A certificate of a site. `expires` is None if it cannot be read."""

    path: str
    expires: float | None
    error: str = ""


@dataclass
class Facts:
    """The state of an application on a host."""

    name: str
    root: str
    now: float = 0
    guesses: list[str] = field(default_factory=list)
    nodes: dict[str, Node] = field(default_factory=dict)
    routes: dict[str, list[Node]] = field(default_factory=dict)
    managed: bool = False
    # The link or directory of the live code, and the directory that it leads to.
    live: str = ""
    code: str = ""
    releases: str = ""
    env_files: list[str] = field(default_factory=list)
    tree: list[Node] = field(default_factory=list)
    truncated: bool = False
    # Entries below the directories that Nginx serves.
    public: list[Node] = field(default_factory=list)
    top_level: list[Node] = field(default_factory=list)
    link_targets: list[str] = field(default_factory=list)
    runtime_user: Account | None = None
    web_user: Account | None = None
    # systemd
    unit: dict[str, str] = field(default_factory=dict)
    # Services of other applications with the same user.
    services_of_user: list[str] = field(default_factory=list)
    socket_unit: dict[str, str] = field(default_factory=dict)
    program: str = ""
    missing_paths: list[str] = field(default_factory=list)
    # The process
    working_directory: str = ""
    process_venv: str = ""
    started: float = 0
    changed_settings: str = ""
    dependencies_changed: float = 0
    packages: list[str] = field(default_factory=list)
    health_failure: str = ""
    journal_errors: list[str] = field(default_factory=list)
    # The socket
    listen: str = ""
    listening: bool | None = None
    foreign_listener: str = ""
    # Nginx
    nginx_state: str = "missing"
    nginx_output: str = ""
    config: parser.Config = parser.Config("", (), ())
    nginx_errors: list[str] = field(default_factory=list)
    nginx_exhausted: list[str] = field(default_factory=list)
    certificates: list[Certificate] = field(default_factory=list)
    # Releases of this collection
    release: str = ""
    venv: str = ""
    record: ReleaseRecord | None = None
    previous: str = ""
    last_recorded: str = ""
    candidate: str = ""
    restart_reason: str = ""
    venv_complete: bool = True
    unfinished: list[str] = field(default_factory=list)
    unused_venvs: list[str] = field(default_factory=list)
    unrecorded: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    lock: dict = field(default_factory=dict)
    drained: dict = field(default_factory=dict)
    replaced_files: list[str] = field(default_factory=list)
    missing_interpreter: str = ""
    lock_age: float = 0
    disks: list[Disk] = field(default_factory=list)
    settings: str = ""

    @property
    def media(self) -> list[str]:
        """Return the directories of uploads: shared/media, and those that Nginx serves."""
        found = [os.path.join(self.root, "shared", "media")]
        found += [path for path in self.served() if re.search(r"/(media|uploads?)$", path)]
        return [path for path in dict.fromkeys(found) if path in self.nodes]

    def served(self) -> list[str]:
        """Return the directories from which the application's sites serve files."""
        found = (location.directory for server in self.sites() for location in server.locations)
        return list(dict.fromkeys(path for path in found if path))

    def sites(self) -> list[parser.Server]:
        """Return the server blocks that proxy to the application or serve its files."""
        return [
            server for server in self.config.servers if any(self._belongs_to_app(item) for item in server.locations)
        ]

    def _belongs_to_app(self, location: parser.Location) -> bool:
        proxy = location.proxy
        socket_path = proxy.replace("unix:", "", 1) if proxy.startswith("unix:") else ""
        return (bool(proxy) and proxy == self.listen) or any(
            is_within(path, self.root) for path in (location.directory, socket_path) if path
        )


def read_facts(
    name: str,
    root: str,
    health: dict | None = None,
    recent: int = 60,
    system: HostSystem | None = None,
    scanned: int = MAX_SCANNED,
) -> Facts:
    """Read the state of an application.

    `recent` is the age of log lines in minutes, `scanned` the maximum number of files below the code.
    """
    system = system or HostSystem()
    name, root, unit, guesses = detect_application(system, name, root)
    facts = Facts(name, root, time.time(), guesses, unit=unit)
    _read_units(facts, system)
    _read_nginx(facts, system, recent)
    _read_tree(facts, scanned)
    _read_process(facts, system, health, recent)
    _read_releases(facts)
    _read_host(facts)
    if facts.managed:
        # The layout of this collection is known.
        facts.guesses = []
    return facts


def _read_units(facts: Facts, system: HostSystem) -> None:
    unit = facts.unit
    directory = find_working_directory(unit)
    sockets = f"{unit.get('Sockets', '')} {unit.get('TriggeredBy', '')}".split()
    for name in [*sockets, f"{facts.name}.socket"]:
        found = system.read_unit(name) if name.endswith(".socket") else {}
        if found.get("LoadState") == "loaded":
            facts.socket_unit = found
            break
    if unit:
        facts.program = (parse_exec_start(unit) or [""])[0]
        facts.runtime_user = find_account(
            unit.get("User") or "root", unit.get("Group", ""), unit.get("SupplementaryGroups", "")
        )
        if facts.runtime_user is None and unit.get("DynamicUser") == "yes":
            facts.runtime_user = read_process_account(unit.get("MainPID", "0"))
        facts.missing_paths = [
            path
            for path in unit.get("ReadWritePaths", "").split()
            if path.startswith(("/", "+/")) and not os.path.lexists(path.lstrip("+"))
        ]
        facts.services_of_user = _find_services_of_user(facts, system)
        own = re.findall(r"^(\S+) \(ignore_errors=(yes|no)\)", unit.get("EnvironmentFiles", ""), re.M)
        facts.env_files = [path if ignored == "no" else f"-{path}" for path, ignored in own]
    # The directory of the live code
    links = [os.path.join(facts.root, link) for link in LIVE_NAMES]
    live = next((path for path in links if _is_live(path, directory)), "")
    releases = os.path.join(facts.root, "releases")
    facts.releases = releases if os.path.isdir(releases) else ""
    if not live and not facts.releases:
        live = directory if is_within(directory, facts.root) else facts.root
    facts.live = live or links[0]
    facts.code = resolve_safely(facts.live)
    facts.managed = os.path.isdir(Layout(facts.root).records)
    facts.listen = find_listen_address(unit, facts.socket_unit, directory)


def _find_services_of_user(facts: Facts, system: HostSystem) -> list[str]:
    """Return other services of the same user. Services that name the application's directory belong to it."""
    user = facts.unit.get("User") or "root"
    return [
        name
        for name, text in system.read_service_files().items()
        if re.findall(r"(?m)^\s*User\s*=\s*(\S+)", text)[-1:] == [user]
        and name not in (facts.unit.get("Id"), f"{facts.name}.service", f"{facts.name}-next.service")
        and not names_path(text, facts.root)
    ]


def _is_live(link: str, served: str) -> bool:
    """Return whether a path is the live code. A package in the code may have the same name."""
    return os.path.islink(link) or os.path.isdir(link) and (not served or is_within(served, link))


def _read_nginx(facts: Facts, system: HostSystem, recent: int) -> None:
    answer = system.dump_nginx()
    unit = system.read_nginx_unit() if answer else {}
    user = ""
    if answer:
        accepted, facts.nginx_output, files = answer
        facts.nginx_state = "valid" if accepted else "invalid"
        main = next(iter(files), "")
        facts.config = parser.build_config(parser.resolve_includes(files, main))
        user = facts.config.user
        if unit.get("ActiveState") != "active":
            facts.nginx_state += " masked" if unit.get("LoadState") == "masked" else " stopped"
        prefix = os.path.dirname(main)
        logs = dict.fromkeys(
            os.path.join(prefix, path)
            for path in [*facts.config.error_logs, *(path for site in facts.sites() for path in site.error_logs)]
            if not path.startswith(("stderr", "syslog", "memory", "/dev/"))
        )
        for path in logs or ["/var/log/nginx/error.log"]:
            lines = _recent_lines(path, facts, recent)
            facts.nginx_errors += [line for line in lines if "Permission denied)" in line and facts.root in line]
            facts.nginx_exhausted += [line for line in lines if "worker_connections are not enough" in line]
        for site in facts.sites():
            facts.certificates += [read_certificate(os.path.join(prefix, path)) for path in site.certificates]
            for path in site.keys:
                _add_node(facts, os.path.join(prefix, path))
    workers = [read_process_account(pid) for pid in list_children(unit.get("MainPID", "0"))] if unit else []
    found = next((item for item in workers if item and item.uid), None)
    facts.web_user = found or find_account(user or "www-data") or find_account("nginx") or find_account("nobody")


def _recent_lines(path: str, facts: Facts, recent: int) -> list[str]:
    """Return the lines of the last `recent` minutes in a log of Nginx."""
    try:
        with os.fdopen(open_file(path), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    since = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(facts.now - recent * 60))
    return [line for line in lines if line[:19] >= since]


def read_certificate(path: str) -> Certificate:
    """Return the first certificate of a file with its expiry."""
    try:
        import ssl

        with os.fdopen(open_file(path), "rb") as file:
            # The ssl module has no other function to read a certificate without a connection. It takes a path.
            decoded = ssl._ssl._test_decode_cert(f"/proc/self/fd/{file.fileno()}")
        return Certificate(path, ssl.cert_time_to_seconds(decoded["notAfter"]))
    except Exception as error:  # the exceptions differ between versions of the ssl module
        return Certificate(path, None, str(error))


def _add_node(facts: Facts, path: str) -> None:
    item = read_node(path)
    if item:
        facts.nodes[path] = item


def _read_tree(facts: Facts, scanned: int) -> None:
    root, unit = facts.root, facts.unit
    data = [
        os.path.join(root, *parts) for parts in (["run"], ["shared"], ["shared", "media"], ["shared", "logs"], ["logs"])
    ]
    listens = facts.listen.replace("unix:", "", 1) if facts.listen.startswith("unix:") else ""
    paths = [root, facts.live, facts.code, *data, *facts.served(), listens, os.path.dirname(listens), facts.program]
    paths += [
        find_working_directory(unit),
        os.path.join(root, ".env"),
        os.path.join(root, "shared", ".env"),
        facts.releases,
    ]
    paths += [path.lstrip("-") for path in facts.env_files] + [os.path.join(facts.code, ".env")]
    for path in paths:
        if path:
            _add_node(facts, path)
    for path in [root, facts.code, *facts.served(), *facts.media, listens, find_working_directory(unit), facts.program]:
        if path:
            facts.routes[path] = list_route(path)
    # If the application's directory is the code, exclude subdirectories of the layout.
    exclude = tuple(
        os.path.join(root, name) for name in ("shared", "run", "logs", "venv", "venvs", "releases", ".deploy")
    )
    for path in facts.served():
        if is_within(path, root) and not is_within(root, path) and path != facts.code:
            facts.public += scan_tree(path)[0]
    facts.tree, facts.truncated = scan_tree(facts.code, exclude if facts.code == root else (), scanned)
    for directory in (root, os.path.join(root, "shared")):
        if os.path.isdir(directory) and directory != facts.code:
            facts.top_level += [
                item
                for name in sorted(os.listdir(directory))
                for item in [read_node(os.path.join(directory, name))]
                if item
            ]
    links = [item.path for item in facts.tree if item.target]
    facts.link_targets = [os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path))) for path in links]
    # Final targets of links. A database file needs its directory too, for its journal.
    ends = [os.path.realpath(path) for path in links]
    beside = [os.path.dirname(path) for path in ends if os.path.isfile(path)]
    facts.link_targets += ends + [path for path in beside if path not in (root, os.path.join(root, "shared"))]
    facts.link_targets += _find_named_data(facts)


def _find_named_data(facts: Facts) -> list[str]:
    """Return the paths in shared/ that an environment file names, such as the directory of a database."""
    found = []
    for path in facts.env_files:
        # A user may have replaced the environment file of an old deployment.
        with contextlib.suppress(OSError):
            text = read_file(path.lstrip("-"), ENVIRONMENT_BYTES).decode("utf-8", "replace")
            found += re.findall(rf"{re.escape(facts.root)}/shared/[^/\s\"':;,?]+", text)
    return found


def _read_process(facts: Facts, system: HostSystem, health: dict | None, recent: int) -> None:
    unit = facts.unit
    pid = unit.get("MainPID", "0")
    runs = unit.get("ActiveState") == "active" and pid != "0"
    if unit.get("ExecMainStartTimestampMonotonic", "0") != "0":
        facts.started = process.compute_start_time(unit)
    if runs:
        facts.working_directory = process.read_working_directory(pid) or ""
        facts.process_venv = process.read_process_venv(pid) or ""
        facts.replaced_files = process.find_replaced_files(pid)
        settings = [path.lstrip("-") for path in facts.env_files] + [Layout(facts.root).gunicorn_config]
        record = live_process.read_process_record(Layout(facts.root)) if facts.managed else {}
        facts.changed_settings = live_process.find_changed_file(unit, settings, record) or ""
        for packages in glob.glob(os.path.join(find_venv(facts), "lib", "python3*", "site-packages")):
            facts.dependencies_changed = max(facts.dependencies_changed, os.stat(packages).st_mtime)
    since = max(facts.started, facts.now - recent * 60)
    if unit:
        lines = system.read_journal(facts.root, unit["Id"], since)
        refused = [line for line in lines if PERMISSION_ERRORS.search(line)]
        for path in facts.env_files:
            refused = secrets.hide_secrets("\n".join(refused), path.lstrip("-")).splitlines()
        facts.journal_errors = refused
    if facts.listen.startswith("unix:"):
        path = facts.listen.replace("unix:", "", 1)
        item = facts.nodes.get(path)
        if item and item.kind == "socket":
            # A connection would start a stopped service. Look for its socket in /proc instead.
            bound = {path, os.path.basename(path), os.path.relpath(path, facts.working_directory or "/")}
            facts.listening = system.can_connect(path) if runs else bool(bound & system.read_listening_sockets())
            if runs and facts.listening:
                facts.health_failure = system.find_health_failure(path, _add_script_name(facts, health))
                facts.foreign_listener = system.find_foreign_listener(path, facts.name) if facts.managed else ""


def _add_script_name(facts: Facts, health: dict | None) -> dict | None:
    """Return the health check with its path below SCRIPT_NAME of the environment files."""
    path = health["path"] if health else "/"
    mounted = add_script_name(path, *(name.lstrip("-") for name in facts.env_files))
    return health if mounted == path else {**(health or {}), "path": mounted}


def find_venv(facts: Facts) -> str:
    """Return the virtual environment of the unit's program; empty if the program belongs to the system."""
    match = re.fullmatch(r"(/.+)/bin/[^/]+", facts.program)
    found = os.path.realpath(match.group(1)) if match else ""
    return "" if found in ("", "/usr", "/usr/local") else found


def list_packages(environment: str) -> list[str]:
    """Return the packages of a virtual environment with their versions, except pip, setuptools and wheel."""
    found = set()
    for path in glob.glob(os.path.join(environment, "lib", "python3*", "site-packages", "*.dist-info")):
        name, _separator, version = os.path.basename(path)[: -len(".dist-info")].partition("-")
        if normalize_name(name) not in ("pip", "setuptools", "wheel"):
            found.add(f"{normalize_name(name)} {version}")
    return sorted(found)


def requested(environment: str) -> list[str]:
    """The packages of an environment that somebody named when they were installed, as pip and uv note it."""
    notes = glob.glob(os.path.join(environment, "lib", "python3*", "site-packages", "*.dist-info", "REQUESTED"))
    return sorted({normalize_name(os.path.basename(os.path.dirname(path)).partition("-")[0]) for path in notes})


def _read_releases(facts: Facts) -> None:
    facts.venv = os.path.basename(find_venv(facts))
    facts.missing_interpreter = live_process.find_missing_interpreter(find_venv(facts)) or ""
    facts.packages = list_packages(find_venv(facts)) if find_venv(facts) else []
    facts.release = os.path.basename(facts.code) if facts.releases and is_within(facts.code, facts.releases) else ""
    if not facts.managed:
        return
    layout = Layout(facts.root)
    store = ReleaseStore(layout)
    known = store.read_releases()
    facts.unreadable = sorted(store.damaged)
    facts.release = layout.find_live() or ""
    facts.record = known.get(facts.release)
    facts.last_recorded, facts.previous = store.find_recorded() or "", store.find_previous() or ""
    facts.candidate = layout.next if os.path.lexists(layout.next) else ""
    facts.venv = store.find_venv(facts.release) or "" if facts.release else ""
    if facts.venv:
        facts.venv_complete = is_complete(os.path.join(layout.venvs, facts.venv))
    with contextlib.suppress(ReleaseError, KeyError, ValueError):
        facts.restart_reason = (
            live_process.find_restart_reason(layout, facts.name) or "" if facts.unit and facts.release else ""
        )
    for path in list_leftovers(layout):
        unnamed = os.path.dirname(path) == layout.venvs and not os.path.basename(path).startswith(".")
        (facts.unused_venvs if unnamed else facts.unfinished).append(path)
    facts.unrecorded = [
        layout.release(name)
        for name in list_directory(layout.releases)
        if not name.startswith(".")
        and name not in known
        and name != facts.release
        and os.path.join(layout.records, name + ".json") not in facts.unreadable
    ]
    facts.lock = DeployLock(layout, {}).read_holder() or {}
    facts.drained = read_drain(layout)
    with contextlib.suppress(OSError):
        facts.lock_age = facts.now - os.stat(layout.lock).st_mtime


def _read_host(facts: Facts) -> None:
    devices = set()
    for path in [facts.root, *facts.media, os.path.join(facts.root, "shared", "logs"), "/var/log", "/tmp"]:
        with contextlib.suppress(OSError):
            device = os.stat(path).st_dev
            room = os.statvfs(path)
            if device not in devices:
                sizes = (room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize, room.f_files, room.f_favail)
                flags = (bool(room.f_flag & os.ST_RDONLY), bool(room.f_flag & os.ST_NOEXEC))
                facts.disks.append(Disk(path, *sizes, *flags))
            devices.add(device)
    texts = [load_text(path.lstrip("-")) for path in facts.env_files]
    texts += [load_text(facts.unit.get("FragmentPath", "")), load_text(Layout(facts.root).gunicorn_config)]
    texts += [load_text(path) for path in facts.unit.get("DropInPaths", "").split()]
    # A slow hash, because secrets in the texts must not be guessed from the digest.
    digest = hashlib.scrypt("\0".join(texts).encode(), salt=facts.name.encode(), n=16384, r=8, p=1, dklen=12)
    facts.settings = digest.hex() if facts.unit else ""
