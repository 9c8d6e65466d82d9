# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wanted and the current state of paths, and the options that describe them."""

from __future__ import annotations

import grp
import pwd
import re
from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ModuleError

# The options of an entry, documented in the module tree.
ENTRY_OPTIONS = {
    "path": {"type": "path", "required": True},
    "type": {"type": "str", "choices": ["directory", "file", "socket", "absent"]},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "raw"},
    "users": {"type": "list", "elements": "str"},
    "content": {"type": "str"},
    "parents": {"type": "bool", "default": False},
    "application": {"type": "str"},
    "setting": {"type": "bool", "default": False},
}
_MODE = re.compile(r"0?[0-7]{3,4}")
MAX_SHOWN_BYTES = 100 * 1024


class TreeError(ModuleError):
    """A path that cannot be created or corrected. The message is complete sentences."""


class ForeignError(TreeError):
    """A path of another application, or of unknown origin, which is not changed."""


class PathEntry(NamedTuple):
    """The wanted state of a path."""

    path: str
    kind: str
    mode: int
    owner: str | None = None
    group: str | None = None
    content: bytes | None = None
    secret: bool = False
    parents: bool = False
    # Users with the permissions of the group; None keeps the access control list.
    users: tuple[str, ...] | None = None
    application: str | None = None
    # Whether the file takes effect with an activation.
    setting: bool = False


class PathState(NamedTuple):
    """The state of a path before or after a change. content is None unless the entry has content."""

    kind: str
    owner: str = ""
    group: str = ""
    mode: int = 0
    content: bytes | None = None
    users: tuple[str, ...] = ()


class Change(NamedTuple):
    """A change of one path. real_path is its path without links; uid and gid are the new ones.

    trusted holds the IDs of users that own directories above the path according to the task.
    """

    entry: PathEntry
    real_path: str
    uid: int
    gid: int
    before: PathState
    after: PathState
    trusted: frozenset[int] = frozenset()


ABSENT = PathState("absent")
# The users of a directory on a file system without access control lists.
NO_LISTS = ("no access control lists",)


def parse_entries(options: list[dict], secrets: dict[str, str] | None = None) -> list[PathEntry]:
    """Parse the entries of a task. Raises TreeError for the first invalid one."""
    entries, seen, secrets = [], set(), dict(secrets or {})
    for option in options:
        entry = _parse_entry(option, secrets.pop(option["path"], None))
        if entry.path in seen:
            raise TreeError(f"{entry.path} is listed twice in entries; list each path once.")
        seen.add(entry.path)
        entries.append(entry)
    if secrets:
        names = ", ".join(secrets)
        raise TreeError(f"secret_contents has {names}, which is not in entries; list the path there too.")
    return entries


def _parse_entry(option: dict, secret: str | None) -> PathEntry:
    given = option["path"]
    parts = given.split("/")
    if not given.startswith("/"):
        raise TreeError(f"The path {given!r} in entries is relative; set an absolute path, such as /srv/myapp.")
    if ".." in parts:
        raise TreeError(f"The path {given!r} in entries contains '..'; set the path without it.")
    path = "/" + "/".join(part for part in parts if part not in ("", "."))
    if path == "/":
        raise TreeError("The path '/' in entries is the root directory, which this module does not change.")
    if secret is not None and option.get("content") is not None:
        raise TreeError(f"The entry {path} has content and is in secret_contents too; remove one of them.")
    text = option.get("content") if secret is None else secret
    kind = option.get("type") or ("directory" if text is None else "file")
    if kind == "directory" and text is not None:
        raise TreeError(f"The entry {path} is a directory with content; remove content or set type to file.")
    if kind == "socket" and text is not None:
        raise TreeError(f"The entry {path} is a socket with content; remove content or set type to file.")
    if kind != "directory" and option.get("users") is not None:
        raise TreeError(f"The entry {path} has users, but its type is {kind}; only directories have users.")
    if kind == "absent":
        given = ", ".join(name for name in ("owner", "group", "mode", "content") if option.get(name) is not None)
        if given or secret is not None:
            raise TreeError(f"The entry {path} is absent and has {given or 'content'}; set its path and type only.")
        return PathEntry(path=path, kind=kind, mode=0, application=option.get("application"))
    return PathEntry(
        path=path,
        kind=kind,
        mode=parse_mode(path, option.get("mode")),
        owner=option.get("owner"),
        group=option.get("group"),
        content=None if text is None else text.encode("utf-8", "surrogateescape"),
        secret=secret is not None,
        parents=bool(option.get("parents")),
        users=None if option.get("users") is None else tuple(option["users"]),
        application=option.get("application"),
        setting=bool(option.get("setting")),
    )


def parse_mode(path: str, value: object) -> int:
    """Parse a quoted octal mode. Raises TreeError for a number, because YAML may have read 0755 as 493."""
    if not isinstance(value, str) or not _MODE.fullmatch(value):
        raise TreeError(
            f"The mode {value!r} of {path} is not a quoted octal number; "
            'set three or four digits from 0 to 7 in quotes, such as "0755".'
        )
    return int(value, 8)


def find_user_id(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return int(name) if name.isdecimal() else None


def find_group_id(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return int(name) if name.isdecimal() else None


def build_diff(changes: list[Change]) -> list[dict[str, str]]:
    """Build a diff: one part with the states of all paths, and one for each file whose content is not secret."""
    if not changes:
        return []
    parts = [
        {
            "before_header": "paths",
            "after_header": "paths",
            "before": "".join(_format_state(change, change.before) for change in changes),
            "after": "".join(_format_state(change, change.after) for change in changes),
        }
    ]
    for change in changes:
        if change.before.content != change.after.content and not change.entry.secret:
            parts.append(
                {
                    "before_header": change.entry.path,
                    "after_header": change.entry.path,
                    "before": _format_content(change.before.content),
                    "after": _format_content(change.after.content),
                }
            )
    return parts


def _format_state(change: Change, state: PathState) -> str:
    if state == ABSENT:
        return f"{change.entry.path}  absent\n"
    line = f"{change.entry.path}  {state.kind} {state.owner}:{state.group} {state.mode:04o}"
    line += "".join(f" {user}" for user in state.users if state.users != NO_LISTS)
    if change.entry.secret and change.before.content != change.after.content:
        line += "  secret content, " + ("old" if state is change.before else "new")
    return line + "\n"


def _format_content(content: bytes | None) -> str:
    if content is None:
        return ""
    if len(content) > MAX_SHOWN_BYTES:
        return f"(more than {MAX_SHOWN_BYTES} bytes, not shown)\n"
    if b"\0" in content:
        return f"({len(content)} bytes of binary content, not shown)\n"
    return content.decode("utf-8", "replace")
