# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Convert the environment variables of an adopted service to one file. The values never leave the host."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import stat
from typing import IO, Iterator

from ansible_collections.flaskops.production.plugins.module_utils._adoption.places import replace_paths
from ansible_collections.flaskops.production.plugins.module_utils._adoption.sources import find_source
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._core.secrets import ASSIGNMENT
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import open_directory, write_file
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import open_directory_safely, read_file
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import read_unit_properties


@contextlib.contextmanager
def open_env_file(path: str, tops: list[str]) -> Iterator[IO[bytes]]:
    """Open an environment file. Below the old directories, no link may lead out of them."""
    if any(path.startswith(top + "/") for top in tops):
        with find_source(path, tops) as found, found.directory.open_stream(found.name) as stream:
            yield stream
    else:
        yield io.BytesIO(read_file(path))


def build_environment(unit: str, dotenv: list[str], unit_files: list[str], tops: list[str]) -> bytes:
    """Return the environment of a service as one file. systemd uses the last value of a name.

    The variables and files of the unit take precedence over the files that the application reads by itself (`dotenv`).
    `tops` are the directories of the old deployment. No link may lead out of them.
    """
    last = b"".join(_read_lines(path, tops) for path in unit_files)
    overridden = {name for name, _value in ASSIGNMENT.findall(last.decode(errors="replace"))}
    pairs = [item.partition("=") for item in read_unit_environment(unit)]
    lines = [f"{name}={_quote(value)}\n" for name, separator, value in pairs if separator and name not in overridden]
    first = b"".join(_read_lines(path, tops) for path in dotenv)
    return first + "".join(lines).encode("utf-8", "surrogateescape") + last


def replace_env_paths(text: bytes, rewrites: list[tuple[str, str]], code: str) -> bytes:
    """Return an environment with the paths of the new deployment in place of those of the old one."""
    changed = replace_paths(text.decode("utf-8", "surrogateescape"), rewrites, code)
    return changed.encode("utf-8", "surrogateescape")


def read_unit_environment(unit: str) -> list[str]:
    """Return the variables that a unit itself sets, as NAME=value."""
    return shlex.split(read_unit_properties(unit, "Environment").get("Environment", ""))


def list_unit_variables(unit: str) -> list[str]:
    """Return the names of the variables that a unit itself sets."""
    return sorted({item.partition("=")[0] for item in read_unit_environment(unit) if "=" in item})


def _read_lines(path: str, tops: list[str]) -> bytes:
    with open_env_file(path, tops) as stream:
        text = stream.read()
    return text if text.endswith(b"\n") or not text else text + b"\n"


def _quote(value: str) -> str:
    return '"' + re.sub(r'([\\"`$])', r"\\\1", value) + '"'


def write_environment(layout: Layout, text: bytes, uid: int, gid: int) -> bool:
    """Write shared/.env. Return whether its content, owner or mode changed."""
    directory, name = os.path.split(layout.env_file)
    with open_directory_safely(directory) as shared:
        found = shared.try_lstat(name)
        if found is not None and stat.S_ISREG(found.st_mode):
            with shared.open_stream(name) as stream:
                same = stream.read() == text
            if same:
                return shared.set_owner_and_mode(name, uid, gid, 0o640)
        with open_directory(".", dir_fd=shared.fd) as fd:
            write_file(fd, name, text, 0o640, uid, gid)
    return True
