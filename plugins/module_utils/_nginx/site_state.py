# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file and the links of a site: read, compare and replace them."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import (
    open_directory,
    sync_directory,
    write_temporary_file,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.links import swap_file_link

MODE = 0o644
PREFIX = ".flaskops-"  # hidden: no include pattern with a leading * reads these files


class SiteError(Exception):
    """A site cannot be installed. The message is for the user."""


class SiteState(NamedTuple):
    """The file of a site and the targets of its links, on disk or wanted. None stands for a missing file or link."""

    content: bytes | None
    mode: int
    owner: tuple[int, int]
    links: dict[str, str | None]


def read_state(path: str, links: list[str]) -> SiteState:
    """Read the file and the links. Raises SiteError unless they are a regular file and symbolic links, or missing."""
    targets: dict[str, str | None] = {}
    for link in links:
        if os.path.islink(link):
            targets[link] = os.readlink(link)
        elif os.path.lexists(link):
            raise SiteError(f"{link} is not a symbolic link. Move it away, or name another link.")
        else:
            targets[link] = None
    try:
        info = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return SiteState(None, MODE, get_site_owner(), targets)
    if not stat.S_ISREG(info.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(info.st_mode) else "not a regular file"
        raise SiteError(f"{path} is {kind}. Move it away, or name another path.")
    with open(path, "rb") as handle:
        content = handle.read()
    return SiteState(content, stat.S_IMODE(info.st_mode), (info.st_uid, info.st_gid), targets)


def get_site_owner() -> tuple[int, int]:
    """Return the user and group ID of a site's file: root, or the current user if the module does not run as root."""
    return (0, 0) if os.geteuid() == 0 else (os.geteuid(), os.getegid())


def plan_state(before: SiteState, path: str, content: bytes, link: str | None, remove_links: list[str]) -> SiteState:
    """Return the wanted state. A link that already leads to the file keeps its spelling."""
    links: dict[str, str | None] = dict.fromkeys(remove_links)
    if link:
        directory = os.path.dirname(link)
        target = before.links[link]
        same = target is not None and os.path.normpath(os.path.join(directory, target)) == path
        links[link] = target if same else os.path.relpath(path, directory)
    return SiteState(content, MODE, get_site_owner(), links)


def format_diff(path: str, before: SiteState, after: SiteState) -> list[dict[str, str]]:
    """Return the module's diff, which is empty if both states are equal."""

    def format_attributes(state: SiteState) -> str:
        return f"mode: {state.mode:04o}, owner: {state.owner[0]}:{state.owner[1]}\n"

    def format_links(state: SiteState) -> str:
        return "".join(f"{link} -> {state.links[link] or '(absent)'}\n" for link in sorted(state.links))

    def compare(header: str, old: str, new: str) -> dict[str, str]:
        return {"before_header": header, "after_header": header, "before": old, "after": new}

    diff = []
    if before.content != after.content:
        diff.append(compare(path, decode_text(before.content or b""), decode_text(after.content or b"")))
    elif before[:3] != after[:3]:
        diff.append(compare(f"{path} (attributes)", format_attributes(before), format_attributes(after)))
    if before.links != after.links:
        diff.append(compare(f"links of {path}", format_links(before), format_links(after)))
    return diff


def decode_text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def write_hidden_file(directory: str, content: bytes, mode: int, owner: tuple[int, int]) -> str:
    """Write a temporary file that no include pattern matches. Return its path."""
    uid, gid = owner if os.geteuid() == 0 else (-1, -1)
    with open_directory(directory) as fd:
        return os.path.join(directory, write_temporary_file(fd, content, mode, uid, gid, PREFIX))


def write_state(path: str, now: SiteState, wanted: SiteState, tested_file: str | None = None) -> None:
    """Change the file and the links from one state to the other.

    Links are removed first and added last, so that an interruption never leaves two default sites. The file is replaced
    by `tested_file` if there is one.
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
        os.replace(tested_file or write_hidden_file(directory, wanted.content, wanted.mode, wanted.owner), path)
    sync_path(directory)
    for link in changed:
        target = wanted.links[link]
        if target is not None:
            swap_file_link(link, target)
    for parent in sorted({os.path.dirname(link) for link in changed}):
        sync_path(parent)


def sync_path(directory: str) -> None:
    with open_directory(directory) as fd:
        sync_directory(fd)
