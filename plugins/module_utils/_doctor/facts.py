# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of an application on a host, as the doctor reads it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._app.record import ReleaseRecord
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import Account, Node
from ansible_collections.flaskops.production.plugins.module_utils._files.paths import is_within
from ansible_collections.flaskops.production.plugins.module_utils._nginx import parser


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

    def are_releases_missing(self) -> bool:
        """Return whether the directory of the releases is missing."""
        return self.managed and not self.releases

    def _belongs_to_app(self, location: parser.Location) -> bool:
        proxy = location.proxy
        socket_path = proxy.replace("unix:", "", 1) if proxy.startswith("unix:") else ""
        return (bool(proxy) and proxy == self.listen) or any(
            is_within(path, self.root) for path in (location.directory, socket_path) if path
        )


def find_venv(facts: Facts) -> str:
    """Return the virtual environment of the unit's program; empty if the program belongs to the system."""
    match = re.fullmatch(r"(/.+)/bin/[^/]+", facts.program)
    found = os.path.realpath(match.group(1)) if match else ""
    return "" if found in ("", "/usr", "/usr/local") else found
