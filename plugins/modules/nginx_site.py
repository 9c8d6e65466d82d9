#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: nginx_site
short_description: Put one Nginx site file in place, only when Nginx accepts it
version_added: "1.0.0"
author:
  - The flaskops.production contributors (@flaskops)
description:
  - Writes one site file, enables it with a relative symbolic link, and has a running Nginx load it, in one call.
  - The new configuration is tested B(before) anything is replaced. Nginx tests a private copy of its main file
    in which the site's include names the new text, together with every other file of the tree. A configuration that
    Nginx refuses is therefore never on disk under a name that Nginx reads, whenever the module is interrupted.
  - When a running Nginx accepts the test but cannot take the configuration over (for example, because another program
    holds the port), the previous file and links are put back and the module fails.
  - A server name that another file already has on the same address is only a warning for Nginx, and one of the two
    sites is silently not served. Here it is an error.
  - With O(backlog), warns when Nginx holds fewer connections than requests may wait for the application.
  - A running Nginx is reloaded when something changed, or when its workers are older than the site file, so that the
    next run completes one that was interrupted before the reload. An Nginx that is not running is left alone.
options:
  path:
    description:
      - Absolute path of the site file. It becomes V(root:root) with mode V(0644).
      - Its directory must exist. A symbolic link or a directory in its place is refused.
    type: path
    required: true
  content:
    description:
      - The whole text of the site file. A missing newline at its end is added.
      - A line that ends in C(# nginx >= 1.25.1) or C(# nginx < 1.25.1) is written, without this comment, only where
        the host's Nginx is such a version. Without an Nginx, check mode shows all of them as they are.
    type: str
    required: true
  link:
    description:
      - Absolute path of the symbolic link that enables the site. It is relative, and replaced when it points elsewhere.
      - Leave it out when the directory of O(path) is itself included by Nginx (for example, V(/etc/nginx/conf.d)).
    type: path
  remove_links:
    description:
      - Symbolic links to remove in the same step, for example Debian's default site.
      - Only links are removed. A file or directory of that name is refused, and a name that does not exist is fine.
    type: list
    elements: path
    default: []
  nginx:
    description:
      - The Nginx program, as a name to look up or an absolute path.
    type: str
    default: nginx
  config:
    description:
      - Nginx's main configuration file. It is only read.
    type: path
    default: /etc/nginx/nginx.conf
  reload:
    description:
      - Whether a running Nginx loads the new configuration.
    type: bool
    default: true
  required:
    description:
      - Whether it is an error when the Nginx program is not found.
      - With V(false), nothing is done on a host without Nginx, and RV(installed) says so.
      - Check mode reports on such a host what would be written.
    type: bool
    default: true
  backlog:
    description:
      - How many requests may wait for the application at the same time. Each of them takes two of Nginx's connections,
        so a main file that allows fewer, such as Debian's, answers the rest with an error. The module then warns and
        says what to set; it does not change the main file.
      - V(0) says nothing about it.
    type: int
    default: 0
attributes:
  check_mode:
    description: Reports what would change. Nothing is validated, because testing makes Nginx create its log files.
    support: full
  diff_mode:
    description: Shows the site file and the links, before and after.
    support: full
  platform:
    description: Needs C(/proc).
    platforms: linux
    support: full
notes:
  - Files whose names begin with C(.flaskops-), in the directories of O(config), O(path) and O(link), are the module's
    own. What a killed run left of them is never read by Nginx and is removed by a later run.
"""

EXAMPLES = r"""
- name: Serve the application
  flaskops.production.nginx_site:
    path: /etc/nginx/sites-available/myapp.conf
    link: /etc/nginx/sites-enabled/myapp.conf
    content: "{{ lookup('ansible.builtin.template', 'myapp.conf.j2') }}"

- name: Serve the application instead of Debian's default site
  flaskops.production.nginx_site:
    path: /etc/nginx/sites-available/myapp.conf
    link: /etc/nginx/sites-enabled/myapp.conf
    remove_links:
      - /etc/nginx/sites-enabled/default
    content: |
      server {
          listen 80 default_server;
          server_name _;
          location / {
              proxy_pass http://unix:/srv/myapp/run/gunicorn.sock;
          }
      }

- name: Write the site for an Nginx that is reloaded later
  flaskops.production.nginx_site:
    path: /etc/nginx/conf.d/myapp.conf
    content: "{{ lookup('ansible.builtin.template', 'myapp.conf.j2') }}"
    reload: false
"""

RETURN = r"""
path:
  description: The site file.
  returned: always
  type: str
  sample: /etc/nginx/sites-available/myapp.conf
installed:
  description: Whether the Nginx program was found.
  returned: success
  type: bool
  sample: true
running:
  description: Whether Nginx is running.
  returned: success
  type: bool
  sample: true
enabled:
  description: Whether systemd starts the unit C(nginx.service) at boot.
  returned: success
  type: bool
  sample: true
validated:
  description: Whether Nginx tested the configuration in this run. It does when something changes or a reload is due.
  returned: always
  type: bool
  sample: true
reloaded:
  description: Whether Nginx was reloaded, or would be in check mode.
  returned: always
  type: bool
  sample: true
nginx_output:
  description: What Nginx said, with real names in place of temporary ones. Empty when it was not asked.
  returned: always
  type: str
  sample: "nginx: configuration file /etc/nginx/nginx.conf test is successful"
"""

import contextlib
import glob
import os
import re
import resource
import signal
import stat
import tempfile
import time
from typing import Callable, Iterator, NamedTuple, NoReturn

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.flaskops.production.plugins.module_utils._nginx import conflicts, matches

MODE = 0o644
PREFIX = ".flaskops-"  # hidden: no include pattern with a leading * reads these files
LEFTOVER_AGE = 3600  # seconds; younger temporary files may belong to a run in progress
RELOAD_TIMEOUT = 15.0  # seconds; Nginx itself tries for 2.5 s to bind a port that is taken
TICK = 1.0 / os.sysconf("SC_CLK_TCK")

# A statement begins after white space or one of ;{}, so a longer word that ends alike is none.
_BEGIN = r"(?<![^\s;{}])"
_QUOTED = r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"
_VERSION_LINE = re.compile(r"(?P<line>.*\S)\s*# nginx (?P<relation>>=|<) (?P<version>[0-9]+([.][0-9]+)*)")
_DUPLICATE = re.compile(r"a duplicate default server for \S+:(?P<port>[0-9]+) ")
_PLACE = re.compile(r" in (?P<file>/\S+):(?P<line>\d+)$", re.M)


class Fault(Exception):
    """A reason to fail, in words for the user."""


class State(NamedTuple):
    """What is on disk, or should be: the file (None: absent) and the target of each link (None: absent)."""

    content: bytes | None
    mode: int
    owner: tuple[int, int]
    links: dict[str, str | None]


class Verdict(NamedTuple):
    accepted: bool
    output: str


# --- what Nginx's files say ------------------------------------------------------------------------------------------


def statement_pattern(name: str) -> re.Pattern[str]:
    """Finds strings, comments and the statements of this name; only the latter have the group args."""
    text = rf"(?P<args>(?:{_QUOTED}|[^;{{}}\"'])+?)"
    return re.compile(rf"{_BEGIN}(?:{_QUOTED}|#[^\n]*|{name}\s+{text}\s*;)", re.S)


def arguments(text: str) -> list[str]:
    """The words of a statement, without their quotes."""
    return [word[1:-1] if word[0] in "\"'" else word for word in re.findall(_QUOTED + r"|[^\s\"']+", text)]


def statements(text: str, name: str) -> Iterator[list[str]]:
    """The arguments of every statement of this name, leaving out comments and strings."""
    for match in statement_pattern(name).finditer(text):
        if match["args"] is not None:
            yield arguments(match["args"])


def version_number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def lines_for(text: str, version: tuple[int, ...]) -> str:
    """The text without the lines that are meant for other versions of Nginx."""
    kept = []
    for line in text.split("\n"):
        match = _VERSION_LINE.fullmatch(line)
        if match is None:
            kept.append(line)
        elif (version >= version_number(match["version"])) == (match["relation"] == ">="):
            kept.append(match["line"])
    return "\n".join(kept)


class View:
    """Nginx's tree as it would be with the candidate in the site's place.

    Nginx resolves a relative include against the directory of its main file, so copies of changed files, which lie in
    that directory, mean the same as their originals. Line numbers stay what they were.
    """

    def __init__(
        self, config: str, site: str, active: str, removed: list[str], copy: Callable[[str], str], candidate: str | None
    ):
        self.config = config
        self.site = os.path.realpath(site)
        self.active = active
        self.removed = removed
        self.copy = copy
        self.candidate = candidate
        self.reached = False  # whether Nginx reads the site at all
        self.others: dict[str, str] = {}  # every other file of the tree, and its text
        self.names: dict[str, str] = {}  # temporary name: the name it stands for
        if candidate is not None:
            self.names[candidate] = site
        self.main = self._copy_of(config, self._redirect(self._read(config), 0))

    def _read(self, name: str) -> str:
        with open(name, encoding="utf-8", errors="surrogateescape") as handle:
            text = handle.read()
        self.others[name] = text
        return text

    def _copy_of(self, name: str, text: str) -> str:
        temporary = self.copy(text)
        self.names[temporary] = name
        return temporary

    def _redirect(self, text: str, depth: int) -> str:
        def replace(match: re.Match[str]) -> str:
            if match["args"] is None:
                return match[0]
            pattern = os.path.join(os.path.dirname(self.config), " ".join(arguments(match["args"])))
            before = sorted(glob.glob(pattern))
            found = before
            if matches(pattern, self.active):
                found = sorted(set(before) | {self.active})
            after = [name for name in (self._stand_in(name, depth) for name in found) if name is not None]
            if after == before:
                return match[0]
            return " ".join(f'include "{name}";' for name in after) + "\n" * match[0].count("\n")

        return statement_pattern("include").sub(replace, text)

    def _stand_in(self, name: str, depth: int) -> str | None:
        if name == self.active or os.path.realpath(name) == self.site:
            self.reached = True
            return self.candidate
        if name in self.removed:
            return None
        if depth >= 10:  # Nginx has no limit of its own; a file that includes itself is its error to report
            return name
        try:
            text = self._read(name)
        except OSError:  # Nginx says it better
            return name
        changed = self._redirect(text, depth + 1)
        return name if changed == text else self._copy_of(name, changed)

    def real_names(self, output: str) -> str:
        for temporary, name in self.names.items():
            output = output.replace(temporary, name)
        return output.strip()


def files_with_server_name(name: str, files: dict[str, str]) -> list[str]:
    wanted = name.lower()
    return [
        path
        for path, text in files.items()
        if any(wanted in (word.lower() for word in words) for words in statements(text, "server_name"))
    ]


def files_with_default_server(port: str, files: dict[str, str]) -> list[str]:
    def is_default(words: list[str]) -> bool:
        address, options = words[0], words[1:]
        return "default_server" in options and (re.search(r"[0-9]+$", address) or ["80"])[0] == port

    return [path for path, text in files.items() if any(is_default(words) for words in statements(text, "listen"))]


def refusal(path: str, content: str, output: str, others: dict[str, str]) -> str:
    """What to tell the user when Nginx refuses the configuration: its words, and the line they are about."""
    said = [line for line in output.splitlines() if "[emerg]" in line or "[alert]" in line] or output.splitlines()
    message = (
        f"Nginx refuses the configuration with {path}, so nothing was changed: "
        f"the old configuration is still in place. Nginx says: {' '.join(said)}"
    )
    place = _PLACE.search("\n".join(said))  # not of a warning that came before
    if place and place["file"] != path:
        message += f" (That is {place['file']}, not this site's file.)"
    elif place:
        lines = content.splitlines()
        number = int(place["line"])
        if 0 < number <= len(lines):
            message += f" (Line {number} of the refused file: {lines[number - 1].strip()})"
    duplicate = _DUPLICATE.search(output)
    holders = files_with_default_server(duplicate["port"], others) if duplicate else []
    if holders:
        message += f" The default server is in {' and '.join(holders)} already, and only one site of a port can be it."
    return message


# --- the state on disk -----------------------------------------------------------------------------------------------


def read_state(path: str, links: list[str]) -> State:
    """Look at the file and the links; refuse what is not of the kind that this module writes or removes."""
    targets: dict[str, str | None] = {}
    for link in links:
        if os.path.islink(link):
            targets[link] = os.readlink(link)
        elif os.path.lexists(link):
            raise Fault(f"{link} is not a symbolic link. Move it away, or name another link.")
        else:
            targets[link] = None
    try:
        info = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return State(None, MODE, site_owner(), targets)
    if not stat.S_ISREG(info.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(info.st_mode) else "not a regular file"
        raise Fault(f"{path} is {kind}. Move it away, or name another path.")
    with open(path, "rb") as handle:
        content = handle.read()
    return State(content, stat.S_IMODE(info.st_mode), (info.st_uid, info.st_gid), targets)


def site_owner() -> tuple[int, int]:
    """root, or whoever runs the module: without root the owner can't be chosen."""
    return (0, 0) if os.geteuid() == 0 else (os.geteuid(), os.getegid())


def wanted_state(before: State, path: str, content: bytes, link: str | None, remove_links: list[str]) -> State:
    links: dict[str, str | None] = dict.fromkeys(remove_links)
    if link:
        directory = os.path.dirname(link)
        target = before.links[link]
        same = target is not None and os.path.normpath(os.path.join(directory, target)) == path
        links[link] = target if same else os.path.relpath(path, directory)
    return State(content, MODE, site_owner(), links)


def differences(path: str, before: State, after: State) -> list[dict[str, str]]:
    """The module's diff; empty when before and after are the same."""

    def attributes(state: State) -> str:
        return f"mode: {state.mode:04o}, owner: {state.owner[0]}:{state.owner[1]}\n"

    def links(state: State) -> str:
        return "".join(f"{link} -> {state.links[link] or '(absent)'}\n" for link in sorted(state.links))

    shown = []
    if before.content != after.content:
        old, new = before.content or b"", after.content or b""
        shown.append({"before_header": path, "after_header": path, "before": decoded(old), "after": decoded(new)})
    elif before[:3] != after[:3]:
        header = f"{path} (attributes)"
        shown.append(
            {"before_header": header, "after_header": header, "before": attributes(before), "after": attributes(after)}
        )
    if before.links != after.links:
        header = f"links of {path}"
        shown.append({"before_header": header, "after_header": header, "before": links(before), "after": links(after)})
    return shown


def decoded(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def write_temporary(directory: str, content: bytes, mode: int, owner: tuple[int, int]) -> str:
    handle, name = tempfile.mkstemp(prefix=PREFIX, suffix=".conf", dir=directory)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            os.fchmod(stream.fileno(), mode)
            if os.geteuid() == 0:
                os.fchown(stream.fileno(), *owner)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        os.unlink(name)
        raise
    return name


def put(path: str, now: State, wanted: State, prepared: str | None = None) -> None:
    """Bring the disk from one state to the other.

    Links go first and come last, so that Nginx never finds two default sites, wherever this is interrupted.
    """
    for link, target in wanted.links.items():
        if target is None and now.links[link] is not None:
            os.unlink(link)
    directory = os.path.dirname(path)
    if wanted.content is None:
        if now.content is not None:
            os.unlink(path)
    elif now[:3] != wanted[:3]:
        os.replace(prepared or write_temporary(directory, wanted.content, wanted.mode, wanted.owner), path)
    flush_directory(directory)
    for link, target in wanted.links.items():
        if target is not None and now.links[link] != target:
            place_link(target, link)
    for parent in sorted({os.path.dirname(link) for link in wanted.links if now.links[link] != wanted.links[link]}):
        flush_directory(parent)


def place_link(target: str, link: str) -> None:
    temporary = os.path.join(os.path.dirname(link), f"{PREFIX}{os.path.basename(link)}-{os.getpid()}")
    remove(temporary)
    os.symlink(target, temporary)
    try:
        os.replace(temporary, link)
    except BaseException:
        os.unlink(temporary)
        raise


def flush_directory(directory: str) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name)


def sweep(directories: list[str]) -> None:
    """Remove what killed runs left behind."""
    for directory in sorted(set(directories)):
        for name in glob.glob(os.path.join(glob.escape(directory), PREFIX + "*")):
            try:
                if not os.path.isdir(name) and time.time() - os.lstat(name).st_mtime > LEFTOVER_AGE:
                    os.unlink(name)
            except OSError:
                pass


# --- the running Nginx -----------------------------------------------------------------------------------------------


class Process(NamedTuple):
    pid: int
    parent: int
    started: float  # seconds since boot, rounded down to a clock tick


def process(pid: int) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as handle:
            fields = handle.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return Process(pid, int(fields[1]), int(fields[19]) * TICK)


def title(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as handle:
            return handle.read().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def running_master(pid_file: str) -> Process | None:
    """By the pid file: a host that runs containers has other Nginx masters among its processes."""
    try:
        with open(pid_file, encoding="ascii") as handle:
            pid = int(handle.read().strip() or "0")
    except (OSError, ValueError):
        return None
    return process(pid) if pid and title(pid).startswith("nginx: master") else None


def workers(master: Process) -> list[Process]:
    """The workers that accept requests, so none that is shutting down after a reload."""
    every = (process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    children = [found for found in every if found and found.parent == master.pid]
    titles = {found: title(found.pid) for found in children}
    return [found for found in children if titles[found].rstrip() == "nginx: worker process"]


def is_older(started: list[float], changed: float) -> bool:
    """Whether all of these processes began before this time; both in seconds since boot."""
    return max(started) + TICK <= changed


def changed_at(names: list[str]) -> float:
    """When the newest of these names changed, in seconds since boot."""
    offset = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return max(os.lstat(name).st_ctime for name in names) - offset


def main_setting(text: str, name: str) -> str | None:
    return next((words[0] for words in statements(text, name) if words), None)


def whole_number(text: str | None, otherwise: int) -> int:
    return int(text) if text and text.isdigit() else otherwise


def shortage(text: str, backlog: int, processes: int, files: int | None) -> str | None:
    """What to say when this main file allows fewer connections than waiting requests take: the client's, and its own.

    `files` is the number of files that a worker may open, which limits its connections, too; None when unknown.
    """
    connections = whole_number(main_setting(text, "worker_connections"), 512)
    limits = [connections] if files is None else [connections, files]
    needed = 2 * backlog
    if min(limits) * processes >= needed:
        return None
    held = f"worker_connections {connections}" + (f" and {files} open files" if min(limits) < connections else "")
    return (
        f"{backlog} requests may wait for the application, which takes {needed} connections of Nginx, but its "
        f"{processes} worker(s) with {held} hold {min(limits) * processes}: the requests beyond would fail. "
        f"Set worker_connections to {needed} and worker_rlimit_nofile to {2 * needed}"
    )


# --- acting ----------------------------------------------------------------------------------------------------------


class Site:
    def __init__(self, module: AnsibleModule):
        self.module = module
        params = module.params
        self.path: str = params["path"]
        self.link: str | None = params["link"]
        self.config: str = params["config"]
        for name in [self.path, self.config] + params["remove_links"] + ([self.link] if self.link else []):
            if name != os.path.normpath(name) or not name.startswith("/"):
                raise Fault(f"{name} must be an absolute path without . and .. and without a slash at its end.")
        if self.link in params["remove_links"]:
            raise Fault(f"{self.link} is both link and one of remove_links.")
        self.nginx: str | None = module.get_bin_path(params["nginx"], required=False)
        text: str = params["content"]
        self.text = self.for_this_nginx(text if text.endswith("\n") else text + "\n")
        self.before = read_state(self.path, params["remove_links"] + ([self.link] if self.link else []))
        self.after = wanted_state(self.before, self.path, self.text.encode("utf-8"), self.link, params["remove_links"])
        self.temporary: list[str] = []

    def for_this_nginx(self, text: str) -> str:
        if self.nginx is None or not any(map(_VERSION_LINE.fullmatch, text.split("\n"))):
            return text
        said = "".join(self.module.run_command([self.nginx, "-v"])[1:])
        found = re.search(r"/([0-9]+([.][0-9]+)*)", said)
        if found is None:
            raise Fault(f"{self.nginx} -v does not say its version, which {self.path} depends on: {said.strip()}")
        return lines_for(text, version_number(found[1]))

    # Testing

    def copy(self, text: str) -> str:
        content = text.encode("utf-8", "surrogateescape")
        name = write_temporary(os.path.dirname(self.config), content, 0o600, site_owner())
        self.temporary.append(name)
        return name

    def view(self, candidate: str | None) -> View:
        removed = [name for name, target in self.after.links.items() if target is None]
        return View(self.config, self.path, self.link or self.path, removed, self.copy, candidate)

    def ask(self, view: View) -> Verdict:
        # The test creates log files that are missing: they hold client addresses, so not for everyone.
        code, out, err = self.module.run_command([self.nginx, "-t", "-c", view.main], umask=0o027)
        return Verdict(code == 0, view.real_names(out + err))

    def validate(self, candidate: str) -> str:
        view = self.view(candidate)
        if not view.reached:
            raise Fault(
                f"{self.config} has no include that reads {self.link or self.path}, so the site would never be served. "
                "Nothing was changed. Add the include, or name a path that is included."
            )
        verdict = self.ask(view)
        self.output = verdict.output
        if not verdict.accepted:
            raise Fault(refusal(self.path, self.text, verdict.output, view.others))
        if conflicts(verdict.output):
            without = self.view(None)
            known = conflicts(self.ask(without).output)
            ours = [pair for pair in conflicts(verdict.output) if pair not in known]
            if ours:
                raise Fault(self.conflict(ours, without.others))
        for line in verdict.output.splitlines():
            if "[warn]" in line and f" in {self.path}:" in line:
                self.module.warn(f"Nginx says: {line}")
        return verdict.output

    def conflict(self, ours: list[tuple[str, str]], others: dict[str, str]) -> str:
        name = ours[0][0]
        addresses = " and ".join(address for other, address in ours if other == name)
        holders = " and ".join(files_with_server_name(name, others) or [self.path])
        return (
            f'The server name "{name}" on {addresses} is also in {holders}: Nginx would serve only one of the two and '
            "ignore the other. Nothing was changed: the old configuration is still in place. "
            "Choose another server name or port, or disable the other site."
        )

    # Reloading

    def main_text(self) -> str | None:
        try:
            with open(self.config, encoding="utf-8", errors="replace") as handle:
                return handle.read()
        except OSError:
            return None

    def master(self, main_text: str) -> Process | None:
        pid_file = main_setting(main_text, "pid")
        if pid_file is None or not pid_file.startswith("/"):
            out = "".join(self.module.run_command([self.nginx, "-V"])[1:])
            built_in = re.search(r"--pid-path=(\S+)", out)
            pid_file = built_in[1] if built_in else "/run/nginx.pid"
        self.error_log = main_setting(main_text, "error_log") or "/var/log/nginx/error.log"
        return running_master(pid_file)

    def warn_of_shortage(self, main_text: str, master: Process | None) -> None:
        running = workers(master) if master else []
        configured = whole_number(main_setting(main_text, "worker_processes"), 0) or os.cpu_count() or 1
        files = whole_number(main_setting(main_text, "worker_rlimit_nofile"), 0) or None
        with contextlib.suppress(OSError):  # a worker that has just ended
            if running:
                limit = resource.prlimit(running[0].pid, resource.RLIMIT_NOFILE)[0]
                files = None if limit == resource.RLIM_INFINITY else limit
        said = shortage(main_text, self.module.params["backlog"], len(running) or configured, files)
        if said:
            self.module.warn(f"{said} in {self.config}.")

    def is_stale(self, master: Process) -> bool:
        names = [name for name in (self.path, self.link) if name and os.path.lexists(name)]
        started = [worker.started for worker in workers(master)] or [master.started]
        return bool(names) and is_older(started, changed_at(names))

    def reload(self, master: Process) -> None:
        """Reload, and wait until only workers with the new configuration accept requests.

        The signal reports nothing by itself, and the old workers go on for a moment after the new ones have begun.
        """
        old = {worker.pid for worker in workers(master)}
        position = os.path.getsize(self.error_log) if os.path.isfile(self.error_log) else 0
        os.kill(master.pid, signal.SIGHUP)
        accepting = old
        deadline = time.monotonic() + RELOAD_TIMEOUT
        while time.monotonic() < deadline:
            accepting = {worker.pid for worker in workers(master)}
            if accepting and accepting.isdisjoint(old):
                return
            time.sleep(0.02)
        if not old.issuperset(accepting):
            return  # taken over; an old worker is stuck in what it was doing
        said = ""
        if os.path.isfile(self.error_log):
            with open(self.error_log, "rb") as handle:
                handle.seek(position)
                errors = [line for line in decoded(handle.read()).splitlines() if "[emerg]" in line]
            said = f" Nginx says: {errors[0]}" if errors else ""
        raise Fault(
            f"Nginx accepted the configuration with {self.path} in a test "
            f"but did not take it over within {RELOAD_TIMEOUT:.0f} s.{said} See {self.error_log}."
        )

    # The whole

    def enabled(self) -> bool:
        systemctl = self.module.get_bin_path("systemctl", required=False)
        return (
            bool(systemctl) and self.module.run_command([systemctl, "--quiet", "is-enabled", "nginx.service"])[0] == 0
        )

    def run(self) -> None:
        shown = differences(self.path, self.before, self.after)
        main_text = self.main_text() if self.nginx else None
        master = self.master(main_text) if main_text is not None else None
        if main_text is not None and self.module.params["backlog"]:
            self.warn_of_shortage(main_text, master)
        reload = master is not None and self.module.params["reload"] and (bool(shown) or self.is_stale(master))
        result = {
            "changed": bool(shown) or reload,
            "path": self.path,
            "installed": self.nginx is not None,
            "running": master is not None,
            "enabled": self.nginx is not None and self.enabled(),
            "validated": False,
            "reloaded": reload,
            "nginx_output": "",
        }
        if self.nginx is None and not self.module.params["required"] and not self.module.check_mode:
            self.module.exit_json(**{**result, "changed": False})
        if shown:
            result["diff"] = shown
        if result["changed"] and not self.module.check_mode:
            result["nginx_output"] = self.change(bool(shown), master if reload else None)
            result["validated"] = True
        self.module.exit_json(**result)

    def change(self, differs: bool, master: Process | None) -> str:
        if self.nginx is None:
            name = self.module.params["nginx"]
            raise Fault(f"{name} was not found on this host. Install Nginx, or name its program.")
        directories = [os.path.dirname(name) for name in (self.path, self.config, self.link) if name]
        for directory in directories:
            if not os.path.isdir(directory):
                raise Fault(f"The directory {directory} does not exist. Create it, or name another path.")
        sweep(directories)
        assert self.after.content is not None
        candidate = write_temporary(os.path.dirname(self.path), self.after.content, self.after.mode, self.after.owner)
        self.temporary.append(candidate)
        output = self.validate(candidate)
        if differs:
            put(self.path, self.before, self.after, candidate)
        if master:
            try:
                self.reload(master)
            except Fault as fault:
                if not differs:
                    raise
                put(self.path, self.after, self.before)
                raise Fault(f"{fault} The old configuration is back in place and still being served.") from fault
        return output

    output = ""

    def clean_up(self) -> None:
        for name in self.temporary:
            remove(name)


def fail(module: AnsibleModule, message: str, output: str) -> NoReturn:
    module.fail_json(msg=message, path=module.params["path"], validated=False, reloaded=False, nginx_output=output)
    raise AssertionError("unreachable")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "content": {"type": "str", "required": True},
            "link": {"type": "path"},
            "remove_links": {"type": "list", "elements": "path", "default": []},
            "nginx": {"type": "str", "default": "nginx"},
            "config": {"type": "path", "default": "/etc/nginx/nginx.conf"},
            "reload": {"type": "bool", "default": True},
            "required": {"type": "bool", "default": True},
            "backlog": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    site = None
    try:
        site = Site(module)
        try:
            site.run()
        finally:
            site.clean_up()
    except Fault as fault:
        fail(module, str(fault), site.output if site else "")
    except OSError as error:
        name = error.filename or module.params["path"]
        fail(module, f"{name}: {error.strerror}", site.output if site else "")


if __name__ == "__main__":
    main()
