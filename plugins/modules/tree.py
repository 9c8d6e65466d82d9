#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: tree
short_description: Make many directories and files right in one call
version_added: "1.0.0"
author:
  - The flaskops.production contributors (@flaskops)
description:
  - Makes a list of paths right, each with type, owner, group and mode, and files with content where it is given.
    One call does what a looped M(ansible.builtin.file) task needs one remote execution per path for.
  - Everything is checked before the first change. A wrong mode, an unknown user, a missing parent directory or a
    symbolic link in the way fails the task with the host as it was.
  - Only the paths that are listed are touched. Nothing is done to what lies below them, and nothing is deleted but a
    file that is listed as V(absent).
  - A symbolic link at a listed path, or between a listed path and another one above it, is refused, even when the owner
    of one of the directories puts it there while the module runs. A link higher up, such as C(/srv) pointing to
    C(/data/srv), is followed when the link and its directory belong to root or to the user that runs the module.
attributes:
  check_mode:
    support: full
    description: Reports exactly what would change, and changes nothing.
  diff_mode:
    support: full
    description:
      - Lists the paths that change with type, owner, group and mode before and after, and shows content as text.
      - Content given in O(secret_contents) is never shown, only that it differs.
  platform:
    support: full
    platforms: linux
    description: The kind of host that the module works on.
options:
  entries:
    description:
      - The paths to make right, in this order. A directory comes before what is in it. No path may be listed twice.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description:
          - The absolute path, without C(..) in it.
        type: path
        required: true
      type:
        description:
          - What is to be at O(entries[].path). Something of another type that is there is refused, not replaced.
          - With V(absent), an ordinary file is removed. It needs no other option, and its directory need not exist.
          - The default is V(file) where content is given, here or in O(secret_contents), and V(directory) otherwise.
        type: str
        choices:
          - directory
          - file
          - absent
      owner:
        description:
          - Name or number of the owner.
          - When omitted, an existing path keeps its owner, and a new one belongs to the user that runs the module.
          - In check mode, a user that does not exist yet is reported as a change.
        type: str
      group:
        description:
          - Name or number of the group.
          - When omitted, an existing path keeps its group, and a new one gets that of the user that runs the module.
          - In check mode, a group that does not exist yet is reported as a change.
        type: str
      mode:
        description:
          - The mode as a quoted octal number of three or four digits, such as V("0755") or V("2750").
          - It holds exactly. A set-group-id bit that is not in it is removed.
          - A number without quotes is refused, because YAML may have read it as octal or as decimal.
          - Required unless O(entries[].type=absent).
        type: raw
      content:
        description:
          - The exact text of the file, written in UTF-8 and replaced by one rename.
          - Without content here or in O(secret_contents), a missing file is created empty, and the bytes
            of an existing one are left alone.
          - The text appears in the diff, in the task's arguments and in logs. Use O(secret_contents) for secrets.
        type: str
      parents:
        description:
          - Whether missing directories above O(entries[].path) are made, with mode V(0755) and belonging to the user
            that runs the module. Existing ones are left as they are.
          - With V(false), a missing directory above is an error, unless it is listed earlier.
        type: bool
        default: false
  secret_contents:
    description:
      - The texts of files that must not be seen, by their paths, as O(entries[].path) has them. They are in no output,
        in no diff and in no log.
      - Values are written as text.
    type: dict
    default: {}
notes:
  - A file whose owner, group or mode must change is refused when it has several hard links, because the change would
    reach all of its names.
  - SELinux contexts are not managed. A new path inherits the context of its directory, and setting one by path
    afterwards would follow a link that was put there in between.
  - A file replaced for new content loses access control lists and extended attributes of the old one.
seealso:
  - module: ansible.builtin.file
  - module: ansible.builtin.copy
  - module: flaskops.production.symlink_swap
"""

EXAMPLES = r"""
- name: Create the directories of an application
  flaskops.production.tree:
    entries:
      - path: /srv/myapp
        mode: "0755"
        owner: root
        group: root
        parents: true
      - path: /srv/myapp/run
        mode: "0775"
        owner: www-data
        group: www-data

- name: Write a configuration file beside its directory
  flaskops.production.tree:
    entries:
      - path: /srv/myapp/shared
        mode: "0755"
      - path: /srv/myapp/shared/robots.txt
        mode: "0644"
        content: |
          User-agent: *
          Disallow:

- name: Write an environment file that the runtime group may read
  flaskops.production.tree:
    entries:
      - path: /srv/myapp/shared/.env
        mode: "0640"
        owner: root
        group: www-data
    secret_contents:
      /srv/myapp/shared/.env: "{{ myapp_environment | flaskops.production.environment_file }}"

- name: Remove a file that is not needed any more
  flaskops.production.tree:
    entries:
      - path: /etc/logrotate.d/myapp
        type: absent
"""

RETURN = r"""
changed_paths:
  description:
    - The paths that were changed, or would be in check mode, in the order of the changes.
    - When the task fails halfway, these are the paths that were changed before.
  returned: always
  type: list
  elements: str
  sample:
    - /srv/myapp
    - /srv/myapp/run
"""

import grp
import os
import pwd
import re
import stat
from typing import Callable, NamedTuple

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.flaskops.production.plugins.module_utils._accounts import group_name, user_name
from ansible_collections.flaskops.production.plugins.module_utils._files import (
    open_directory,
    sync_directory,
    write_file,
)

_MODE = re.compile(r"0?[0-7]{3,4}")
_MAX_LINKS = 40
_MAX_SHOWN = 100 * 1024
_PARENT_MODE = 0o755
_KINDS = {
    stat.S_IFDIR: "directory",
    stat.S_IFREG: "file",
    stat.S_IFSOCK: "socket",
    stat.S_IFIFO: "named pipe",
    stat.S_IFBLK: "block device",
    stat.S_IFCHR: "character device",
}


class TreeError(ValueError):
    """Why a path can't be made right, as complete sentences."""


class Entry(NamedTuple):
    """A path as it is wanted."""

    path: str
    kind: str
    mode: int
    owner: str | None = None
    group: str | None = None
    content: bytes | None = None
    secret: bool = False
    parents: bool = False


class State(NamedTuple):
    """A path as it is or will be. content is known only where an entry gives one."""

    kind: str
    owner: str = ""
    group: str = ""
    mode: int = 0
    content: bytes | None = None


class Change(NamedTuple):
    """One path to change. place is its path without links, uid and gid are what it gets."""

    entry: Entry
    place: str
    uid: int
    gid: int
    before: State
    after: State


ABSENT = State("absent")


def parse(options: list[dict], secrets: dict[str, str] | None = None) -> list[Entry]:
    """The entries of the task's options, or one sentence on the first that is wrong."""
    entries, seen, secrets = [], set(), dict(secrets or {})
    for option in options:
        entry = _parse_one(option, secrets.pop(option["path"], None))
        if entry.path in seen:
            raise TreeError(f"{entry.path} is listed twice in entries; list each path once.")
        seen.add(entry.path)
        entries.append(entry)
    if secrets:
        names = ", ".join(secrets)
        raise TreeError(f"secret_contents has {names}, which entries does not list; list the path there too.")
    return entries


def _parse_one(option: dict, secret: str | None) -> Entry:
    given = option["path"]
    parts = given.split("/")
    if not given.startswith("/"):
        raise TreeError(f"The path {given!r} in entries is relative; give it from the root, such as /srv/myapp.")
    if ".." in parts:
        raise TreeError(f"The path {given!r} in entries contains '..'; give it without.")
    path = "/" + "/".join(part for part in parts if part not in ("", "."))
    if path == "/":
        raise TreeError("The path '/' in entries is the root directory, which this module does not change.")
    if secret is not None and option.get("content") is not None:
        raise TreeError(f"The entry {path} has content and stands in secret_contents too; leave one of them out.")
    text = option.get("content") if secret is None else secret
    kind = option.get("type") or ("directory" if text is None else "file")
    if kind == "directory" and text is not None:
        raise TreeError(f"The entry {path} is a directory with content; leave the content out or set type to file.")
    if kind == "absent":
        given = ", ".join(name for name in ("owner", "group", "mode", "content") if option.get(name) is not None)
        if given or secret is not None:
            raise TreeError(f"The entry {path} is absent and has {given or 'content'}; give its path and type only.")
        return Entry(path=path, kind=kind, mode=0)
    return Entry(
        path=path,
        kind=kind,
        mode=parse_mode(path, option.get("mode")),
        owner=option.get("owner"),
        group=option.get("group"),
        content=None if text is None else text.encode("utf-8", "surrogateescape"),
        secret=secret is not None,
        parents=bool(option.get("parents")),
    )


def parse_mode(path: str, value: object) -> int:
    """The mode as a number. A number in the task is refused: 0755 without quotes may have become 493 on its way."""
    if not isinstance(value, str) or not _MODE.fullmatch(value):
        raise TreeError(
            f"The mode {value!r} of {path} is not a quoted octal number; "
            'give three or four digits from 0 to 7 in quotes, such as "0755".'
        )
    return int(value, 8)


def user_id(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return int(name) if name.isdecimal() else None


def group_id(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return int(name) if name.isdecimal() else None


def plan(entries: list[Entry], check_mode: bool = False) -> list[Change]:
    """What must change, in order. Reads the host and raises TreeError for anything that can't be made right."""
    places: dict[str, tuple[str, str]] = {}
    changes = []
    for entry in entries:
        place, missing = _place(entry, places)
        if entry.kind == "absent":
            if not missing:
                changes += _removal(entry, place)
            continue
        for parent in missing:
            # Its own place is the entry's place shortened by as many names as the path is.
            depth = entry.path[len(parent) :].count("/")
            parent_place = place.rsplit("/", depth)[0]
            implied = Entry(path=parent, kind="directory", mode=_PARENT_MODE)
            places[parent] = (parent_place, "directory")
            changes.append(_compare(implied, parent_place, check_mode))
        places[entry.path] = (place, entry.kind)
        changes.append(_compare(entry, place, check_mode))
    return [change for change in changes if change.before != change.after]


def _place(entry: Entry, places: dict[str, tuple[str, str]]) -> tuple[str, list[str]]:
    """The entry's path without links, and the directories above it that are missing."""
    above = os.path.dirname(entry.path)
    listed = above
    while listed not in places and listed != "/":
        listed = os.path.dirname(listed)
    if listed in places:
        place, kind = places[listed]
        if kind != "directory":
            raise TreeError(f"{entry.path} can't be made: {listed} is listed as a file above it.")
        names, follow = [name for name in above[len(listed) :].split("/") if name], False
    else:
        place, names, follow = "/", [name for name in above.split("/") if name], True
    place, absent = _walk(entry.path, place, names, follow)
    missing: list[str] = []
    for _name in range(absent):
        missing.insert(0, above)
        above = os.path.dirname(above)
    if missing and not entry.parents and entry.kind != "absent":
        raise TreeError(
            f"{entry.path} can't be made: the directory {missing[0]} is missing. "
            f"List it earlier in entries, or set parents to true for {entry.path}."
        )
    return os.path.join(place, os.path.basename(entry.path)), missing


def _walk(path: str, start: str, names: list[str], follow: bool) -> tuple[str, int]:
    """Go from start through the names; return the place without links, and how many of the last names are missing."""
    here, pending, links = start, names[::-1], 0
    while pending:
        name = pending.pop()
        if name in ("", "."):
            continue
        if name == "..":
            here = os.path.dirname(here)
            continue
        step = os.path.join(here, name)
        try:
            found = os.lstat(step)
        except FileNotFoundError:
            return os.path.join(step, *pending[::-1]), len(pending) + 1
        except OSError as error:
            raise TreeError(f"{path} can't be reached: {step}: {error.strerror}.") from error
        if stat.S_ISLNK(found.st_mode):
            links += 1
            _check_link(path, step, found, follow, links)
            text = os.readlink(step)
            here = "/" if text.startswith("/") else here
            pending.extend(text.split("/")[::-1])
        elif stat.S_ISDIR(found.st_mode):
            here = step
        else:
            raise TreeError(f"{path} can't be made: {step} is not a directory. Move it away, or choose another path.")
    return here, 0


def _check_link(path: str, link: str, found: os.stat_result, follow: bool, links: int) -> None:
    if not follow:
        raise TreeError(
            f"{link}, on the way to {path}, is a symbolic link to {os.readlink(link)}. No change is made "
            "through a link: put a directory in its place, or list the path that it leads to."
        )
    trusted = {0, os.geteuid()}
    if found.st_uid not in trusted or os.lstat(os.path.dirname(link)).st_uid not in trusted:
        raise TreeError(
            f"{link}, on the way to {path}, is a symbolic link that a user other than root can turn elsewhere. "
            "List the path that it leads to, or let root own the link and its directory."
        )
    if links > _MAX_LINKS or not os.path.isdir(link):
        raise TreeError(f"{path} can't be made: {link} is a symbolic link that leads to no directory.")


def _compare(entry: Entry, place: str, check_mode: bool) -> Change:
    before, found = _inspect(entry, place)
    old_uid, old_gid = (os.geteuid(), os.getegid()) if found is None else (found.st_uid, found.st_gid)
    uid, owner = _identity(entry, "owner", entry.owner, old_uid, user_id, user_name, check_mode)
    gid, group = _identity(entry, "group", entry.group, old_gid, group_id, group_name, check_mode)
    content = before.content if entry.content is None else entry.content
    change = Change(entry, place, uid, gid, before, State(entry.kind, owner, group, entry.mode, content))
    _check_possible(change, found)
    return change


def _removal(entry: Entry, place: str) -> list[Change]:
    before, found = _inspect(entry._replace(kind="file", content=b""), place)
    if found is None:
        return []
    if os.geteuid() not in (0, os.lstat(os.path.dirname(place)).st_uid):
        user = user_name(os.geteuid())
        raise TreeError(
            f"{entry.path} can't be removed: the user {user} may not do that. Run the task with become: true."
        )
    return [Change(entry, place, found.st_uid, found.st_gid, before, ABSENT)]


def _identity(
    entry: Entry,
    option: str,
    wanted: str | None,
    current: int,
    to_id: Callable[[str], int | None],
    to_name: Callable[[int], str],
    check_mode: bool,
) -> tuple[int, str]:
    """The number that the owner or group gets, and its name. -1 where check mode finds none yet."""
    if wanted is None:
        return current, to_name(current)
    number = to_id(wanted)
    if number is not None:
        return number, to_name(number)
    if check_mode:
        return -1, wanted
    noun = "user" if option == "owner" else "group"
    raise TreeError(
        f"The {option} {wanted!r} of {entry.path} does not exist on this host. "
        f"Create the {noun} first, or name one that exists. Nothing was changed."
    )


def _inspect(entry: Entry, place: str) -> tuple[State, os.stat_result | None]:
    """The state of what is at the place, and its status (None when it is absent)."""
    parent, name = os.path.split(place)
    try:
        parent_fd = _open_place(parent)
        try:
            found = os.lstat(name, dir_fd=parent_fd)
            if stat.S_ISLNK(found.st_mode):
                raise TreeError(
                    f"{entry.path} is a symbolic link to {os.readlink(name, dir_fd=parent_fd)}. It was left as it is: "
                    "remove the link, or list the path that it leads to."
                )
            kind = _KINDS.get(stat.S_IFMT(found.st_mode), "special file")
            if kind != entry.kind:
                raise TreeError(
                    f"{entry.path} is a {kind} and not a {entry.kind}. It was left as it is: "
                    "move it away, or set type to match what is there."
                )
            content = None if entry.content is None else _read(name, parent_fd, len(entry.content))
        finally:
            os.close(parent_fd)
    except FileNotFoundError:
        return ABSENT, None
    except OSError as error:
        raise TreeError(f"{entry.path} can't be read: {error.strerror}.") from error
    mode = stat.S_IMODE(found.st_mode)
    return State(kind, user_name(found.st_uid), group_name(found.st_gid), mode, content), found


def _read(name: str, parent_fd: int, expected: int) -> bytes:
    """The file's bytes, no more than comparing and showing needs."""
    with os.fdopen(_open_file(name, parent_fd), "rb") as stream:
        return stream.read(max(expected, _MAX_SHOWN) + 1)


def _check_possible(change: Change, found: os.stat_result | None) -> None:
    """Refuse before anything is changed what the kernel would refuse halfway, or what would reach another name."""
    entry, before, after = change.entry, change.before, change.after
    if before == after:
        return
    replaced = before.content != after.content
    if found is not None and entry.kind == "file" and not replaced and found.st_nlink > 1:
        raise TreeError(
            f"{entry.path} has {found.st_nlink} hard links, and a change of owner or mode would reach all of them. "
            "Replace it by a copy of its own (cp, then mv)."
        )
    euid = os.geteuid()
    if euid == 0:
        return
    groups = {os.getegid(), *os.getgroups()}
    foreign = found is not None and found.st_uid != euid and not replaced
    gives_away = change.uid != euid or (change.gid not in groups and (found is None or change.gid != found.st_gid))
    if foreign or gives_away:
        raise TreeError(
            f"{entry.path} can't become {after.owner}:{after.group} {after.mode:04o}: the user {user_name(euid)} "
            "may not change it. Run the task with become: true."
        )


def _open_place(directory: str) -> int:
    """Open a directory whose path has no links, name by name, so that a link put there meanwhile is an error."""
    flags = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open("/", flags)
    for name in [name for name in directory.split("/") if name]:
        try:
            deeper = os.open(name, flags, dir_fd=fd)
        finally:
            os.close(fd)
        fd = deeper
    return fd


def _open_file(name: str, parent_fd: int) -> int:
    """Open an ordinary file for reading, and nothing else that may have taken its place."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=parent_fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise TreeError(f"{name} stopped being a file while the module ran. Run it again.")
    return fd


def apply(change: Change) -> None:
    """Make the change. Every step works on open directories and files, so that no link can redirect it."""
    entry = change.entry
    parent, name = os.path.split(change.place)
    try:
        parent_fd = _open_place(parent)
        try:
            if entry.kind == "absent":
                _apply_absence(name, parent_fd)
            elif entry.kind == "directory":
                _apply_directory(change, name, parent_fd)
            elif change.before.content != change.after.content:
                _apply_content(change, name, parent_fd)
            else:
                _apply_file(change, name, parent_fd)
        finally:
            os.close(parent_fd)
    except OSError as error:
        raise TreeError(
            f"{entry.path} could not be changed: {error.strerror}. If something else works on these paths, run again."
        ) from error


def _apply_directory(change: Change, name: str, parent_fd: int) -> None:
    if change.before == ABSENT:
        os.mkdir(name, 0o700, dir_fd=parent_fd)
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
    try:
        _settle(fd, change)
    finally:
        os.close(fd)


def _apply_absence(name: str, parent_fd: int) -> None:
    # A name of its own is removed, whatever it has become meanwhile; the kernel refuses a directory.
    os.unlink(name, dir_fd=parent_fd)
    directory_fd = open_directory(".", dir_fd=parent_fd)
    try:
        sync_directory(directory_fd)
    finally:
        os.close(directory_fd)


def _apply_content(change: Change, name: str, parent_fd: int) -> None:
    directory_fd = open_directory(".", dir_fd=parent_fd)
    try:
        write_file(directory_fd, name, change.after.content, change.after.mode, change.uid, change.gid)
    finally:
        os.close(directory_fd)


def _apply_file(change: Change, name: str, parent_fd: int) -> None:
    if change.before == ABSENT:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=parent_fd)
    else:
        fd = _open_file(name, parent_fd)
    try:
        if os.fstat(fd).st_nlink != 1:
            raise TreeError(f"{change.entry.path} got another hard link while the module ran, so it was left as it is.")
        _settle(fd, change)
    finally:
        os.close(fd)


def _settle(fd: int, change: Change) -> None:
    found = os.fstat(fd)
    if (found.st_uid, found.st_gid) != (change.uid, change.gid):
        os.fchown(fd, change.uid, change.gid)
    # chown may have cleared the set-id bits, so the mode is looked at again.
    if stat.S_IMODE(os.fstat(fd).st_mode) != change.after.mode:
        os.fchmod(fd, change.after.mode)


def build_diff(changes: list[Change]) -> list[dict[str, str]]:
    """One part that lists the paths, and one for each file whose content may be shown."""
    if not changes:
        return []
    parts = [
        {
            "before_header": "paths",
            "after_header": "paths",
            "before": "".join(_line(change, change.before) for change in changes),
            "after": "".join(_line(change, change.after) for change in changes),
        }
    ]
    for change in changes:
        if change.before.content != change.after.content and not change.entry.secret:
            parts.append(
                {
                    "before_header": change.entry.path,
                    "after_header": change.entry.path,
                    "before": _shown(change.before.content),
                    "after": _shown(change.after.content),
                }
            )
    return parts


def _line(change: Change, state: State) -> str:
    if state == ABSENT:
        return f"{change.entry.path}  absent\n"
    line = f"{change.entry.path}  {state.kind} {state.owner}:{state.group} {state.mode:04o}"
    if change.entry.secret and change.before.content != change.after.content:
        line += "  secret content, " + ("as it was" if state is change.before else "new")
    return line + "\n"


def _shown(content: bytes | None) -> str:
    if content is None:
        return ""
    if len(content) > _MAX_SHOWN:
        return f"(more than {_MAX_SHOWN} bytes, not shown)\n"
    if b"\0" in content:
        return f"({len(content)} bytes that are not text, not shown)\n"
    return content.decode("utf-8", "replace")


def argument_spec() -> dict:
    return {
        "entries": {
            "type": "list",
            "elements": "dict",
            "required": True,
            "options": {
                "path": {"type": "path", "required": True},
                "type": {"type": "str", "choices": ["directory", "file", "absent"]},
                "owner": {"type": "str"},
                "group": {"type": "str"},
                "mode": {"type": "raw"},
                "content": {"type": "str"},
                "parents": {"type": "bool", "default": False},
            },
        },
        # Not among the entries: the target's log shows those as one text, in which a secret is not recognised.
        "secret_contents": {"type": "dict", "no_log": True, "default": {}},
    }


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    done: list[str] = []
    try:
        changes = plan(parse(module.params["entries"], module.params["secret_contents"]), module.check_mode)
        if not module.check_mode:
            for change in changes:
                apply(change)
                done.append(change.entry.path)
    except TreeError as error:
        module.fail_json(msg=str(error), changed=bool(done), changed_paths=done)
    result = {"changed": bool(changes), "changed_paths": [change.entry.path for change in changes]}
    if module._diff:
        result["diff"] = build_diff(changes)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
