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

from ansible_collections.flaskops.production.plugins.module_utils._adoption.places import rewrite
from ansible_collections.flaskops.production.plugins.module_utils._adoption.sources import find_source
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._core.secrets import ASSIGNMENT
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import open_directory, write_file
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import open_directory_safely, read_file
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import read_unit_properties


@contextlib.contextmanager
def opened_environment(path: str, tops: list[str]) -> Iterator[IO[bytes]]:
    """An environment file. In the old directories a link must stay there; elsewhere only the owners of links count."""
    if any(path.startswith(top + "/") for top in tops):
        with find_source(path, tops) as found, found.directory.open_stream(found.name) as stream:
            yield stream
    else:
        yield io.BytesIO(read_file(path))


def environment_text(unit: str, weak: list[str], strong: list[str], tops: list[str]) -> bytes:
    """The environment of a service as one file, the strongest last: systemd takes the last value of a name.

    Weak is what the application reads by itself, which gives way to what the unit sets; strong are the unit's files.
    tops: the directories of the old deployment. Of files in them, no link is followed that leads out.
    """
    given = unit_environment(unit)
    below = b"".join(_whole_lines(path, tops) for path in strong)
    overridden = {name for name, _value in ASSIGNMENT.findall(below.decode(errors="replace"))}
    pairs = [item.partition("=") for item in given]
    lines = [f"{name}={_quoted(value)}\n" for name, separator, value in pairs if separator and name not in overridden]
    above = b"".join(_whole_lines(path, tops) for path in weak)
    return above + "".join(lines).encode("utf-8", "surrogateescape") + below


def rewritten(text: bytes, rewrites: list[list[str]], code: str) -> bytes:
    """Return an environment with the paths of the new deployment in place of those of the old one."""
    changed = rewrite(text.decode("utf-8", "surrogateescape"), [(pair[0], pair[1]) for pair in rewrites], code)
    return changed.encode("utf-8", "surrogateescape")


def unit_environment(unit: str) -> list[str]:
    """What a unit itself sets, as NAME=value."""
    return shlex.split(read_unit_properties(unit, "Environment").get("Environment", ""))


def variables_of(unit: str) -> list[str]:
    """The names of the variables that a unit itself sets."""
    return sorted({item.partition("=")[0] for item in unit_environment(unit) if "=" in item})


def _whole_lines(path: str, tops: list[str]) -> bytes:
    with opened_environment(path, tops) as stream:
        text = stream.read()
    return text if text.endswith(b"\n") or not text else text + b"\n"


def _quoted(value: str) -> str:
    return '"' + re.sub(r'([\\"`$])', r"\\\1", value) + '"'


def write_environment(layout: Layout, text: bytes, uid: int, gid: int) -> bool:
    """Put the environment in place; whether it is another one than before."""
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
