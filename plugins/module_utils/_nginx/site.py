# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare, test and install one site of Nginx on one host."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import stat
from typing import Callable, NamedTuple

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import (
    open_directory,
    remove_stale_names,
    sync_directory,
    write_temporary_file,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.foreign import find_file_conflict
from ansible_collections.flaskops.production.plugins.module_utils._files.links import swap_file_link
from ansible_collections.flaskops.production.plugins.module_utils._nginx.config import (
    TrialConfig,
    find_files_with_server_name,
    find_main_setting,
    format_test_error,
    has_version_comments,
    parse_int,
    parse_version,
    select_lines,
)
from ansible_collections.flaskops.production.plugins.module_utils._nginx.host import (
    DEFAULT_SITE,
    check_ipv6,
    check_ports,
    check_web_group,
)
from ansible_collections.flaskops.production.plugins.module_utils._nginx.parser import find_conflicts
from ansible_collections.flaskops.production.plugins.module_utils._nginx.process import (
    NginxProcess,
    are_older,
    check_connections,
    find_change_time,
    find_master,
    find_workers,
    reload,
)

MODE = 0o644
PREFIX = ".flaskops-"  # hidden: no include pattern with a leading * reads these files
LEFTOVER_AGE = 3600  # seconds; a test of Nginx waits for every name server that does not answer
TEST_TIMEOUT = 60  # seconds; a test waits for name servers that do not answer

# The options of a site, of every module that looks at one; documented in the module nginx_site.
SITE = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str", "required": True},
    "link": {"type": "path"},
    "remove_links": {"type": "list", "elements": "path", "default": []},
    "nginx": {"type": "str", "default": "nginx"},
    "config": {"type": "path", "default": "/etc/nginx/nginx.conf"},
    "reload": {"type": "bool", "default": True},
    "required": {"type": "bool", "default": True},
    "backlog": {"type": "int", "default": 0},
    "application": {"type": "str"},
    "group": {"type": "str"},
    "adopt": {"type": "bool", "default": False},
}


class Fault(Exception):
    """A reason to fail, in words for the user."""


class Refused(Fault):
    """A reason why this site can't be on this host, whatever is done about it here."""


class State(NamedTuple):
    """What is on disk, or should be: the file (None: absent) and the target of each link (None: absent)."""

    content: bytes | None
    mode: int
    owner: tuple[int, int]
    links: dict[str, str | None]


class Verdict(NamedTuple):
    accepted: bool
    output: str


# The state on disk


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


def write_beside(directory: str, content: bytes, mode: int, owner: tuple[int, int]) -> str:
    """A file that no include pattern reads, to be tested and then moved to its place."""
    uid, gid = owner if os.geteuid() == 0 else (-1, -1)
    with open_directory(directory) as fd:
        return os.path.join(directory, write_temporary_file(fd, content, mode, uid, gid, PREFIX))


def put(path: str, now: State, wanted: State, prepared: str | None = None) -> None:
    """Bring the disk from one state to the other.

    Links go first and come last, so that Nginx never finds two default sites, wherever this is interrupted.
    """
    changed = [link for link, target in wanted.links.items() if now.links[link] != target]
    for link in changed:
        if wanted.links[link] is None:
            os.unlink(link)
    directory = os.path.dirname(path)
    if wanted.content is None:
        if now.content is not None:
            os.unlink(path)
    elif now[:3] != wanted[:3]:
        os.replace(prepared or write_beside(directory, wanted.content, wanted.mode, wanted.owner), path)
    flush(directory)
    for link in changed:
        target = wanted.links[link]
        if target is not None:
            swap_file_link(link, target)
    for parent in sorted({os.path.dirname(link) for link in changed}):
        flush(parent)


def flush(directory: str) -> None:
    with open_directory(directory) as fd:
        sync_directory(fd)


# Acting


class Site:
    def __init__(self, module: AnsibleModule, params: dict):
        self.module = module
        self.params = params
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
        # The workers that a reload has replaced. They end when they have answered what they had begun to read.
        self.replaced: list[NginxProcess] = []

    def for_this_nginx(self, text: str) -> str:
        if self.nginx is None or not has_version_comments(text):
            return text
        said = "".join(self.module.run_command([self.nginx, "-v"])[1:])
        found = re.search(r"/([0-9]+([.][0-9]+)*)", said)
        if found is None:
            raise Fault(f"{self.nginx} -v does not say its version, which {self.path} depends on: {said.strip()}")
        return select_lines(text, parse_version(found[1]))

    # Testing

    def copy(self, text: str) -> str:
        content = text.encode("utf-8", "surrogateescape")
        name = write_beside(os.path.dirname(self.config), content, 0o600, site_owner())
        self.temporary.append(name)
        return name

    def view(self, candidate: str | None) -> TrialConfig:
        removed = [name for name, target in self.after.links.items() if target is None]
        return TrialConfig(self.config, self.path, self.link or self.path, removed, self.copy, candidate)

    def ask(self, view: TrialConfig) -> Verdict:
        accepted, output = self.test(view.main)
        return Verdict(accepted, view.restore_names(output))

    def test(self, main: str) -> Verdict:
        # The test creates log files that are missing: they hold client addresses, so not for everyone.
        command = ["timeout", f"{TEST_TIMEOUT}", self.nginx, "-t", "-c", main]
        code, out, err = self.module.run_command(command, umask=0o027)
        if code == 124:
            err += f"nginx: [emerg] the test did not end within {TEST_TIMEOUT} s"
        return Verdict(code == 0, out + err)

    def check_as_it_is(self) -> None:
        """Refuse a host whose Nginx would not start again, although this site is as described."""
        verdict = self.test(self.config)
        if not verdict.accepted:
            self.output = verdict.output
            said = [line for line in verdict.output.splitlines() if "[emerg]" in line] or [verdict.output.strip()]
            raise Fault(
                f"Nginx refuses its configuration and would not start again: {said[0]}. {self.path} is as described: "
                "fix the file that Nginx names, check it with nginx -t, and run again."
            )

    def validate(self, candidate: str) -> None:
        view = self.view(candidate)
        if not view.includes_site:
            raise Fault(
                f"{self.config} has no include that reads {self.link or self.path}, so the site would never be served. "
                "Nothing was changed. Add the include, or name a path that is included."
            )
        verdict = self.ask(view)
        self.output = verdict.output
        if not verdict.accepted:
            raise Fault(format_test_error(self.path, self.text, verdict.output, view.other_files))
        if find_conflicts(verdict.output):
            without = self.view(None)
            known = find_conflicts(self.ask(without).output)
            ours = [pair for pair in find_conflicts(verdict.output) if pair not in known]
            if ours:
                raise Fault(self.conflict(ours, without.other_files))
        for line in verdict.output.splitlines():
            if "[warn]" in line and f" in {self.path}:" in line:
                self.module.warn(f"Nginx says: {line}")

    def conflict(self, ours: list[tuple[str, str]], others: dict[str, str]) -> str:
        name = ours[0][0]
        addresses = " and ".join(address for other, address in ours if other == name)
        holders = " and ".join(find_files_with_server_name(name, others) or [self.path])
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

    def master(self, main_text: str) -> NginxProcess | None:
        pid_file = find_main_setting(main_text, "pid")
        if pid_file is None or not pid_file.startswith("/"):
            out = "".join(self.module.run_command([self.nginx, "-V"])[1:])
            built_in = re.search(r"--pid-path=(\S+)", out)
            pid_file = built_in[1] if built_in else "/run/nginx.pid"
        self.pid_file = pid_file
        self.error_log = find_main_setting(main_text, "error_log") or "/var/log/nginx/error.log"
        return find_master(pid_file)

    def warn_of_shortage(self, main_text: str, master: NginxProcess | None) -> None:
        running = find_workers(master) if master else []
        configured = parse_int(find_main_setting(main_text, "worker_processes"), 0) or os.cpu_count() or 1
        files = parse_int(find_main_setting(main_text, "worker_rlimit_nofile"), 0) or None
        with contextlib.suppress(OSError):  # a worker that has just ended
            if running:
                limit = resource.prlimit(running[0].pid, resource.RLIMIT_NOFILE)[0]
                files = None if limit == resource.RLIM_INFINITY else limit
        said = check_connections(main_text, self.params["backlog"], len(running) or configured, files)
        if said:
            self.module.warn(f"{said} in {self.config}.")

    def is_stale(self, master: NginxProcess) -> bool:
        names = [name for name in (self.path, self.link) if name and os.path.lexists(name)]
        started = [worker.started for worker in find_workers(master)] or [master.started]
        return bool(names) and are_older(started, find_change_time(names))

    def reload(self, master: NginxProcess) -> None:
        self.replaced = find_workers(master)
        said = reload(master, self.error_log)
        if said:
            raise Fault(f"Nginx accepted the configuration with {self.path} in a test but {said}")

    # The whole

    def enabled(self) -> bool:
        systemctl = self.module.get_bin_path("systemctl", required=False)
        asked = ["timeout", "30", systemctl, "--quiet", "is-enabled", "nginx.service"]
        return bool(systemctl) and self.module.run_command(asked)[0] == 0

    def look(self) -> dict:
        """What is to be done here, and what Nginx is like, by the names of the module's results."""
        self.shown = differences(self.path, self.before, self.after)
        main_text = self.main_text() if self.nginx else None
        self.running = self.master(main_text) if main_text is not None else None
        if self.params["application"]:
            self.check_host(main_text)
        if main_text is not None and self.params["backlog"]:
            self.warn_of_shortage(main_text, self.running)
        reload = (
            self.running is not None and self.params["reload"] and (bool(self.shown) or self.is_stale(self.running))
        )
        if self.running is not None and not self.shown and not reload:
            self.check_as_it_is()
        return {
            "changed": bool(self.shown) or reload,
            "path": self.path,
            "installed": self.nginx is not None,
            "running": self.running is not None,
            "enabled": self.nginx is not None and self.enabled(),
            "validated": False,
            "reloaded": reload,
            "nginx_output": "",
        }

    def check_host(self, main_text: str | None) -> None:
        """Refuse a host that has this site already, of somebody else, and one on which Nginx could not serve it."""
        reasons = [find_file_conflict(self.path, self.params["application"], self.params["adopt"]), self.foreign_link()]
        if main_text is not None and self.params["group"]:
            reasons.append(check_web_group(main_text, self.config, self.params["group"], self.built_in_user()))
        if self.running is None and self.params["reload"]:
            # A package that is not installed yet brings the default site.
            default = DEFAULT_SITE not in self.params["remove_links"]
            default = default and (self.nginx is None or os.path.lexists(DEFAULT_SITE))
            reasons += [check_ipv6(self.text, default), check_ports(self.text, default)]
        reasons = [reason for reason in reasons if reason]
        if reasons:
            raise Refused(" ".join(reasons))

    def foreign_link(self) -> str:
        target = self.before.links.get(self.link) if self.link else None
        if target is None or target == self.after.links[self.link] or self.params["adopt"]:
            return ""
        return (
            f"{self.link} exists and leads to {target}, which is not the site of {self.params['application']}: choose "
            "another flask_app_name, or remove the link."
        )

    def built_in_user(self) -> str:
        said = "".join(self.module.run_command([self.nginx, "-V"])[1:])
        found = re.search(r"--user=(\S+)", said)
        return found[1] if found else "nobody"

    def run(self, check_mode: bool, stage: Callable[[Site], bool] | None = None) -> dict:
        """Do it, unless this is check mode; the module's results.

        stage: puts a site beside that waits for an activation; whether it has.
        """
        result = self.look()
        if self.nginx is None and not self.params["required"] and not check_mode:
            return {**result, "changed": False}
        if self.shown:
            result["diff"] = self.shown
        if check_mode:
            return result
        if stage and self.running and stage(self):
            result["reloaded"] = False
        elif result["changed"]:
            self.change(bool(self.shown), self.running if result["reloaded"] else None)
        return {**result, "nginx_output": self.output, "validated": bool(self.output)}

    def prepare(self) -> str:
        """Write the site beside, and have Nginx test it there; the path of the file."""
        if self.nginx is None:
            raise Fault(f"{self.params['nginx']} was not found on this host. Install Nginx, or name its program.")
        directories = [os.path.dirname(name) for name in (self.path, self.config, self.link) if name]
        for directory in directories:
            if not os.path.isdir(directory):
                raise Fault(f"The directory {directory} does not exist. Create it, or name another path.")
        for directory in sorted(set(directories)):
            with open_directory(directory) as fd:
                remove_stale_names(fd, PREFIX, LEFTOVER_AGE)
        content = self.after.content or b""
        candidate = write_beside(os.path.dirname(self.path), content, self.after.mode, self.after.owner)
        self.temporary.append(candidate)
        self.validate(candidate)
        return candidate

    def change(self, differs: bool, master: NginxProcess | None) -> None:
        candidate = self.prepare()
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

    output = ""

    def clean_up(self) -> None:
        for name in self.temporary:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
