# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare entries with the host, and plan the necessary changes. No link of another user is followed."""

from __future__ import annotations

import os
import stat
from typing import Callable

from ansible_collections.flaskops.production.plugins.module_utils._core.accounts import get_group_name, get_user_name
from ansible_collections.flaskops.production.plugins.module_utils._files import acl as acl_module
from ansible_collections.flaskops.production.plugins.module_utils._files.directory import (
    Directory,
    UnsafePathError,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.entries import (
    ABSENT,
    MAX_SHOWN_BYTES,
    NO_LISTS,
    Change,
    ForeignError,
    PathEntry,
    PathState,
    TreeError,
    find_group_id,
    find_user_id,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.foreign import (
    find_directory_conflict,
    find_file_conflict,
    read_application,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.paths import MAX_LINKS, PathWalk
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import (
    open_directory_safely,
)

_PARENT_MODE = 0o755
_KINDS = {
    stat.S_IFDIR: "directory",
    stat.S_IFREG: "file",
    stat.S_IFSOCK: "socket",
    stat.S_IFIFO: "named pipe",
    stat.S_IFBLK: "block device",
    stat.S_IFCHR: "character device",
}


def find_conflicts(entries: list[PathEntry], adopt: bool = False) -> list[str]:
    """Return a sentence for each path that belongs to another application, or is of unknown origin."""
    found = []
    for entry in entries:
        if entry.application and entry.kind == "directory":
            found.append(find_directory_conflict(entry.path, entry.application, adopt))
        elif entry.application and entry.content is not None:
            found.append(find_file_conflict(entry.path, entry.application, adopt))
    return [reason for reason in found if reason]


def plan_changes(entries: list[PathEntry], check_mode: bool = False, adopt: bool = False) -> list[Change]:
    """Compare the entries with the host, and return the necessary changes in order.

    Raises TreeError for a path that cannot be created or corrected.
    """
    reasons = find_conflicts(entries, adopt)
    if reasons:
        raise ForeignError(" ".join(reasons))
    real_paths: dict[str, tuple[str, str]] = {}
    # The owners of the listed directories after and before the changes.
    owners: dict[str, int] = {}
    former: dict[str, int] = {}
    changes = []
    for entry in entries:
        real_path, missing = _resolve_entry(entry, real_paths)
        trusted = _find_owners_above(entry, owners)
        _check_parents(entry, real_path, trusted | _find_owners_above(entry, former))
        if entry.kind == "absent":
            changes += [change._replace(trusted=trusted) for change in _plan_removal(entry, real_path)]
            continue
        for parent in missing:
            # The real path of the parent is that of the entry without the last names.
            depth = entry.path[len(parent) :].count("/")
            parent_real_path = real_path.rsplit("/", depth)[0]
            implied = PathEntry(path=parent, kind="directory", mode=_PARENT_MODE)
            real_paths[parent] = (parent_real_path, "directory")
            changes.append(_compare_entry(implied, parent_real_path, check_mode)._replace(trusted=trusted))
        real_paths[entry.path] = (real_path, entry.kind)
        change = _compare_entry(entry, real_path, check_mode)._replace(trusted=trusted)
        owners[entry.path] = change.uid
        former[entry.path] = change.uid if change.before == ABSENT else find_user_id(change.before.owner) or 0
        changes.append(change)
    return [change for change in changes if change.before != change.after]


def _find_owners_above(entry: PathEntry, owners: dict[str, int]) -> frozenset[int]:
    """Return the owners of the listed directories above an entry."""
    return frozenset(uid for path, uid in owners.items() if entry.path.startswith(path + "/"))


def _check_parents(entry: PathEntry, real_path: str, trusted: frozenset[int]) -> None:
    """Raise TreeError if a user who is not trusted can replace a directory above the path."""
    try:
        with open_directory_safely(os.path.dirname(real_path), trusted, links=False):
            pass
    except FileNotFoundError:
        pass  # This task creates it.
    except UnsafePathError as error:
        raise TreeError(f"{entry.path} cannot be created: {error}") from error
    except OSError as error:
        raise TreeError(f"{entry.path} cannot be opened: {error.filename}: {error.strerror}.") from error


def _resolve_entry(entry: PathEntry, real_paths: dict[str, tuple[str, str]]) -> tuple[str, list[str]]:
    """Return the path of an entry without links, and the missing directories above it."""
    above = os.path.dirname(entry.path)
    listed = above
    while listed not in real_paths and listed != "/":
        listed = os.path.dirname(listed)
    if listed in real_paths:
        real_path, kind = real_paths[listed]
        if kind != "directory":
            raise TreeError(f"{entry.path} cannot be created: {listed} above it is listed as a file.")
        names, follow = [name for name in above[len(listed) :].split("/") if name], False
    else:
        real_path, names, follow = "/", [name for name in above.split("/") if name], True
    real_path, absent = _resolve_directories(entry.path, real_path, names, follow)
    missing: list[str] = []
    # Sockets and absent files are never created, so they need no directory.
    for _name in range(0 if entry.kind in ("absent", "socket") else absent):
        missing.insert(0, above)
        above = os.path.dirname(above)
    if missing and not entry.parents:
        raise TreeError(
            f"{entry.path} cannot be created: the directory {missing[0]} is missing. "
            f"List it earlier in entries, or set parents to true for {entry.path}."
        )
    return os.path.join(real_path, os.path.basename(entry.path)), missing


def _resolve_directories(path: str, start: str, names: list[str], follow: bool) -> tuple[str, int]:
    """Resolve names below a directory. Returns the path without links, and the number of missing names at its end."""
    walk = PathWalk(names, start)
    try:
        for step in walk:
            if step.info is None:
                return os.path.join(step.path, *walk.pending[::-1]), len(walk.pending) + 1
            if step.is_link():
                _check_link(path, step.path, step.info, follow, walk.links)
            elif not stat.S_ISDIR(step.info.st_mode):
                raise TreeError(
                    f"{path} cannot be created: {step.path} is not a directory. Move it away, or set another path."
                )
    except OSError as error:
        raise TreeError(f"{path} cannot be opened: {error.filename}: {error.strerror}.") from error
    return walk.directory, 0


def _check_link(path: str, link: str, found: os.stat_result, follow: bool, links: int) -> None:
    if not follow:
        raise TreeError(
            f"{link}, above {path}, is a symbolic link to {os.readlink(link)}, which is not followed. "
            "Replace it by a directory, or list the path that it points to."
        )
    trusted = {0, os.geteuid()}
    if found.st_uid not in trusted or os.lstat(os.path.dirname(link)).st_uid not in trusted:
        raise TreeError(
            f"{link}, above {path}, is a symbolic link that a user other than root can replace. "
            "List the path that it points to, or give the link and its directory to root."
        )
    if links > MAX_LINKS or not os.path.isdir(link):
        raise TreeError(f"{path} cannot be created: {link} is a symbolic link that does not lead to a directory.")


def _compare_entry(entry: PathEntry, real_path: str, check_mode: bool) -> Change:
    before, found = _read_state(entry, real_path)
    old_uid, old_gid = (os.geteuid(), os.getegid()) if found is None else (found.st_uid, found.st_gid)
    uid, owner = _resolve_owner(entry, "owner", entry.owner, old_uid, find_user_id, get_user_name, check_mode)
    gid, group = _resolve_owner(entry, "group", entry.group, old_gid, find_group_id, get_group_name, check_mode)
    content = before.content if entry.content is None else entry.content
    after = PathState(entry.kind, owner, group, entry.mode, content, _plan_users(entry, before, check_mode))
    if entry.kind == "socket" and found is None:
        # Only the listening process can create a socket.
        after = ABSENT
    change = Change(entry, real_path, uid, gid, before, after)
    _check_permissions(change, found)
    return change


def _plan_removal(entry: PathEntry, real_path: str) -> list[Change]:
    before, found = _read_state(entry._replace(kind="file", content=b""), real_path)
    if found is None or entry.application and read_application(real_path) != entry.application:
        return []
    if os.geteuid() not in (0, os.lstat(os.path.dirname(real_path)).st_uid):
        user = get_user_name(os.geteuid())
        raise TreeError(
            f"{entry.path} cannot be removed: the user {user} lacks permission. Run the task with become: true."
        )
    return [Change(entry, real_path, found.st_uid, found.st_gid, before, ABSENT)]


def _resolve_owner(
    entry: PathEntry,
    option: str,
    wanted: str | None,
    current: int,
    to_id: Callable[[str], int | None],
    to_name: Callable[[int], str],
    check_mode: bool,
) -> tuple[int, str]:
    """Return ID and name of the wanted owner or group. The ID is -1 if it does not exist in check mode."""
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
    """Return the users of the future access control list, or the current ones without support for lists."""
    if entry.users is None or before.users == NO_LISTS:
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
    """Return the users of the access control list, if the entry has users."""
    if entry.users is None:
        return ()
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
    try:
        acl = acl_module.read_acl(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    if acl is None:
        return NO_LISTS
    return tuple(
        sorted(f"{get_user_name(uid)}={_format_rights(bits)}" for uid, bits in acl_module.get_user_rights(acl).items())
    )


def _format_rights(bits: int) -> str:
    return "".join(letter if bits & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))


def _read_state(entry: PathEntry, real_path: str) -> tuple[PathState, os.stat_result | None]:
    """Return the state and the status of a path. The status is None if the path does not exist."""
    parent, name = os.path.split(real_path)
    try:
        with open_directory_safely(parent, reading=True, links=False) as directory:
            found = directory.lstat(name)
            if stat.S_ISLNK(found.st_mode):
                raise TreeError(
                    f"{entry.path} is a symbolic link to {directory.read_link(name)}. It was not changed: "
                    "remove the link, or list the path that it points to."
                )
            kind = _KINDS.get(stat.S_IFMT(found.st_mode), "special file")
            if kind != entry.kind:
                raise TreeError(
                    f"{entry.path} is a {kind}, not a {entry.kind}. It was not changed: "
                    "move it away, or set type to its type."
                )
            content = None if entry.content is None else _read_content(name, directory, len(entry.content))
            users = _read_users(entry, name, directory.fd)
    except FileNotFoundError:
        return ABSENT, None
    except UnsafePathError as error:
        raise TreeError(f"{entry.path} cannot be read: {error}") from error
    except OSError as error:
        raise TreeError(f"{entry.path} cannot be read: {error.strerror}.") from error
    mode = stat.S_IMODE(found.st_mode)
    return PathState(kind, get_user_name(found.st_uid), get_group_name(found.st_gid), mode, content, users), found


def _read_content(name: str, directory: Directory, expected: int) -> bytes:
    """Read a file as far as a comparison and a diff need it."""
    with directory.open_stream(name) as stream:
        return stream.read(max(expected, MAX_SHOWN_BYTES) + 1)


def _check_permissions(change: Change, found: os.stat_result | None) -> None:
    """Raise TreeError for a change that the kernel would refuse, or that would affect other hard links."""
    entry, before, after = change.entry, change.before, change.after
    if before == after:
        return
    replaced = before.content != after.content
    if found is not None and entry.kind != "directory" and not replaced and found.st_nlink > 1:
        raise TreeError(
            f"{entry.path} has {found.st_nlink} hard links, and a change of owner or mode would affect all of them. "
            "Replace it by a copy (cp, then mv)."
        )
    euid = os.geteuid()
    if euid == 0:
        return
    groups = {os.getegid(), *os.getgroups()}
    foreign = found is not None and found.st_uid != euid and not replaced
    gives_away = change.uid != euid or (change.gid not in groups and (found is None or change.gid != found.st_gid))
    if foreign or gives_away:
        raise TreeError(
            f"{entry.path} cannot be changed to {after.owner}:{after.group} {after.mode:04o}: the user "
            f"{get_user_name(euid)} lacks permission. Run the task with become: true."
        )
