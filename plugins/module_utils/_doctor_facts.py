# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is on a host: the tree, the units, the process, Nginx. Read in one go, changing nothing. Private.

Nothing is judged here, and nothing is taken for granted: a deployment by other hands is read as well.
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

from ansible_collections.flaskops.production.plugins.module_utils import _nginx, _secrets, _service
from ansible_collections.flaskops.production.plugins.module_utils._dependencies import normalise
from ansible_collections.flaskops.production.plugins.module_utils._dependency_set import is_complete
from ansible_collections.flaskops.production.plugins.module_utils._doctor_discovery import (
    CURRENT,
    addresses,
    argv,
    directory_of,
    discover,
    names_path,
)
from ansible_collections.flaskops.production.plugins.module_utils._doctor_files import (
    SCANNED,
    Account,
    Node,
    account,
    node,
    route,
    scan,
    text_of,
    within,
)
from ansible_collections.flaskops.production.plugins.module_utils._doctor_system import (
    System,
    children,
    process_account,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import (
    open_file,
)
from ansible_collections.flaskops.production.plugins.module_utils._record import Record
from ansible_collections.flaskops.production.plugins.module_utils._releases import Home, Lock, ReleaseError, _listed
from ansible_collections.flaskops.production.plugins.module_utils._rollout import read_drain

REFUSED = re.compile(r"PermissionError|Permission denied|Read-only file system")
LOG_BYTES = 262144


class Disk(NamedTuple):
    """Room in the file system of a path."""

    path: str
    size: int
    free: int
    inodes: int
    inodes_free: int
    read_only: bool = False
    noexec: bool = False


class Certificate(NamedTuple):
    """A certificate that Nginx serves; expires is None where it cannot be read."""

    path: str
    expires: float | None
    error: str = ""


@dataclass
class Facts:
    """Everything that is judged."""

    name: str
    root: str
    now: float = 0
    guesses: list[str] = field(default_factory=list)
    nodes: dict[str, Node] = field(default_factory=dict)
    routes: dict[str, list[Node]] = field(default_factory=dict)
    managed: bool = False
    # The link or directory that the deploys switch, and the directory that it leads to.
    live: str = ""
    code: str = ""
    releases: str = ""
    env_files: list[str] = field(default_factory=list)
    tree: list[Node] = field(default_factory=list)
    truncated: bool = False
    # What is below the directories that Nginx serves.
    public: list[Node] = field(default_factory=list)
    top: list[Node] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)
    runtime: Account | None = None
    web: Account | None = None
    # systemd
    unit: dict[str, str] = field(default_factory=dict)
    # Services of other applications that run as the same user.
    neighbours: list[str] = field(default_factory=list)
    socket_unit: dict[str, str] = field(default_factory=dict)
    program: str = ""
    paths_missing: list[str] = field(default_factory=list)
    # The process
    cwd: str = ""
    prefix: str = ""
    started: float = 0
    settings_changed: str = ""
    dependencies_changed: float = 0
    packages: list[str] = field(default_factory=list)
    health: str = ""
    journal: list[str] = field(default_factory=list)
    # The socket
    listen: str = ""
    listening: bool | None = None
    foreign: str = ""
    # Nginx
    nginx: str = "missing"
    nginx_output: str = ""
    config: _nginx.Config = _nginx.Config("", (), ())
    nginx_errors: list[str] = field(default_factory=list)
    nginx_exhausted: list[str] = field(default_factory=list)
    certificates: list[Certificate] = field(default_factory=list)
    # Releases, where this collection keeps them
    release: str = ""
    environment: str = ""
    record: Record | None = None
    previous: str = ""
    recorded: str = ""
    next: str = ""
    outdated: str = ""
    environment_complete: bool = True
    half_done: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)
    unrecorded: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    lock: dict = field(default_factory=dict)
    drained: dict = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)
    lost_interpreter: str = ""
    lock_age: float = 0
    disks: list[Disk] = field(default_factory=list)
    settings: str = ""

    @property
    def media(self) -> list[str]:
        """Where uploads go: where Nginx serves them from, and where a tree like the guide's has them."""
        found = [os.path.join(self.root, "shared", "media")]
        found += [path for path in self.served() if re.search(r"/(media|uploads?)$", path)]
        return [path for path in dict.fromkeys(found) if path in self.nodes]

    def served(self) -> list[str]:
        """The directories that the application's sites serve files from."""
        found = (location.directory for server in self.sites() for location in server.locations)
        return list(dict.fromkeys(path for path in found if path))

    def sites(self) -> list[_nginx.Server]:
        """The server blocks that lead to the application or serve files of its tree."""
        return [server for server in self.config.servers if any(self._is_ours(item) for item in server.locations)]

    def _is_ours(self, location: _nginx.Location) -> bool:
        proxy = location.proxy
        socket_path = proxy.replace("unix:", "", 1) if proxy.startswith("unix:") else ""
        return (bool(proxy) and proxy == self.listen) or any(
            within(path, self.root) for path in (location.directory, socket_path) if path
        )


def read(
    name: str,
    root: str,
    health: dict | None = None,
    recent: int = 60,
    system: System | None = None,
    scanned: int = SCANNED,
) -> Facts:
    """Look at everything once. scanned: how many files may be below the code."""
    system = system or System()
    name, root, unit, guesses = discover(system, name, root)
    facts = Facts(name, root, time.time(), guesses, unit=unit)
    _read_units(facts, system)
    _read_nginx(facts, system, recent)
    _read_tree(facts, scanned)
    _read_process(facts, system, health, recent)
    _read_releases(facts)
    _read_rest(facts)
    if facts.managed:
        # Where this collection has put everything, nothing is a guess.
        facts.guesses = []
    return facts


def _read_units(facts: Facts, system: System) -> None:
    unit = facts.unit
    directory = directory_of(unit)
    sockets = f"{unit.get('Sockets', '')} {unit.get('TriggeredBy', '')}".split()
    for name in [*sockets, f"{facts.name}.socket"]:
        found = system.show(name) if name.endswith(".socket") else {}
        if found.get("LoadState") == "loaded":
            facts.socket_unit = found
            break
    if unit:
        facts.program = (argv(unit) or [""])[0]
        facts.runtime = account(unit.get("User") or "root", unit.get("Group", ""), unit.get("SupplementaryGroups", ""))
        if facts.runtime is None and unit.get("DynamicUser") == "yes":
            facts.runtime = process_account(unit.get("MainPID", "0"))
        facts.paths_missing = [
            path
            for path in unit.get("ReadWritePaths", "").split()
            if path.startswith(("/", "+/")) and not os.path.lexists(path.lstrip("+"))
        ]
        facts.neighbours = _neighbours(facts, system)
        own = re.findall(r"^(\S+) \(ignore_errors=(yes|no)\)", unit.get("EnvironmentFiles", ""), re.M)
        facts.env_files = [path if ignored == "no" else f"-{path}" for path, ignored in own]
    # Where the code is that is deployed
    links = [os.path.join(facts.root, link) for link in CURRENT]
    live = next((path for path in links if _is_live(path, directory)), "")
    releases = os.path.join(facts.root, "releases")
    facts.releases = releases if os.path.isdir(releases) else ""
    if not live and not facts.releases:
        live = directory if within(directory, facts.root) else facts.root
    facts.live = live or links[0]
    facts.code = os.path.realpath(facts.live)
    facts.managed = os.path.isdir(Home(facts.root).records)
    facts.listen = addresses(unit, facts.socket_unit, directory)


def _neighbours(facts: Facts, system: System) -> list[str]:
    """The services that an administrator installed for the same user. One that names the directory is a part of it."""
    user = facts.unit.get("User") or "root"
    return [
        name
        for name, text in system.unit_files().items()
        if re.findall(r"(?m)^\s*User\s*=\s*(\S+)", text)[-1:] == [user]
        and name not in (facts.unit.get("Id"), f"{facts.name}.service", f"{facts.name}-next.service")
        and not names_path(text, facts.root)
    ]


def _is_live(link: str, served: str) -> bool:
    """Whether a link or directory is what the deploys switch. A package of the code may have the same name."""
    return os.path.islink(link) or os.path.isdir(link) and (not served or within(served, link))


def _read_nginx(facts: Facts, system: System, recent: int) -> None:
    answer = system.nginx()
    unit = system.nginx_unit() if answer else {}
    user = ""
    if answer:
        accepted, facts.nginx_output, files = answer
        facts.nginx = "valid" if accepted else "invalid"
        main = next(iter(files), "")
        facts.config = _nginx.config(_nginx.tree(files, main))
        user = facts.config.user
        if unit.get("ActiveState") != "active":
            facts.nginx += " masked" if unit.get("LoadState") == "masked" else " stopped"
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
            facts.certificates += [certificate(os.path.join(prefix, path)) for path in site.certificates]
            for path in site.keys:
                _note(facts, os.path.join(prefix, path))
    workers = [process_account(pid) for pid in children(unit.get("MainPID", "0"))] if unit else []
    found = next((item for item in workers if item and item.uid), None)
    facts.web = found or account(user or "www-data") or account("nginx") or account("nobody")


def _recent_lines(path: str, facts: Facts, recent: int) -> list[str]:
    """The lines of a log of Nginx of the last minutes."""
    try:
        with os.fdopen(open_file(path), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    since = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(facts.now - recent * 60))
    return [line for line in lines if line[:19] >= since]


def certificate(path: str) -> Certificate:
    """When the first certificate of a file expires."""
    try:
        import ssl

        with os.fdopen(open_file(path), "rb") as file:
            # The library has no other way to read one without a connection, and takes a path.
            decoded = ssl._ssl._test_decode_cert(f"/proc/self/fd/{file.fileno()}")
        return Certificate(path, ssl.cert_time_to_seconds(decoded["notAfter"]))
    except Exception as error:  # of the library's own kinds, which differ between its versions
        return Certificate(path, None, str(error))


def _note(facts: Facts, path: str) -> None:
    item = node(path)
    if item:
        facts.nodes[path] = item


def _read_tree(facts: Facts, scanned: int) -> None:
    root, unit = facts.root, facts.unit
    data = [
        os.path.join(root, *parts) for parts in (["run"], ["shared"], ["shared", "media"], ["shared", "logs"], ["logs"])
    ]
    listens = facts.listen.replace("unix:", "", 1) if facts.listen.startswith("unix:") else ""
    paths = [root, facts.live, facts.code, *data, *facts.served(), listens, os.path.dirname(listens), facts.program]
    paths += [directory_of(unit), os.path.join(root, ".env"), os.path.join(root, "shared", ".env"), facts.releases]
    paths += [path.lstrip("-") for path in facts.env_files] + [os.path.join(facts.code, ".env")]
    for path in paths:
        if path:
            _note(facts, path)
    for path in [root, facts.code, *facts.served(), *facts.media, listens, directory_of(unit), facts.program]:
        if path:
            facts.routes[path] = route(path)
    # What has places of its own is no code, where the code is the whole directory.
    leave = tuple(
        os.path.join(root, name) for name in ("shared", "run", "logs", "venv", "venvs", "releases", ".deploy")
    )
    for path in facts.served():
        if within(path, root) and not within(root, path) and path != facts.code:
            facts.public += scan(path)[0]
    facts.tree, facts.truncated = scan(facts.code, leave if facts.code == root else (), scanned)
    for directory in (root, os.path.join(root, "shared")):
        if os.path.isdir(directory) and directory != facts.code:
            facts.top += [
                item for name in sorted(os.listdir(directory)) for item in [node(os.path.join(directory, name))] if item
            ]
    links = [item.path for item in facts.tree if item.target]
    facts.linked = [os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path))) for path in links]
    # What the links lead to in the end, and, of a file, its directory: a database has its journal beside it.
    ends = [os.path.realpath(path) for path in links]
    beside = [os.path.dirname(path) for path in ends if os.path.isfile(path)]
    facts.linked += ends + [path for path in beside if path not in (root, os.path.join(root, "shared"))]


def _read_process(facts: Facts, system: System, health: dict | None, recent: int) -> None:
    unit = facts.unit
    pid = unit.get("MainPID", "0")
    runs = unit.get("ActiveState") == "active" and pid != "0"
    if unit.get("ExecMainStartTimestampMonotonic", "0") != "0":
        facts.started = _service.started(unit)
    if runs:
        facts.cwd = _service.working_directory(pid) or ""
        facts.prefix = _service.prefix(pid) or ""
        facts.replaced = _service.replaced_files(pid)
        settings = [path.lstrip("-") for path in facts.env_files] + [Home(facts.root).gunicorn_config]
        noted = _service.noted_process(Home(facts.root)) if facts.managed else {}
        facts.settings_changed = _service.changed(unit, settings, noted) or ""
        for packages in glob.glob(os.path.join(environment_of(facts), "lib", "python3*", "site-packages")):
            facts.dependencies_changed = max(facts.dependencies_changed, os.stat(packages).st_mtime)
    since = max(facts.started, facts.now - recent * 60)
    if unit:
        said = system.journal(facts.root, unit["Id"], since)
        refused = [line for line in said if REFUSED.search(line)]
        for path in facts.env_files:
            refused = _secrets.hide("\n".join(refused), path.lstrip("-")).splitlines()
        facts.journal = refused
    if facts.listen.startswith("unix:"):
        path = facts.listen.replace("unix:", "", 1)
        item = facts.nodes.get(path)
        if item and item.kind == "socket":
            # A connection would start a service that is down, so that one is only looked at.
            bound = {path, os.path.basename(path), os.path.relpath(path, facts.cwd or "/")}
            facts.listening = system.connects(path) if runs else bool(bound & system.listening())
            if runs and facts.listening:
                facts.health = system.ask(path, _mounted(facts, health))
                facts.foreign = system.stranger(path, facts.name) if facts.managed else ""


def _mounted(facts: Facts, health: dict | None) -> dict | None:
    """The health check below SCRIPT_NAME of the service's environment files."""
    path = health["path"] if health else "/"
    mounted = _service.mounted_path(path, *(name.lstrip("-") for name in facts.env_files))
    return health if mounted == path else {**(health or {}), "path": mounted}


def environment_of(facts: Facts) -> str:
    """The environment that the unit's program belongs to, links followed; empty when it is the system's."""
    match = re.fullmatch(r"(/.+)/bin/[^/]+", facts.program)
    found = os.path.realpath(match.group(1)) if match else ""
    return "" if found in ("", "/usr", "/usr/local") else found


def packages(environment: str) -> list[str]:
    """The packages of an environment, with their versions, but for those that only build environments."""
    found = set()
    for path in glob.glob(os.path.join(environment, "lib", "python3*", "site-packages", "*.dist-info")):
        name, _separator, version = os.path.basename(path)[: -len(".dist-info")].partition("-")
        if normalise(name) not in ("pip", "setuptools", "wheel"):
            found.add(f"{normalise(name)} {version}")
    return sorted(found)


def requested(environment: str) -> list[str]:
    """The packages of an environment that somebody named when they were installed, as pip and uv note it."""
    notes = glob.glob(os.path.join(environment, "lib", "python3*", "site-packages", "*.dist-info", "REQUESTED"))
    return sorted({normalise(os.path.basename(os.path.dirname(path)).partition("-")[0]) for path in notes})


def _read_releases(facts: Facts) -> None:
    facts.environment = os.path.basename(environment_of(facts))
    facts.lost_interpreter = _service.lost_interpreter(environment_of(facts)) or ""
    facts.packages = packages(environment_of(facts)) if environment_of(facts) else []
    facts.release = os.path.basename(facts.code) if facts.releases and within(facts.code, facts.releases) else ""
    if not facts.managed:
        return
    home = Home(facts.root)
    known = home.known()
    facts.unreadable = sorted(home.damaged)
    facts.release = home.live() or ""
    facts.record = known.get(facts.release)
    facts.recorded, facts.previous = home.recorded() or "", home.previous() or ""
    facts.next = home.next if os.path.lexists(home.next) else ""
    facts.environment = home.environment(facts.release) or "" if facts.release else ""
    if facts.environment:
        facts.environment_complete = is_complete(os.path.join(home.venvs, facts.environment))
    with contextlib.suppress(ReleaseError, KeyError, ValueError):
        facts.outdated = _service.outdated(home, facts.name) or "" if facts.unit and facts.release else ""
    for path in home.leftovers():
        unnamed = os.path.dirname(path) == home.venvs and not os.path.basename(path).startswith(".")
        (facts.unnamed if unnamed else facts.half_done).append(path)
    facts.unrecorded = [
        home.release(name)
        for name in _listed(home.releases)
        if not name.startswith(".")
        and name not in known
        and name != facts.release
        and os.path.join(home.records, name + ".json") not in facts.unreadable
    ]
    facts.lock = Lock(home, {}).holder() or {}
    facts.drained = read_drain(home)
    with contextlib.suppress(OSError):
        facts.lock_age = facts.now - os.stat(home.lock).st_mtime


def _read_rest(facts: Facts) -> None:
    seen = set()
    for path in [facts.root, *facts.media, os.path.join(facts.root, "shared", "logs"), "/var/log", "/tmp"]:
        with contextlib.suppress(OSError):
            device = os.stat(path).st_dev
            room = os.statvfs(path)
            if device not in seen:
                sizes = (room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize, room.f_files, room.f_favail)
                flags = (bool(room.f_flag & os.ST_RDONLY), bool(room.f_flag & os.ST_NOEXEC))
                facts.disks.append(Disk(path, *sizes, *flags))
            seen.add(device)
    texts = [text_of(path.lstrip("-")) for path in facts.env_files]
    texts += [text_of(facts.unit.get("FragmentPath", "")), text_of(Home(facts.root).gunicorn_config)]
    texts += [text_of(path) for path in facts.unit.get("DropInPaths", "").split()]
    # Slow on purpose: the secrets in there must not be found by trying.
    digest = hashlib.scrypt("\0".join(texts).encode(), salt=facts.name.encode(), n=16384, r=8, p=1, dklen=12)
    facts.settings = digest.hex() if facts.unit else ""
