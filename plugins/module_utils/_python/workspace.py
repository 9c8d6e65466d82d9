# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directories of one build beside the venvs, and the files of the host that it may read."""

from __future__ import annotations

import contextlib
import netrc
import os
import re
from typing import Iterable, Mapping

from ansible_collections.flaskops.production.plugins.module_utils._files.ownership import remove_tree
from ansible_collections.flaskops.production.plugins.module_utils._python.rules import find_hosts
from ansible_collections.flaskops.production.plugins.module_utils._systemd.transient_unit import (
    Mounts,
    find_application_root,
    is_world_readable,
    list_hidden_directories,
    needs_bind_mount,
)

# The name of the temporary directory. It is on the file system of the venvs, which has space and is not noexec.
WORK_DIRECTORY = ".build"

# Configuration files of installers: of the user, and of the system.
OWN_CONFIGURATION = (".config/pip/pip.conf", ".pip/pip.conf", ".config/uv/uv.toml")
CONFIGURATION = ("/etc/xdg/pip/pip.conf", "/etc/pip.conf", "/etc/uv/uv.toml")

# Variables of the module's environment that an installer may need, such as proxies and certificates.
INHERITED_VARIABLES = re.compile(r"(?:PATH|LANG|(?:PIP|UV|SSL|CURL|REQUESTS)_[A-Z0-9_]+|[A-Za-z]+_(?:proxy|PROXY))\Z")


class Workspace:
    """The temporary directories of a build: a read-only input, a home and a directory for temporary files."""

    def __init__(self, directory: str, uid: int, gid: int, name: str = WORK_DIRECTORY) -> None:
        self.path = os.path.join(os.path.realpath(directory), name)
        self.input = os.path.join(self.path, "input")
        self.home = os.path.join(self.path, "home")
        self.temporary = os.path.join(self.path, "tmp")
        self.uid, self.gid = uid, gid
        self.written = 0

    def create(self) -> None:
        """Create the directories, after removing those of a killed build."""
        remove_tree(self.path)
        os.mkdir(self.path, 0o755)
        for path, mode in ((self.input, 0o750), (self.home, 0o700), (self.temporary, 0o700)):
            os.mkdir(path, mode)
            os.chown(path, 0 if path == self.input and os.geteuid() == 0 else self.uid, self.gid)

    def remove(self) -> None:
        remove_tree(self.path)

    def write_input(self, name: str, data: bytes) -> str:
        """Write an input file, which only root and the build user can read. Returns its path."""
        self.written += 1
        path = os.path.join(self.input, f"{self.written}-{os.path.basename(name)}")
        self._write_file(path, data, -1)
        return path

    def _write_file(self, path: str, data: bytes, uid: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o600), "wb") as stream:
            stream.write(data)
            os.fchown(stream.fileno(), uid, self.gid)
            os.fchmod(stream.fileno(), 0o640)

    def get_variables(self) -> dict[str, str]:
        """Return the environment variables for the home and the temporary directory."""
        return {"HOME": self.home, "TMPDIR": self.temporary}

    def build_mounts(self, result: Mapping[str, str], visible: Iterable[str], binds: Mapping[str, str]) -> Mounts:
        """Return the mounts of a build: its result, its own directories, and the visible paths that need a mount.

        result maps the path of the built directory in the unit to its path on the host.
        """
        hidden = list_hidden_directories(find_application_root(os.path.dirname(self.path)))
        needed = {
            path for path in visible if path not in result and os.path.exists(path) and needs_bind_mount(path, hidden)
        }
        readable = {path: path for path in needed if not any(path.startswith(other + "/") for other in needed)}
        writable = {**result, self.home: self.home, self.temporary: self.temporary}
        return Mounts(writable, {**readable, **binds, self.input: self.input}, hidden)

    def copy_configuration(self, root_home: str, texts: Iterable[str]) -> dict[str, str]:
        """Copy the installer configuration of root into the build, and its passwords for the hosts in use.

        Returns bind mounts: from system configuration files that only root can read to readable copies.
        """
        binds, used = {}, list(texts)
        for name in OWN_CONFIGURATION:
            data = _read_content(os.path.join(root_home, name))
            if data is not None:
                path = os.path.join(self.home, name)
                # Only root has written to the home so far.
                for parent in (os.path.dirname(os.path.dirname(path)), os.path.dirname(path)):
                    if not os.path.isdir(parent):
                        os.mkdir(parent, 0o700)
                        os.chown(parent, self.uid, self.gid)
                self._write_file(path, data, self.uid)
                used.append(data.decode("utf-8", "replace"))
        for path in CONFIGURATION:
            data = _read_content(path)
            if data is not None:
                used.append(data.decode("utf-8", "replace"))
                if not is_world_readable(path):
                    binds[path] = self.write_input(path, data)
        lines = _format_netrc(os.path.join(root_home, ".netrc"), find_hosts(used))
        if lines:
            self._write_file(os.path.join(self.home, ".netrc"), "".join(lines).encode(), self.uid)
        return binds

    def copy_files(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Copy files named by variables that the build user cannot read, such as keys. Returns the new variables."""
        copied = {}
        for name, value in variables.items():
            if (
                os.path.isabs(value)
                and os.path.isfile(value)
                and (not is_world_readable(value) or needs_bind_mount(value, ()))
            ):
                data = _read_content(value)
                if data is not None:
                    copied[name] = self.write_input(value, data)
        return copied


def _read_content(path: str) -> bytes | None:
    with contextlib.suppress(OSError), open(path, "rb") as stream:
        return stream.read()
    return None


def _format_netrc(path: str, names: set[str]) -> list[str]:
    """Return the entries of a netrc file for some hosts, as text."""
    try:
        entries = netrc.netrc(path).hosts
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return []
    found = []
    for host, (login, _account, password) in entries.items():
        if host.lower() in names:
            found.append(f"machine {host}\n  login {_quote_token(login)}\n  password {_quote_token(password)}\n")
    return found


def _quote_token(value: str | None) -> str:
    text = value or ""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return text if re.fullmatch(r"[^\s\"\\#]+", text) else f'"{escaped}"'
