# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Access control lists of files and directories, in the kernel's format."""

from __future__ import annotations

import errno
import os
import struct
from typing import Dict, Tuple

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"

# The tags of an entry, in the order that the kernel requires (linux/posix_acl.h).
OWNER, USER, GROUP, NAMED_GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_CLASS = (USER, GROUP, NAMED_GROUP)
_VERSION, _NO_ID = 2, 0xFFFFFFFF
_NOT_SUPPORTED = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)

# From tag and ID to permissions, as the three bits of a mode.
Acl = Dict[Tuple[int, int], int]


def from_mode(mode: int) -> Acl:
    """Return the minimal list, which is equivalent to a mode."""
    return {(OWNER, _NO_ID): mode >> 6 & 7, (GROUP, _NO_ID): mode >> 3 & 7, (OTHER, _NO_ID): mode & 7}


def read_acl(path: str | int, kind: str = ACCESS) -> Acl | None:
    """Return the list of a path or descriptor: empty if there is none, None if the file system does not support it."""
    try:
        data = os.getxattr(path, kind)
    except OSError as error:
        if error.errno == errno.ENODATA:
            return {}
        if error.errno in _NOT_SUPPORTED:
            return None
        raise
    return {(tag, number): bits for tag, bits, number in struct.iter_unpack("<HHI", data[4:])}


def write_acl(path: str | int, acl: Acl, kind: str = ACCESS) -> None:
    """Set the list of a path or descriptor. The kernel stores a minimal list as the mode."""
    packed = [struct.pack("<HHI", tag, bits, number) for (tag, number), bits in sorted(acl.items())]
    os.setxattr(path, kind, struct.pack("<I", _VERSION) + b"".join(packed))


def remove_default_acl(path: str | int) -> None:
    """Remove the default list of a directory, so that new files get their mode from the umask again."""
    try:
        os.removexattr(path, DEFAULT)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise


def add_user(acl: Acl, uid: int, bits: int) -> Acl:
    """Return the list with permissions for one more user. The effective permissions of all others stay the same."""
    found = _apply_mask(acl)
    found[(USER, uid)] = bits
    return _add_mask(found)


def remove_users(acl: Acl, uids: set[int]) -> Acl:
    """Return the list without some users. The effective permissions of all others stay the same."""
    found = _apply_mask(acl)
    return _add_mask({key: bits for key, bits in found.items() if key[0] != USER or key[1] not in uids})


def get_user_rights(acl: Acl) -> dict[int, int]:
    """Return the effective permissions of the users in a list, by user ID."""
    return {number: bits for (tag, number), bits in _apply_mask(acl).items() if tag == USER}


def is_minimal(acl: Acl) -> bool:
    """Return whether the list is equivalent to a mode."""
    return not any(tag in (USER, NAMED_GROUP) for tag, _number in acl)


def _apply_mask(acl: Acl) -> Acl:
    mask = acl.get((MASK, _NO_ID), 7)
    return {key: bits & mask if key[0] in _CLASS else bits for key, bits in acl.items() if key[0] != MASK}


def _add_mask(acl: Acl) -> Acl:
    if is_minimal(acl):
        return acl
    mask = 0
    for (tag, _number), bits in acl.items():
        mask |= bits if tag in _CLASS else 0
    return {**acl, (MASK, _NO_ID): mask}
