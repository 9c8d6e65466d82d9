# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is on a host: the tree, the units, the process, Nginx. Read in one go, changing nothing. Private.

Nothing is judged here, and nothing is taken for granted: a deployment by other hands is read as well.
"""

from __future__ import annotations

import contextlib
import glob
import grp
import hashlib
import os
import pwd
import re
import shlex
import socket
import stat
import struct
import subprocess
import time
from dataclasses import dataclass, field
from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils import _nginx, _secrets, _service
from ansible_collections.flaskops.production.plugins.module_utils._dependencies import COMPLETE, normalise
from ansible_collections.flaskops.production.plugins.module_utils._releases import Home, Lock, ReleaseError, _listed

# The links that deployment tools switch, and what a directory with code is called.
CURRENT = ("app", "current", "live")
CODE = (*CURRENT, "src", "code", "source")
# A tree that has more than this below its code keeps data there.
SCANNED = 20000
# Neither environments nor version control are code of the application, and both are large.
PASSED_OVER = (".git", ".hg", ".svn", "node_modules", "__pycache__")
SERVERS = re.compile(r"\b(gunicorn|uwsgi|waitress|hypercorn|uvicorn|mod_wsgi)", re.I)
REFUSED = re.compile(r"PermissionError|Permission denied|Read-only file system")
LOG_BYTES = 262144

_UNIT = (
    "Id,LoadState,ActiveState,SubState,Result,UnitFileState,FragmentPath,DropInPaths,NeedDaemonReload,MainPID,NRestarts,"
    "ExecMainStartTimestampMonotonic,User,Group,SupplementaryGroups,DynamicUser,WorkingDirectory,ExecStart,"
    "EnvironmentFiles,Sockets,ReadWritePaths,ProtectSystem,ProtectHome,PrivateTmp,TriggeredBy,Listen,Triggers"
)


class Node(NamedTuple):
    """What lies at a path, not followed: kind is directory, file, link, socket or other."""

    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    modified: float = 0
    acl: tuple[tuple[int, int, int], ...] = ()
    target: str = ""


class Account(NamedTuple):
    """A user with all groups that a process of it has."""

    name: str
    uid: int
    groups: tuple[int, ...]
    group: str = ""


class Disk(NamedTuple):
    """Room in the file system of a path."""

    path: str
    size: int
    free: int
    inodes: int
    inodes_free: int


class Certificate(NamedTuple):
    """A certificate that Nginx serves; expires is None where it can not be read."""

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
    # Nginx
    nginx: str = "missing"
    nginx_output: str = ""
    config: _nginx.Config = _nginx.Config("", (), ())
    nginx_errors: list[str] = field(default_factory=list)
    certificates: list[Certificate] = field(default_factory=list)
    # Releases, where this collection keeps them
    release: str = ""
    environment: str = ""
    record: dict | None = None
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


def within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


# --- the tree --------------------------------------------------------------------------------------------------------


def node(path: str) -> Node | None:
    """What lies there; None when nothing does."""
    try:
        info = os.lstat(path)
    except OSError:
        return None
    kinds = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFSOCK: "socket"}
    kind = kinds.get(stat.S_IFMT(info.st_mode), "other")
    target = os.readlink(path) if kind == "link" else ""
    return Node(
        path, kind, stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_mtime, _acl(path, kind), target
    )


def _acl(path: str, kind: str) -> tuple[tuple[int, int, int], ...]:
    """The entries (tag, permissions, id) of an access control list; empty where there is none."""
    if kind not in ("directory", "file"):
        return ()
    try:
        data = os.getxattr(path, "system.posix_acl_access", follow_symlinks=False)
    except OSError:
        return ()
    return tuple(struct.iter_unpack("<HHI", data[4:]))  # type: ignore[arg-type]


def may(account: Account, item: Node, wanted: int) -> bool:
    """Whether the kernel grants an account 4 (read), 2 (write) or 1 (execute, search), or a sum of them."""
    if account.uid == 0 or item.kind == "link":
        return True
    user, group, other = item.mode >> 6 & 7, item.mode >> 3 & 7, item.mode & 7
    if account.uid == item.uid:
        return user & wanted == wanted
    mask = next((permissions for tag, permissions, _id in item.acl if tag == 0x10), 7)
    for tag, permissions, number in item.acl:
        if tag == 0x02 and number == account.uid:
            return permissions & mask & wanted == wanted
    # With a list, the group bits of the mode are its mask.
    owning = next((permissions for tag, permissions, _id in item.acl if tag == 0x04), group)
    granted = [owning & mask] if item.gid in account.groups else []
    granted += [bits & mask for tag, bits, number in item.acl if tag == 0x08 and number in account.groups]
    if granted:
        return any(bits & wanted == wanted for bits in granted)
    return other & wanted == wanted


def route(path: str) -> list[Node]:
    """Every directory that the kernel passes on the way to a path, links followed, as `namei -l` shows them."""
    found: list[Node] = []
    pending = [part for part in path.split("/") if part]
    here, links = "/", 0
    while pending and links < 40:
        item = node(here)
        if item is None:
            break
        if item not in found:
            found.append(item)
        part = pending.pop(0)
        step = os.path.normpath(os.path.join(here, part))
        target = os.readlink(step) if os.path.islink(step) else None
        if target is None:
            here = step
        else:
            links += 1
            pending = [part for part in target.split("/") if part] + pending
            here = "/" if target.startswith("/") else here
    return found


def scan(top: str, leave: tuple[str, ...] = ()) -> tuple[list[Node], bool]:
    """Everything below a directory, environments and version control by their top only, and whether it was too much."""
    found: list[Node] = []
    for directory, directories, files in os.walk(top):
        directories.sort()
        for name in [*directories, *sorted(files)]:
            item = node(os.path.join(directory, name))
            if item:
                found.append(item)
        if len(found) > SCANNED:
            return found[:SCANNED], True
        directories[:] = [
            name
            for name in directories
            if name not in PASSED_OVER
            and os.path.join(directory, name) not in leave
            and not os.path.exists(os.path.join(directory, name, "pyvenv.cfg"))
        ]
    return found, False


# --- accounts --------------------------------------------------------------------------------------------------------


def account(user: str, group: str = "", more: str = "") -> Account | None:
    """A user with its groups, as systemd would start a process with them; None when there is no such user."""
    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
        main = _gid(group) if group else entry.pw_gid
        groups = {main, *os.getgrouplist(entry.pw_name, main), *(_gid(name) for name in more.split())}
    except KeyError:
        return None
    with contextlib.suppress(KeyError):
        return Account(entry.pw_name, entry.pw_uid, tuple(sorted(groups)), grp.getgrgid(main).gr_name)
    return Account(entry.pw_name, entry.pw_uid, tuple(sorted(groups)), str(main))


def _gid(name: str) -> int:
    return int(name) if name.isdigit() else grp.getgrnam(name).gr_gid


def process_account(pid: str) -> Account | None:
    """The user and the groups that a process really has."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            lines = dict(line.rstrip("\n").split(":", 1) for line in file if ":" in line)
        uid, gid = int(lines["Uid"].split()[1]), int(lines["Gid"].split()[1])
        groups = {gid, *map(int, lines["Groups"].split())}
        return Account(pwd.getpwuid(uid).pw_name, uid, tuple(sorted(groups)), grp.getgrgid(gid).gr_name)
    except (OSError, KeyError, ValueError):
        return None


def children(pid: str) -> list[str]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as file:
            return file.read().split()
    except OSError:
        return []


# --- what the host says ----------------------------------------------------------------------------------------------


class System:
    """The host's own tongue: systemd, the journal, Nginx. Tests speak in its place."""

    def show(self, unit: str) -> dict[str, str]:
        return _service.show(unit, _UNIT)

    def unit_files(self) -> dict[str, str]:
        """The services that an administrator installed, with their texts."""
        found = {}
        for directory in ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system"):
            for path in sorted(glob.glob(f"{directory}/*.service")):
                found.setdefault(os.path.basename(path), _text(path))
        return found

    def journal(self, root: str, unit: str, since: float) -> list[str]:
        return _service.journal(Home(root), unit, since, lines=2000).splitlines()

    def nginx(self) -> tuple[bool, str, dict[str, str]] | None:
        """Whether Nginx accepts its configuration, what it says, and the files; None where there is no Nginx."""
        try:
            done = subprocess.run(
                ["nginx", "-T"], stdin=subprocess.DEVNULL, capture_output=True, check=False, env=_environment()
            )
        except OSError:
            return None
        output = done.stderr.decode(errors="replace").strip()
        files = _nginx.dumped(done.stdout.decode(errors="replace")) if done.returncode == 0 else {}
        return done.returncode == 0, output, files or _files("/etc/nginx/nginx.conf")

    def nginx_unit(self) -> dict[str, str]:
        return self.show("nginx.service")

    def listening(self) -> set[str]:
        """The paths of the sockets that somebody listens on, as they were bound."""
        return {
            line.split(None, 7)[7].strip()
            for line in _text("/proc/net/unix").splitlines()[1:]
            if len(line.split(None, 7)) == 8 and line.split()[3] == "00010000"
        }

    def connects(self, path: str) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2)
            try:
                client.connect(path)
            except OSError:
                return False
        return True

    def ask(self, path: str, health: dict | None) -> str:
        """Why the application does not answer as it should; empty when it does."""
        wanted = health or {"path": "/", "host": "localhost", "timeout": 5}
        answer = _service.ask(path, wanted["path"], wanted["host"], wanted["timeout"], wanted.get("headers"))
        statuses = health["status"] if health else range(100, 500)
        if answer in statuses:
            return ""
        expected = " or ".join(map(str, health["status"])) if health else "a status below 500"
        return f"GET {wanted['path']} answered {answer}, expected {expected}"


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", "LC_ALL": "C"}


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _files(main: str) -> dict[str, str]:
    """The files of a configuration that Nginx itself can not read to its end."""
    found: dict[str, str] = {}
    pending = [main]
    while pending and len(found) < 500:
        path = pending.pop(0)
        if path in found or not os.path.isfile(path):
            continue
        found[path] = _text(path)

        def included(directives: tuple[_nginx.Directive, ...]) -> list[str]:
            patterns = [item.words[0] for item in directives if item.name == "include" and item.words]
            return patterns + [pattern for item in directives for pattern in included(item.block)]

        for pattern in included(_nginx.parse(found[path])):
            pending += sorted(glob.glob(os.path.join(os.path.dirname(main), pattern)))
    return found


# --- discovery -------------------------------------------------------------------------------------------------------


def argv(unit: dict[str, str]) -> list[str]:
    """The command line of a unit's ExecStart."""
    match = re.search(r"argv\[\]=(.*?) ; ", unit.get("ExecStart", "") + " ; ")
    words = match.group(1) if match else ""
    try:
        return shlex.split(words)
    except ValueError:
        return words.split()


def base_of(directory: str) -> str:
    """The application's directory, of the one that a service runs in."""
    parent, name = os.path.split(directory.rstrip("/"))
    if os.path.basename(parent) == "releases":
        return os.path.dirname(parent)
    return parent if name in CODE and parent.count("/") >= 2 else directory.rstrip("/")


def _directory(unit: dict[str, str]) -> str:
    directory = unit.get("WorkingDirectory", "").lstrip("!-")
    words = argv(unit)
    for position, word in enumerate(words):
        if word == "--chdir" and position + 1 < len(words):
            directory = words[position + 1]
        elif word.startswith("--chdir="):
            directory = word.split("=", 1)[1]
    return directory


def discover(system: System, name: str, root: str) -> tuple[str, str, dict[str, str], list[str]]:
    """The application's name, root and service, as far as they were not given, and what was guessed."""
    guesses: list[str] = []
    root = root.rstrip("/")
    unit = system.show(f"{name}.service") if name else {}
    if not unit or unit.get("LoadState") != "loaded":
        unit = {}
        names = [key for key, text in system.unit_files().items() if _belongs(key, text, name, root)]
        names = [key for key in names if not key.endswith("-next.service")]
        if names:
            unit = system.show(names[0])
            guesses.append(f"{names[0]} runs it: the unit names {root or name}.")
            if len(names) > 1:
                guesses.append(f"Not looked at: {', '.join(names[1:])}, which name it too.")
    if not root:
        directory = _directory(unit)
        root = base_of(directory) if directory.startswith("/") else f"/srv/{name}"
        why = f"{unit.get('Id')} runs in {directory}" if directory else "no service says another place"
        guesses.append(f"{root} is its directory: {why}.")
    if not name:
        name = unit.get("Id", "").rsplit(".", 1)[0] or os.path.basename(root)
        guesses.append(f"{name} is its name: that of {'its service' if unit else 'its directory'}.")
    return name, root, unit, guesses


def _belongs(key: str, text: str, name: str, root: str) -> bool:
    if root and re.search(rf"(?m)^[^#;\n]*{re.escape(root)}(/|\s|$)", text):
        return True
    return bool(name and not root and SERVERS.search(text) and re.search(rf"\b{re.escape(name)}\b", key + text))


def addresses(unit: dict[str, str], socket_unit: dict[str, str], directory: str) -> str:
    """Where the service listens: `unix:/path` or `host:port`; empty when nothing says it."""
    listen = re.search(r"^(\S+) \(Stream\)", socket_unit.get("Listen", ""), re.M)
    if listen:
        return f"unix:{listen.group(1)}" if listen.group(1).startswith("/") else listen.group(1)
    words = argv(unit)
    bind, config = "", ""
    for position, word in enumerate(words):
        value = words[position + 1] if position + 1 < len(words) else ""
        if word in ("-b", "--bind"):
            bind = bind or value
        elif word.startswith(("--bind=", "-b=")):
            bind = bind or word.split("=", 1)[1]
        elif word in ("-c", "--config"):
            config = value
        elif word.startswith("--config="):
            config = word.split("=", 1)[1]
    if not bind and words and SERVERS.search(" ".join(words)):
        path = os.path.join(directory or "/", config or "gunicorn.conf.py")
        match = re.search(r"(?m)^\s*bind\s*=\s*\[?\s*[\"']([^\"']+)[\"']", _text(path))
        bind = match.group(1) if match else ""
    if bind.startswith("unix:"):
        path = re.sub(r"^unix:(//)?(?=.)", "", bind)
        return "unix:" + os.path.normpath(os.path.join(directory or "/", path))
    return f"127.0.0.1:{bind.rsplit(':', 1)[1]}" if bind.startswith(("0.0.0.0:", "localhost:", ":")) else bind


# --- everything ------------------------------------------------------------------------------------------------------


def read(name: str, root: str, health: dict | None = None, recent: int = 60, system: System | None = None) -> Facts:
    """Look at everything once."""
    system = system or System()
    name, root, unit, guesses = discover(system, name, root)
    facts = Facts(name, root, time.time(), guesses, unit=unit)
    _read_units(facts, system)
    _read_nginx(facts, system, recent)
    _read_tree(facts)
    _read_process(facts, system, health, recent)
    _read_releases(facts)
    _read_rest(facts)
    return facts


def _read_units(facts: Facts, system: System) -> None:
    unit = facts.unit
    directory = _directory(unit)
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
        own = re.findall(r"^(\S+) \(ignore_errors=(yes|no)\)", unit.get("EnvironmentFiles", ""), re.M)
        facts.env_files = [path if ignored == "no" else f"-{path}" for path, ignored in own]
    # Where the code is that is deployed
    links = [os.path.join(facts.root, link) for link in CURRENT]
    live = next((path for path in links if os.path.lexists(path)), "")
    releases = os.path.join(facts.root, "releases")
    facts.releases = releases if os.path.isdir(releases) else ""
    if not live and not facts.releases:
        live = directory if within(directory, facts.root) else facts.root
    facts.live = live or links[0]
    facts.code = os.path.realpath(facts.live)
    facts.managed = os.path.isdir(Home(facts.root).records)
    facts.listen = addresses(unit, facts.socket_unit, directory)


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
            facts.nginx += " stopped"
        prefix = os.path.dirname(main)
        logs = dict.fromkeys(
            os.path.join(prefix, path)
            for path in [*facts.config.error_logs, *(path for site in facts.sites() for path in site.error_logs)]
            if not path.startswith(("stderr", "syslog", "memory", "/dev/"))
        )
        for path in logs or ["/var/log/nginx/error.log"]:
            facts.nginx_errors += _refusals(path, facts, recent)
        for site in facts.sites():
            facts.certificates += [certificate(os.path.join(prefix, path)) for path in site.certificates]
            for path in site.keys:
                _note(facts, os.path.join(prefix, path))
    workers = [process_account(pid) for pid in children(unit.get("MainPID", "0"))] if unit else []
    found = next((item for item in workers if item and item.uid), None)
    facts.web = found or account(user or "www-data") or account("nginx") or account("nobody")


def _refusals(path: str, facts: Facts, recent: int) -> list[str]:
    """The lines of a log of Nginx, of late, that tell of a path of the application that was closed to it."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    since = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(facts.now - recent * 60))
    return [line for line in lines if "Permission denied)" in line and facts.root in line and line[:19] >= since]


def certificate(path: str) -> Certificate:
    """When the first certificate of a file expires."""
    try:
        import ssl

        decoded = ssl._ssl._test_decode_cert(path)  # the library has no other way to read one without a connection
        return Certificate(path, ssl.cert_time_to_seconds(decoded["notAfter"]))
    except Exception as error:  # of the library's own kinds, which differ between its versions
        return Certificate(path, None, str(error))


def _note(facts: Facts, path: str) -> None:
    item = node(path)
    if item:
        facts.nodes[path] = item


def _read_tree(facts: Facts) -> None:
    root, unit = facts.root, facts.unit
    data = [
        os.path.join(root, *parts) for parts in (["run"], ["shared"], ["shared", "media"], ["shared", "logs"], ["logs"])
    ]
    listens = facts.listen.replace("unix:", "", 1) if facts.listen.startswith("unix:") else ""
    paths = [root, facts.live, facts.code, *data, *facts.served(), listens, os.path.dirname(listens), facts.program]
    paths += [_directory(unit), os.path.join(root, ".env"), os.path.join(root, "shared", ".env"), facts.releases]
    paths += [path.lstrip("-") for path in facts.env_files] + [os.path.join(facts.code, ".env")]
    for path in paths:
        if path:
            _note(facts, path)
    for path in [root, facts.code, *facts.served(), *facts.media, listens, _directory(unit), facts.program]:
        if path:
            facts.routes[path] = route(path)
    # What has places of its own is no code, where the code is the whole directory.
    leave = tuple(
        os.path.join(root, name) for name in ("shared", "run", "logs", "venv", "venvs", "releases", ".deploy")
    )
    for path in facts.served():
        if within(path, root) and not within(root, path) and path != facts.code:
            facts.public += scan(path)[0]
    facts.tree, facts.truncated = scan(facts.code, leave if facts.code == root else ())
    for directory in (root, os.path.join(root, "shared")):
        if os.path.isdir(directory) and directory != facts.code:
            facts.top += [
                item for name in sorted(os.listdir(directory)) for item in [node(os.path.join(directory, name))] if item
            ]
    facts.linked = [
        os.path.normpath(os.path.join(os.path.dirname(item.path), item.target)) for item in facts.tree if item.target
    ]


def _read_process(facts: Facts, system: System, health: dict | None, recent: int) -> None:
    unit = facts.unit
    pid = unit.get("MainPID", "0")
    runs = unit.get("ActiveState") == "active" and pid != "0"
    if unit.get("ExecMainStartTimestampMonotonic", "0") != "0":
        facts.started = _service.started(unit)
    if runs:
        facts.cwd = _service.working_directory(pid) or ""
        facts.prefix = _service.prefix(pid) or ""
        settings = [path.lstrip("-") for path in facts.env_files] + [Home(facts.root).gunicorn_config]
        facts.settings_changed = _service.changed(unit, settings) or ""
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
                facts.health = system.ask(path, health)


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


class _Readable(Home):
    """The tree of an application whose records may be damaged: what can't be read is noted, and counts as missing."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.unreadable: set[str] = set()

    def record(self, name: str) -> dict | None:
        try:
            record = super().record(name)
        except (ReleaseError, OSError):
            record = {}
        if record is not None and not (isinstance(record, dict) and {"state", "digest"} <= set(record)):
            self.unreadable.add(os.path.join(self.records, name + ".json"))
            return None
        return record


def _read_releases(facts: Facts) -> None:
    facts.environment = os.path.basename(environment_of(facts))
    facts.packages = packages(environment_of(facts)) if environment_of(facts) else []
    facts.release = os.path.basename(facts.code) if facts.releases and within(facts.code, facts.releases) else ""
    if not facts.managed:
        return
    home = _Readable(facts.root)
    known = home.known()
    facts.unreadable = sorted(home.unreadable)
    facts.release = home.live() or ""
    facts.record = known.get(facts.release)
    facts.recorded, facts.previous = home.recorded() or "", home.previous() or ""
    facts.next = home.next if os.path.lexists(home.next) else ""
    facts.environment = home.environment(facts.release) or "" if facts.release else ""
    if facts.environment:
        facts.environment_complete = os.path.exists(os.path.join(home.venvs, facts.environment, COMPLETE))
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
                facts.disks.append(Disk(path, *sizes))
            seen.add(device)
    texts = [_text(path.lstrip("-")) for path in facts.env_files]
    texts += [_text(facts.unit.get("FragmentPath", "")), _text(Home(facts.root).gunicorn_config)]
    texts += [_text(path) for path in facts.unit.get("DropInPaths", "").split()]
    # Slow on purpose: the secrets in there must not be found by trying.
    digest = hashlib.scrypt("\0".join(texts).encode(), salt=facts.name.encode(), n=16384, r=8, p=1, dklen=12)
    facts.settings = digest.hex() if facts.unit else ""
