#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: adoption_switch
short_description: Replace an old deployment by an adopted release (internal to the roles)
version_added: "1.0.0"
author:
  - The flaskops.production contributors (@flaskops)
description:
  - Starts the adopted release beside the old deployment, on a socket of its own. Only when it has imported the
    application, passed O(health) and can write wherever the old service wrote is the old deployment changed.
  - Then Nginx sends new requests to that socket, where they wait. The old service finishes its requests and stops, the
    last changes of its data are copied, and C(<name>.service) starts from the layout. Then the requests are served.
  - If a step fails, the old files are restored, the old service starts, and Nginx uses it again.
  - The transaction is one call that continues when the connection is lost. O(only=recover) rolls back a killed one, or
    completes it if the new service was already serving.
  - Deletes nothing of the old deployment. Files in C(/etc) or in O(root) that block the layout are moved to
    C(<root>/.deploy/adopted), below their old paths.
attributes:
  check_mode:
    support: none
    description: The playbook skips this module in check_complete mode.
  diff_mode:
    support: none
    description: The plan shows the changes.
options:
  name:
    description: The application's name.
    type: str
    required: true
  root:
    description: The application's directory in the layout, such as C(/srv/myapp).
    type: path
    required: true
  release:
    description: The release to make live. It must be complete on the host.
    type: str
  adoption:
    description: RV(flaskops.production.adoption_plan#module:adoption) of the plan.
    type: dict
  units:
    description: The files of the role P(flaskops.production.gunicorn_systemd#role), as C(path) and C(content).
    type: list
    elements: dict
    default: []
  site:
    description: The server block, as C(path), C(link), C(content), and links to C(remove).
    type: dict
  only:
    description: Only recover from a run that was cut off during the activation.
    type: str
    choices: [recover]
extends_documentation_fragment:
  - flaskops.production.attributes
  - flaskops.production.attributes.of_this_run
  - flaskops.production.health
seealso:
  - module: flaskops.production.adoption_plan
  - module: flaskops.production.adoption_copy
  - module: flaskops.production.release_activate
"""

EXAMPLES = r"""
- name: Recover from an interrupted run
  flaskops.production.adoption_switch:
    name: shop
    root: /srv/shop
    only: recover
"""

RETURN = r"""
release:
  description: The release that is live format_now.
  returned: after an adoption
  type: str
  sample: adopted-2026-04-21-120000-1a2b3c4
waited:
  description: The seconds that requests had to wait.
  returned: after an adoption
  type: float
  sample: 2.4
leftover:
  description: Directories to be removed by hand, of which every file was copied or can be installed again.
  returned: after an adoption
  type: list
  elements: str
  sample: ["/home/ada/shop: the old code and data, of which each file was copied, and its virtual environment"]
kept:
  description: Files that exist nowhere else, in sentences.
  returned: after an adoption
  type: list
  elements: str
  sample: ["/home/ada/shop: nowhere else are /home/ada/shop/.git"]
recovered:
  description: The recovery from an interrupted run; empty when there was none.
  returned: with O(only=recover)
  type: str
  sample: shop.service serves again
"""

import json
import os
import re
import signal
import stat
import time

from ansible_collections.flaskops.production.plugins.module_utils._adoption.data import Data, Origin, Owner, Record
from ansible_collections.flaskops.production.plugins.module_utils._adoption.leftovers import Old, only_there, several_of
from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import Move
from ansible_collections.flaskops.production.plugins.module_utils._adoption.write_check import (
    PROGRAM,
    places,
    unit_text,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.health import (
    HEALTH,
    find_health_failure,
    send_health_request,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.lock import DeployLock, LockedError
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._app.venv_links import link_venv
from ansible_collections.flaskops.production.plugins.module_utils._core.clock import format_now
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError, format_error
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import is_within
from ansible_collections.flaskops.production.plugins.module_utils._doctor.finding import format_paths
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import (
    open_directory,
    replace_file,
    write_file,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.directory import (
    Directory,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.links import (
    SymlinkError,
    swap_file_link,
    sync_filesystem,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import (
    open_directory_safely,
)
from ansible_collections.flaskops.production.plugins.module_utils._nginx.process import NginxProcess, wait_for_exit
from ansible_collections.flaskops.production.plugins.module_utils._nginx.service import NginxService
from ansible_collections.flaskops.production.plugins.module_utils._nginx.site import SITE, Site
from ansible_collections.flaskops.production.plugins.module_utils._nginx.site_state import SiteError
from ansible_collections.flaskops.production.plugins.module_utils._releases.activation import Activation, check_complete
from ansible_collections.flaskops.production.plugins.module_utils._releases.failure import (
    ActivationError,
    RejectedError,
)
from ansible_collections.flaskops.production.plugins.module_utils._systemd.journal import read_journal
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import (
    read_unit_properties,
    run_systemctl,
)
from ansible_collections.flaskops.production.plugins.module_utils._systemd.process import pause_processes

FAULTS = (ActivationError, ReleaseError, SymlinkError, SiteError, OSError)
RUNTIME = "/run"
RUNTIME_UNITS = "/run/systemd/system"
# Seconds for which the old service may take to answer again.
PATIENCE = 60
# Seconds for which clients may go on sending what they began to send before Nginx led elsewhere: while all others wait,
# whom Nginx gives up after 60 s, and while nobody does.
SENDING = 20
SENDING_BESIDE = 60
# Of temporary names.
PREFIX = ".adopting-"
PROXIES = ("/usr/lib/systemd/systemd-socket-proxyd", "/lib/systemd/systemd-socket-proxyd")


class Kept:
    """Files that have to make way, below their old paths, with a note of what each of them was."""

    def __init__(self, record: Record) -> None:
        self.record = record
        os.makedirs(record.kept, mode=0o700, exist_ok=True)

    def place(self, path: str) -> str:
        return self.record.kept + path

    def files(self, group: str = "") -> dict[str, dict]:
        known = self.record.read().get("files", {})
        return {path: note for path, note in known.items() if group in ("", note["group"])}

    def keep(self, path: str, group: str) -> None:
        """Keep a copy of a file or link before it is replaced. The first copy counts."""
        if path in self.files():
            return
        place = self.place(path)
        os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
        self.note(path, {"was": copy_aside(path, place), "group": group})

    def move(self, path: str) -> None:
        """Move a directory or file out of the way, with all that is in it."""
        place = self.place(path)
        os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
        self.note(path, {"was": "moved", "group": "tree"})
        with open_directory_safely(os.path.dirname(path)) as directory:
            os.rename(os.path.basename(path), place, src_dir_fd=directory.fd)

    def note(self, path: str, note: dict) -> None:
        self.record.write(files={**self.files(), path: note})

    def put_back(self, group: str) -> bool:
        """Make everything of a group what it was; whether anything was not."""
        changed = False
        for path, note in self.files(group).items():
            if note["was"] == "file":
                found = os.stat(self.place(path))
                with open(self.place(path), "rb") as file:
                    put(path, file.read(), found.st_mode & 0o7777, found.st_uid, found.st_gid)
                changed = True
            elif note["was"] != "absent" or os.path.lexists(path):
                with open_directory_safely(os.path.dirname(path)) as directory:
                    changed = self._put_back(path, note["was"], directory) or changed
        return changed

    def _put_back(self, path: str, was: str, directory: Directory) -> bool:
        place, name = self.place(path), os.path.basename(path)
        there = directory.try_lstat(name)
        is_link = there is not None and stat.S_ISLNK(there.st_mode)
        if was == "moved":
            if not os.path.lexists(place):
                return False
            if is_link:
                os.unlink(name, dir_fd=directory.fd)
            os.rename(place, name, dst_dir_fd=directory.fd)
        elif was == "link":
            if is_link and directory.read_link(name) == os.readlink(place):
                return False
            directory.replace_link(name, os.readlink(place), PREFIX)
        elif there is not None:
            os.unlink(name, dir_fd=directory.fd)
        return True

    def forget(self) -> None:
        self.record.write(files={})


def copy_aside(path: str, place: str) -> str:
    """Keep a copy of a file or link in a directory of root; what it was."""
    try:
        directory = open_directory_safely(os.path.dirname(path))
    except FileNotFoundError:
        return "absent"
    with directory:
        name = os.path.basename(path)
        found = directory.try_lstat(name)
        if found is not None and stat.S_ISLNK(found.st_mode):
            swap_file_link(place, directory.read_link(name))
            return "link"
        if found is None or not stat.S_ISREG(found.st_mode):
            return "absent"
        with directory.open_stream(name) as stream:
            replace_file(place, stream.read(), stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)
        return "file"


def put(path: str, content: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
    """Write a file in place of whatever file or link is there, and make the directories above it that are missing."""
    with open_or_make(os.path.dirname(path)) as directory, open_directory(".", dir_fd=directory.fd) as fd:
        write_file(fd, os.path.basename(path), content, mode, uid, gid)


def open_or_make(path: str) -> Directory:
    try:
        return open_directory_safely(path)
    except FileNotFoundError:
        with open_or_make(os.path.dirname(path)) as above:
            return above.make_directory(os.path.basename(path), 0, 0, 0o755, PREFIX)


class Takeover(Activation):
    """The switch from an old deployment. Its candidate listens on a socket of its own, beside what serves."""

    def __init__(self, module: AnsibleModule, layout: Layout, release: str | None, plan: dict) -> None:
        self.name = module.params["name"]
        super().__init__(layout, self.name, release, module.params["health"])
        self.module, self.plan = module, plan
        self.socket_unit, self.candidate_socket = f"{self.name}.socket", f"{self.name}-adoption.socket"
        self.candidate = f"{self.name}-adoption.service"
        self.side = Layout(layout.root)
        self.side.socket = os.path.join(layout.root, "run", "adoption.sock")
        self.record = Record(layout)
        self.kept = Kept(self.record)
        self.old = [unit for unit in (plan["socket_unit"], plan["unit"]) if unit]
        self.stopped = 0.0

    # Before anything is done to what serves

    def prove(self, units: dict[str, str]) -> None:
        """Start the release on a socket of its own, and see that it is healthy."""
        self.kept.keep(self.layout.gunicorn_config, "tree")
        put(self.layout.gunicorn_config, units[self.layout.gunicorn_config].encode())
        for path, text in candidate_units(self.name, units, self.layout.socket, self.side.socket).items():
            put(path, text.encode())
        reload_units()
        code, said = run_systemctl("start", self.candidate_socket)
        if code:
            raise ReleaseError(f"{self.candidate_socket} did not start: {said}")
        link_venv(self.layout, str(self.release), ReleaseStore(self.layout).find_venv(str(self.release)) or "")
        self.collect_static(self.directory, replace=False)
        self.start_candidate()
        self.prove_writes(units, self.directory)
        seen = find_health_failure(self.side, self.health)
        if seen:
            raise RejectedError("candidate", seen, self.candidate, self.since)

    def prove_writes(self, units: dict[str, str], directory: str) -> None:
        """See that the application can write wherever the old one wrote, as its user and in the sandbox of its unit."""
        moves = [Move(**move) for move in self.plan["moves"]]
        found = places(self.layout, directory, moves, self.plan["shared"], self.plan["outside"])
        if not found:
            return
        unit, since = f"{self.name}-adoption-writes.service", time.time()
        program, given, said, installed = self.writing_paths()
        service = next(text for path, text in units.items() if path.endswith(f"/{self.name}-next.service"))
        python = os.path.join(self.layout.next, ".venv", "bin", "python")
        try:
            put(program, PROGRAM.encode())
            put(given, json.dumps(found).encode())
            put(said, b"")
            put(installed, unit_text(service, python, program, given, said).encode())
            reload_units()
            code, why = run_systemctl("start", unit)
            with open(said, encoding="utf-8", errors="replace") as file:
                faults = file.read().splitlines()
        finally:
            self.end_writing()
        if code or faults:
            seen = f"the application cannot write to {format_paths(faults)}" if faults else why
            raise ActivationError("writes", seen, unit, since)

    def writing_paths(self) -> list[str]:
        """The program that writes, what it is given, what it says, and its unit. A reboot forgets them."""
        files = [f"{RUNTIME}/{self.name}-adoption-writes.{kind}" for kind in ("py", "json", "txt")]
        return [*files, f"{RUNTIME_UNITS}/{self.name}-adoption-writes.service"]

    def end_writing(self) -> None:
        for path in self.writing_paths():
            if os.path.lexists(path):
                os.unlink(path)
        run_systemctl("reset-failed", f"{self.name}-adoption-writes.service")

    # The switch

    def run_takeover(self, site: dict, units: dict[str, str], data: Data, record) -> float:  # type: ignore[no-untyped-def]
        """Take over; for how many seconds visitors waited."""
        sync_filesystem(self.layout.root)
        self.prove(units)
        for path in units:
            self.kept.keep(path, "unit")
        self.record.write(state="switching", site=site, installed=False, enabled=self.enabled_units())
        # Whoever comes from format_now on waits in the queue of the candidate's socket.
        pause_processes(self.candidate)
        since = time.monotonic()
        replaced = self.lead_visitors(site, self.side.socket)
        # Nginx has read the site. A start of the host begins with the old deployment again.
        self.kept.put_back("nginx")
        wait_for_exit(replaced, SENDING)
        self.stop_old()
        self.stopped = time.time()
        data.copy(final=True)
        self.install(units)
        self.collect_static(self.directory, replace=True)
        self.switch(self.after)
        self.restart(self.directory)
        self.prove_writes(units, self.layout.app)
        record()
        self.enable()
        # From here on, visitors write to the new data, and there is no way back.
        self.record.write(state="switched")
        replaced = self.lead_visitors(site, self.layout.socket)
        self.serve_waiting()
        waited = round(time.monotonic() - since, 1)
        self.finish(replaced)
        return waited

    def lead_visitors(self, site: dict, socket: str) -> list[NginxProcess]:
        """Let Nginx lead to a socket in place of where it leads, if it accepts that; which workers it has replaced.

        Those still lead to the old place: Nginx asks the application when it has all that the client sends.
        """
        gone = [*self.plan["sites"], *site["remove"]]
        for path in [*gone, site["path"], site["link"]]:
            self.kept.keep(path, "nginx")
        for path in self.plan["sites"]:
            # Read through a link, a file is the same to Nginx, and the link can go as soon as the new site is accepted.
            if os.path.isfile(path) and not os.path.islink(path) and path != site["path"]:
                with open_directory_safely(os.path.dirname(path)) as directory:
                    directory.replace_link(os.path.basename(path), self.kept.place(path), PREFIX)
        content = site["content"].replace(f"unix:{self.layout.socket};", f"unix:{socket};")
        if socket != self.layout.socket:
            # The candidate is reached by another name, so that visitors wait for it where nothing is live yet.
            content = content.replace(f"(!-e {self.layout.app})", f"(!-e {self.layout.next})")
            # Until the last of them are copied, uploads are served from where they are.
            for move in self.plan["moves"]:
                if move["kind"] == "uploads":
                    new, old = os.path.join(self.layout.shared, move["target"]), move["source"]
                    content = re.sub(rf"{re.escape(new)}(?=[/;])", lambda _match, old=old: old, content)
        removed = [path for path in gone if path not in (site["path"], site["link"])]
        nginx = self.nginx(path=site["path"], link=site["link"], content=content, remove_links=removed)
        try:
            nginx.run(check_mode=False)
        finally:
            nginx.clean_up()
        return nginx.replaced

    def lead_back(self) -> list[NginxProcess]:
        """Let Nginx lead to where it led before; which workers it has replaced."""
        nginx = NginxService(self.module, "nginx", "/etc/nginx/nginx.conf")
        master = nginx.find_master(nginx.read_main_file() or "")
        problem = nginx.reload(master) if master else ""
        if problem:
            raise SiteError(f"Nginx {problem}")
        return nginx.replaced

    def nginx(self, **params: object) -> Site:
        return Site(self.module, {**{name: option.get("default") for name, option in SITE.items()}, **params})

    def stop_old(self) -> None:
        code, said = run_systemctl("stop", *self.old)
        if code or read_unit_properties(self.plan["unit"])["ActiveState"] not in ("inactive", "failed"):
            raise ReleaseError(f"{self.plan['unit']} could not be stopped: {said}")

    def install(self, units: dict[str, str]) -> None:
        """Put the units in place, and move out of the way what has the names of the layout."""
        layout = self.layout
        self.record.write(installed=True)
        for link in (layout.app, layout.venv):
            if os.path.lexists(link) and not os.path.islink(link):
                self.kept.move(link)
            else:
                # Where there was none, there has to be none again: the next plan would take it for the old deployment.
                self.kept.keep(link, "tree")
        for path in self.displaced():
            self.kept.move(path)
        for path, text in units.items():
            put(path, text.encode())
        reload_units()
        for unit in (self.socket_unit, self.unit):
            run_systemctl("reset-failed", unit)
        code, said = run_systemctl("start", self.socket_unit)
        if code:
            raise ReleaseError(f"{self.socket_unit} did not start: {said}")

    def displaced(self) -> list[str]:
        """What of an old deployment in the same directory could still be written to, or read by others."""
        root, listen = self.layout.root, self.old_address()
        own = [path for path in self.plan["environment"] if os.path.dirname(path) == root]
        place = os.path.dirname(listen) if listen.startswith(root + "/") else root
        if place not in (root, os.path.join(root, "run")) and self.plan["code"] not in (place, os.path.dirname(place)):
            only_sockets = all(not os.path.isfile(os.path.join(place, name)) for name in os.listdir(place))
            own += [place] if only_sockets and not place.startswith(os.path.join(root, "releases")) else []
        # Settings that somebody added to the unit whose name the new one has.
        return [path for path in [*own, f"/etc/systemd/system/{self.unit}.d"] if os.path.lexists(path)]

    def serve_waiting(self) -> None:
        """Let the candidate serve those who wait: as a new process, which finds the data as it is format_now."""
        frozen = read_unit_properties(self.candidate)["MainPID"]
        run_systemctl("kill", "--signal=SIGKILL", self.candidate)
        until = time.monotonic() + PATIENCE
        while read_unit_properties(self.candidate)["MainPID"] == frozen != "0" and time.monotonic() < until:
            time.sleep(0.05)
        # Those who wait may have started it already.
        run_systemctl("start", self.candidate)

    def let_old_serve_waiting(self) -> None:
        """Lead those who wait for the candidate on to the old service, whose data they have to see."""
        if not os.path.exists(f"{RUNTIME_UNITS}/{self.candidate_socket}"):
            return
        # Before the candidate ends: whoever waits makes systemd start it.
        put(f"{RUNTIME_UNITS}/{self.candidate}", proxy_unit(self.candidate_socket, self.old_address()).encode())
        reload_units()
        self.serve_waiting()

    def old_address(self) -> str:
        return self.plan["listen"].replace("unix:", "", 1)

    # Afterwards

    def finish(self, replaced: list[NginxProcess]) -> None:
        """Complete a takeover: the same, however often it is done."""
        self.enable()
        wait_for_exit(replaced, SENDING_BESIDE)
        self.end_candidate()
        sync_filesystem(self.layout.shared)
        self.record.write(state="done", time=format_now(), variables=self.plan["variables"])

    def enable(self) -> None:
        """Let a start of the host begin with the new units, and with none of the old ones."""
        run_systemctl("enable", self.socket_unit, self.unit)
        for unit in self.old:
            if unit not in (self.socket_unit, self.unit):
                run_systemctl("disable", unit)

    def enabled_units(self) -> list[str]:
        """The old units that a start of the host begins with."""
        return [
            unit for unit in self.old if read_unit_properties(unit, "UnitFileState").get("UnitFileState") == "enabled"
        ]

    def end_candidate(self) -> None:
        self.stop_candidate()
        run_systemctl("stop", self.candidate_socket)
        self.end_writing()
        paths = [f"{RUNTIME_UNITS}/{unit}" for unit in (self.candidate, self.candidate_socket)]
        for path in [*paths, self.side.socket, self.candidate_env, self.layout.next]:
            if os.path.lexists(path):
                os.unlink(path)
        reload_units()

    def put_back(self) -> None:
        """Let the old deployment serve again, wherever the takeover was cut off."""
        if self.record.read().get("installed"):
            run_systemctl("stop", self.socket_unit, self.unit)
            for unit in {self.socket_unit, self.unit}.difference(self.old):
                run_systemctl("disable", unit)
        for group in ("unit", "tree"):
            self.kept.put_back(group)
        reload_units()
        for unit in self.record.read().get("enabled", []):
            run_systemctl("enable", unit)
        run_systemctl("start", *self.old)
        until = time.monotonic() + PATIENCE
        while (
            not isinstance(send_health_request(self.old_address(), "/", "localhost", 5), int)
            and time.monotonic() < until
        ):
            time.sleep(0.2)
        switching = self.record.read().get("state") == "switching"
        # In place it may be already, and Nginx has read another one.
        replaced = self.lead_back() if self.kept.put_back("nginx") or switching else []
        if switching:
            self.let_old_serve_waiting()
            wait_for_exit(replaced, SENDING_BESIDE)
        self.end_candidate()
        self.kept.forget()
        self.record.write(state="copying", installed=False)


def candidate_units(name: str, units: dict[str, str], socket: str, own_socket: str) -> dict[str, str]:
    """The units of the candidate: those of the next release, but with a socket of its own. A reboot forgets them."""
    directory = os.path.dirname(next(path for path in units if path.endswith(f"/{name}.socket")))
    own = f"{name}-adoption"
    service = units[f"{directory}/{name}-next.service"].replace(f"{name}.socket", f"{own}.socket")
    # Visitors are served by it for a moment, also where there is no room for two copies for long.
    service = service.replace("Type=oneshot", "Type=notify").replace(" --check_complete-config", "")
    return {
        f"{RUNTIME_UNITS}/{own}.socket": units[f"{directory}/{name}.socket"]
        .replace(f"ListenStream={socket}", f"ListenStream={own_socket}")
        .replace(f"Also={name}.service", ""),
        f"{RUNTIME_UNITS}/{own}.service": service,
    }


def proxy_unit(socket_unit: str, address: str) -> str:
    """A service that passes on what comes to a socket; each connection takes six files."""
    # Without the program, those who wait are told that it failed. Only since systemd 253 it says when it is ready.
    proxy = next((path for path in PROXIES if os.path.exists(path)), "/bin/false")
    return (
        "[Unit]\n"
        f"Requires={socket_unit}\n"
        "StartLimitIntervalSec=0\n"
        "[Service]\n"
        "Type=simple\n"
        f"ExecStart={proxy} --connections-max=10000 {address}\n"
        "LimitNOFILE=65536\n"
    )


def reload_units() -> None:
    if run_systemctl("daemon-reload")[0]:
        raise ReleaseError("systemctl daemon-reload failed: is systemd running on this host?")


def leftover(plan: dict, layout: Layout, name: str, release: str, stopped: float) -> tuple[list[str], list[str]]:
    """What is copied to the last file, so that it may be removed, and what exists nowhere else."""
    old = Old(
        code=plan["code"],
        release=layout.release(release),
        exclude=plan["exclude"],
        moves=[Move(**move) for move in plan["moves"]],
        shared=layout.shared,
        environment=[*plan["dotenv"], *plan["environment"]],
        root=layout.root,
        stopped=stopped,
    )
    removable, kept = [], []
    tops = [plan["code"]] if plan["from"] == layout.root else list(dict.fromkeys([plan["from"], plan["code"]]))
    for top in tops:
        if top == layout.app or top != tops[0] and is_within(top, tops[0]):
            continue
        left = only_there(top, old)
        if left:
            kept.append(f"{top}: nowhere else are {several_of(left)}")
        else:
            removable.append(
                f"{top}: the old code and data, of which each file was copied, and its virtual environment"
            )
    kept.append(f"{Record(layout).kept}: files that blocked the layout, below their old paths")
    if plan["unit"] != f"{name}.service":
        unit = read_unit_properties(plan["unit"], "FragmentPath")["FragmentPath"]
        kept.append(f"{unit}: the old unit, which is disabled")
    return removable, kept


def take_over(module: AnsibleModule, layout: Layout, lock: DeployLock) -> dict:
    params = module.params
    check_complete(layout, params["release"])
    plan = params["adoption"]
    record = Record(layout)
    known = record.write(plan=plan)
    moves, origin = [Move(**move) for move in plan["moves"]], Origin(plan["tops"], plan["user"])
    data = Data(layout, moves, Owner(*known["owner"]), origin, known.get("known", {}))
    site = params["site"]
    units = {item["path"]: item["content"] for item in params["units"] if item.get("content") is not None}
    takeover = Takeover(module, layout, params["release"], plan)
    try:
        waited = takeover.run_takeover(
            site,
            units,
            data,
            lambda: ReleaseStore(layout).record_activation(params["release"], "deploy", params["run"]),
        )
    except BaseException as error:
        if record.read().get("state") != "switched":
            logs = read_journal(layout, error.unit, error.since, lines=60) if isinstance(error, ActivationError) else ""
            takeover.put_back()
            if isinstance(error, RejectedError):
                ReleaseStore(layout).set_state(params["release"], "bad", reason=f"{error.phase}: {error.problem}")
            if isinstance(error, FAULTS):
                raise ReleaseError(told(error, plan, logs, layout)) from error
        raise
    removable, kept = leftover(plan, layout, params["name"], params["release"], takeover.stopped)
    return {"release": params["release"], "waited": waited, "leftover": removable, "kept": kept}


def told(error: Exception, plan: dict, logs: str, layout: Layout) -> str:
    failed = isinstance(error, ActivationError)
    logged = f" {error.unit} logged last:\n{logs}\n" if failed and logs else ""
    phase = f" ({error.phase})" if failed else ""
    return (
        f"The adoption failed{phase}: {format_error(error, layout.root).rstrip('.')}. {plan['unit']} serves as before, "
        f"and its code and data are as they were.{logged}"
    )


def recover(module: AnsibleModule, layout: Layout) -> str:
    """Clear up after a run that was cut off while it switched; what was done."""
    record = Record(layout)
    known = record.read()
    if known.get("state") not in ("switching", "switched"):
        return ""
    takeover = Takeover(module, layout, None, known["plan"])
    if known["state"] == "switching":
        takeover.put_back()
        return f"{known['plan']['unit']} serves again"
    replaced = takeover.lead_visitors(known["site"], layout.socket)
    takeover.serve_waiting()
    takeover.finish(replaced)
    return f"{takeover.unit} serves"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "release": {"type": "str"},
            "adoption": {"type": "dict"},
            "units": {"type": "list", "elements": "dict", "default": []},
            "site": {"type": "dict"},
            "health": HEALTH,
            "run": {"type": "dict"},
            "only": {"type": "str", "choices": ["recover"]},
        },
    )
    params = module.params
    missing = [name for name in ("release", "adoption", "site") if not params[name]]
    if missing and not params["only"]:
        module.fail_json(msg=f"{', '.join(missing)} must be given, unless only is 'recover'.")
    layout = Layout(params["root"])
    lock = DeployLock(layout, params["run"])
    # A connection that is cut must not stop a switch half way.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o022)
    try:
        if params["only"] == "recover" and not os.path.exists(Record(layout).path):
            module.exit_json(changed=False, recovered="")
        ReleaseStore(layout).create_directories()
        lock.acquire()
        try:
            if params["only"] == "recover":
                done = recover(module, layout)
                result = {"changed": bool(done), "recovered": done}
            else:
                result = {"changed": True, **take_over(module, layout, lock)}
        finally:
            lock.release()
    except LockedError as error:
        module.fail_json(msg=str(error), **error.result())
    except FAULTS as error:
        module.fail_json(msg=format_error(error, layout.root))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
