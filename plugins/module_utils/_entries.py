# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths as they are wanted and as they are: what must change, and changing it without following a link. Private."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from typing import Callable, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils import _acl
from ansible_collections.flaskops.production.plugins.module_utils._accounts import get_group_name, get_user_name
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import (
    open_directory,
    sync_directory,
    write_file,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.directory import (
    Directory,
    UnsafePathError,
    set_owner_and_mode,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import (
    open_directory_safely,
)
from ansible_collections.flaskops.production.plugins.module_utils._ownership import (
    find_directory_conflict,
    find_file_conflict,
    read_application,
)

# The options of an entry, of every module that takes some; documented in the module tree.
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


class ForeignError(TreeError):
    """What belongs to another application, or to nobody that is known, and is therefore left alone."""


class PathEntry(NamedTuple):
    """A path as it is wanted."""

    path: str
    kind: str
    mode: int
    owner: str | None = None
    group: str | None = None
    content: bytes | None = None
    secret: bool = False
    parents: bool = False
    # Who may do what the group may; None leaves the access control list alone.
    users: tuple[str, ...] | None = None
    application: str | None = None
    # Whether it takes effect with an activation.
    setting: bool = False


class PathState(NamedTuple):
    """A path as it is or will be. content is known only where an entry gives one."""

    kind: str
    owner: str = ""
    group: str = ""
    mode: int = 0
    content: bytes | None = None
    users: tuple[str, ...] = ()


class Change(NamedTuple):
    """One path to change. place is its path without links, uid and gid are what it gets.

    trusted: the users that own directories above it because the task says so.
    """

    entry: PathEntry
    place: str
    uid: int
    gid: int
    before: PathState
    after: PathState
    trusted: frozenset[int] = frozenset()


ABSENT = PathState("absent")
# Stands for the users of a directory whose file system keeps no access control lists.
_NO_LISTS = ("no access control lists",)


def parse_entries(options: list[dict], secrets: dict[str, str] | None = None) -> list[PathEntry]:
    """The entries of the task's options, or one sentence on the first that is wrong."""
    entries, seen, secrets = [], set(), dict(secrets or {})
    for option in options:
        entry = _parse_entry(option, secrets.pop(option["path"], None))
        if entry.path in seen:
            raise TreeError(f"{entry.path} is listed twice in entries; list each path once.")
        seen.add(entry.path)
        entries.append(entry)
    if secrets:
        names = ", ".join(secrets)
        raise TreeError(f"secret_contents has {names}, which entries does not list; list the path there too.")
    return entries


def _parse_entry(option: dict, secret: str | None) -> PathEntry:
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
    if kind == "socket" and text is not None:
        raise TreeError(f"The entry {path} is a socket with content; leave the content out or set type to file.")
    if kind != "directory" and option.get("users") is not None:
        raise TreeError(f"The entry {path} has users and is no directory; leave users out.")
    if kind == "absent":
        given = ", ".join(name for name in ("owner", "group", "mode", "content") if option.get(name) is not None)
        if given or secret is not None:
            raise TreeError(f"The entry {path} is absent and has {given or 'content'}; give its path and type only.")
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
    """The mode as a number. A number in the task is refused: 0755 without quotes may have become 493 on its way."""
    if not isinstance(value, str) or not _MODE.fullmatch(value):
        raise TreeError(
            f"The mode {value!r} of {path} is not a quoted octal number; "
            'give three or four digits from 0 to 7 in quotes, such as "0755".'
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


def find_conflicts(entries: list[PathEntry], adopt: bool = False) -> list[str]:
    """Sentences on the paths that belong to somebody else."""
    found = []
    for entry in entries:
        if entry.application and entry.kind == "directory":
            found.append(find_directory_conflict(entry.path, entry.application, adopt))
        elif entry.application and entry.content is not None:
            found.append(find_file_conflict(entry.path, entry.application, adopt))
    return [reason for reason in found if reason]


def plan_changes(entries: list[PathEntry], check_mode: bool = False, adopt: bool = False) -> list[Change]:
    """What must change, in order. Reads the host and raises TreeError for anything that can't be made right."""
    reasons = find_conflicts(entries, adopt)
    if reasons:
        raise ForeignError(" ".join(reasons))
    places: dict[str, tuple[str, str]] = {}
    # Who will own the listed directories, and who owns them before they are changed, which comes first.
    owners: dict[str, int] = {}
    former: dict[str, int] = {}
    changes = []
    for entry in entries:
        place, missing = _resolve_entry(entry, places)
        trusted = _find_owners_above(entry, owners)
        _check_parents(entry, place, trusted | _find_owners_above(entry, former))
        if entry.kind == "absent":
            changes += [change._replace(trusted=trusted) for change in _plan_removal(entry, place)]
            continue
        for parent in missing:
            # Its own place is the entry's place shortened by as many names as the path is.
            depth = entry.path[len(parent) :].count("/")
            parent_place = place.rsplit("/", depth)[0]
            implied = PathEntry(path=parent, kind="directory", mode=_PARENT_MODE)
            places[parent] = (parent_place, "directory")
            changes.append(_compare_entry(implied, parent_place, check_mode)._replace(trusted=trusted))
        places[entry.path] = (place, entry.kind)
        change = _compare_entry(entry, place, check_mode)._replace(trusted=trusted)
        owners[entry.path] = change.uid
        former[entry.path] = change.uid if change.before == ABSENT else find_user_id(change.before.owner) or 0
        changes.append(change)
    return [change for change in changes if change.before != change.after]


def _find_owners_above(entry: PathEntry, owners: dict[str, int]) -> frozenset[int]:
    """The owners of those directories that are above an entry."""
    return frozenset(uid for path, uid in owners.items() if entry.path.startswith(path + "/"))


def _check_parents(entry: PathEntry, place: str, trusted: frozenset[int]) -> None:
    """Refuse a way on which a user could have put directories of others in the place of what the task means."""
    try:
        with open_directory_safely(os.path.dirname(place), trusted, links=False):
            pass
    except FileNotFoundError:
        pass  # made by this task
    except UnsafePathError as error:
        raise TreeError(f"{entry.path} can't be made: {error}") from error
    except OSError as error:
        raise TreeError(f"{entry.path} can't be reached: {error.filename}: {error.strerror}.") from error


def _resolve_entry(entry: PathEntry, places: dict[str, tuple[str, str]]) -> tuple[str, list[str]]:
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
    place, absent = _resolve_directories(entry.path, place, names, follow)
    missing: list[str] = []
    # What is never made needs no directory.
    for _name in range(0 if entry.kind in ("absent", "socket") else absent):
        missing.insert(0, above)
        above = os.path.dirname(above)
    if missing and not entry.parents:
        raise TreeError(
            f"{entry.path} can't be made: the directory {missing[0]} is missing. "
            f"List it earlier in entries, or set parents to true for {entry.path}."
        )
    return os.path.join(place, os.path.basename(entry.path)), missing


def _resolve_directories(path: str, start: str, names: list[str], follow: bool) -> tuple[str, int]:
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


def _compare_entry(entry: PathEntry, place: str, check_mode: bool) -> Change:
    before, found = _read_state(entry, place)
    old_uid, old_gid = (os.geteuid(), os.getegid()) if found is None else (found.st_uid, found.st_gid)
    uid, owner = _resolve_owner(entry, "owner", entry.owner, old_uid, find_user_id, get_user_name, check_mode)
    gid, group = _resolve_owner(entry, "group", entry.group, old_gid, find_group_id, get_group_name, check_mode)
    content = before.content if entry.content is None else entry.content
    after = PathState(entry.kind, owner, group, entry.mode, content, _plan_users(entry, before, check_mode))
    if entry.kind == "socket" and found is None:
        # Only who listens on it can make one.
        after = ABSENT
    change = Change(entry, place, uid, gid, before, after)
    _check_permissions(change, found)
    return change


def _plan_removal(entry: PathEntry, place: str) -> list[Change]:
    before, found = _read_state(entry._replace(kind="file", content=b""), place)
    if found is None or entry.application and read_application(place) != entry.application:
        return []
    if os.geteuid() not in (0, os.lstat(os.path.dirname(place)).st_uid):
        user = get_user_name(os.geteuid())
        raise TreeError(
            f"{entry.path} can't be removed: the user {user} may not do that. Run the task with become: true."
        )
    return [Change(entry, place, found.st_uid, found.st_gid, before, ABSENT)]


def _resolve_owner(
    entry: PathEntry,
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


def _plan_users(entry: PathEntry, before: PathState, check_mode: bool) -> tuple[str, ...]:
    """The users as they will be in the list. Where the file system has no lists, as they are."""
    if entry.users is None or before.users == _NO_LISTS:
        return before.users
    rights = _format_rights(entry.mode >> 3 & 7)
    for name in entry.users:
        if find_user_id(name) is None and not check_mode:
            raise TreeError(
                f"The user {name!r} in users of {entry.path} does not exist on this host. "
                "Create the user first, or name one that exists. Nothing was changed."
            )
    return tuple(sorted(f"{name}={rights}" for name in entry.users))


def _read_users(entry: PathEntry, name: str, parent_fd: int) -> tuple[str, ...]:
    """Who may do what beside mode and group, of an entry that says who should."""
    if entry.users is None:
        return ()
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
    try:
        acl = _acl.read_acl(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    if acl is None:
        return _NO_LISTS
    return tuple(
        sorted(f"{get_user_name(uid)}={_format_rights(bits)}" for uid, bits in _acl.get_user_rights(acl).items())
    )


def _format_rights(bits: int) -> str:
    return "".join(letter if bits & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))


def _read_state(entry: PathEntry, place: str) -> tuple[PathState, os.stat_result | None]:
    """The state of what is at the place, and its status (None when it is absent)."""
    parent, name = os.path.split(place)
    try:
        with open_directory_safely(parent, reading=True, links=False) as directory:
            found = directory.lstat(name)
            if stat.S_ISLNK(found.st_mode):
                raise TreeError(
                    f"{entry.path} is a symbolic link to {directory.read_link(name)}. It was left as it is: "
                    "remove the link, or list the path that it leads to."
                )
            kind = _KINDS.get(stat.S_IFMT(found.st_mode), "special file")
            if kind != entry.kind:
                raise TreeError(
                    f"{entry.path} is a {kind} and not a {entry.kind}. It was left as it is: "
                    "move it away, or set type to match what is there."
                )
            content = None if entry.content is None else _read_content(name, directory, len(entry.content))
            users = _read_users(entry, name, directory.fd)
    except FileNotFoundError:
        return ABSENT, None
    except UnsafePathError as error:
        raise TreeError(f"{entry.path} can't be read: {error}") from error
    except OSError as error:
        raise TreeError(f"{entry.path} can't be read: {error.strerror}.") from error
    mode = stat.S_IMODE(found.st_mode)
    return PathState(kind, get_user_name(found.st_uid), get_group_name(found.st_gid), mode, content, users), found


def _read_content(name: str, directory: Directory, expected: int) -> bytes:
    """The file's bytes, no more than comparing and showing needs."""
    with directory.open_stream(name) as stream:
        return stream.read(max(expected, _MAX_SHOWN) + 1)


def _check_permissions(change: Change, found: os.stat_result | None) -> None:
    """Refuse before anything is changed what the kernel would refuse halfway, or what would reach another name."""
    entry, before, after = change.entry, change.before, change.after
    if before == after:
        return
    replaced = before.content != after.content
    if found is not None and entry.kind != "directory" and not replaced and found.st_nlink > 1:
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
            f"{entry.path} can't become {after.owner}:{after.group} {after.mode:04o}: the user {get_user_name(euid)} "
            "may not change it. Run the task with become: true."
        )


def apply_change(change: Change) -> None:
    """Make the change. Every step works on open directories and files, so that no link can redirect it."""
    entry = change.entry
    parent, name = os.path.split(change.place)
    try:
        with open_directory_safely(parent, change.trusted, links=False) as directory:
            if entry.kind == "absent":
                _remove_file(name, directory.fd)
            elif entry.kind == "directory":
                _apply_directory(change, name, directory.fd)
            elif entry.kind == "socket":
                _apply_socket(change, name, directory.fd)
            elif change.before.content != change.after.content:
                _apply_content(change, name, directory.fd)
            else:
                _apply_file(change, name, directory)
    except UnsafePathError as error:
        raise TreeError(f"{entry.path} could not be changed: {error}") from error
    except OSError as error:
        raise TreeError(
            f"{entry.path} could not be changed: {error.strerror}. If something else works on these paths, run again."
        ) from error


def _apply_directory(change: Change, name: str, parent_fd: int) -> None:
    if change.before == ABSENT:
        os.mkdir(name, 0o700, dir_fd=parent_fd)
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
    try:
        _apply_owner_and_mode(fd, change)
        if change.entry.users is not None and change.before.users != change.after.users:
            _set_users(fd, change)
    finally:
        os.close(fd)


def _set_users(fd: int, change: Change) -> None:
    mode = change.entry.mode
    acl = _acl.from_mode(mode)
    for name in change.entry.users or ():
        acl = _acl.add_user(acl, find_user_id(name), mode >> 3 & 7)
    # A new directory may turn out to lie where there are no lists.
    if _acl.read_acl(fd) is not None:
        _acl.write_acl(fd, acl)


def _remove_file(name: str, parent_fd: int) -> None:
    # A name of its own is removed, whatever it has become meanwhile; the kernel refuses a directory.
    os.unlink(name, dir_fd=parent_fd)
    with open_directory(".", dir_fd=parent_fd) as directory_fd:
        sync_directory(directory_fd)


def _apply_content(change: Change, name: str, parent_fd: int) -> None:
    with open_directory(".", dir_fd=parent_fd) as directory_fd:
        write_file(directory_fd, name, change.after.content, change.after.mode, change.uid, change.gid)


def _apply_file(change: Change, name: str, directory: Directory) -> None:
    if change.before == ABSENT:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=directory.fd)
    else:
        fd = directory.open_file(name)
    try:
        if os.fstat(fd).st_nlink != 1:
            raise TreeError(f"{change.entry.path} got another hard link while the module ran, so it was left as it is.")
        _apply_owner_and_mode(fd, change)
    finally:
        os.close(fd)


def _apply_socket(change: Change, name: str, parent_fd: int) -> None:
    # A socket can't be opened for reading. This opens the name itself, whatever it has become meanwhile.
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
    try:
        found = os.fstat(fd)
        if not stat.S_ISSOCK(found.st_mode) or found.st_nlink != 1:
            raise TreeError(
                f"{change.entry.path} stopped being a socket of its own while the module ran. Run it again."
            )
        # fchown and fchmod refuse a descriptor of this kind; its link leads to what was opened, not to the name.
        _apply_owner_and_mode(fd, change, f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _apply_owner_and_mode(fd: int, change: Change, reached: str | None = None) -> None:
    set_owner_and_mode(fd, change.uid, change.gid, change.after.mode, reached)


def build_diff(changes: list[Change]) -> list[dict[str, str]]:
    """One part that lists the paths, and one for each file whose content may be shown."""
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
    line += "".join(f" {user}" for user in state.users if state.users != _NO_LISTS)
    if change.entry.secret and change.before.content != change.after.content:
        line += "  secret content, " + ("as it was" if state is change.before else "new")
    return line + "\n"


def _format_content(content: bytes | None) -> str:
    if content is None:
        return ""
    if len(content) > _MAX_SHOWN:
        return f"(more than {_MAX_SHOWN} bytes, not shown)\n"
    if b"\0" in content:
        return f"({len(content)} bytes that are not text, not shown)\n"
    return content.decode("utf-8", "replace")
