# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Access control lists of files and directories, as the kernel keeps them. Private to the collection."""

from __future__ import annotations

import errno
import os
import struct
from typing import Dict, Tuple

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"

# The tags of an entry, in the order in which the kernel wants them (linux/posix_acl.h).
OWNER, USER, GROUP, NAMED_GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_CLASS = (USER, GROUP, NAMED_GROUP)
_VERSION, _NO_ID = 2, 0xFFFFFFFF
_NOT_SUPPORTED = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)

# What tag and number may do, as the three bits of a mode.
Acl = Dict[Tuple[int, int], int]


def from_mode(mode: int) -> Acl:
    """The list that says no more than a mode."""
    return {(OWNER, _NO_ID): mode >> 6 & 7, (GROUP, _NO_ID): mode >> 3 & 7, (OTHER, _NO_ID): mode & 7}


def read_acl(path: str | int, kind: str = ACCESS) -> Acl | None:
    """The list of an open file, or of a path; empty where there is none, None where the file system keeps none."""
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
    """Put a list in place. One that a mode can say becomes that mode."""
    packed = [struct.pack("<HHI", tag, bits, number) for (tag, number), bits in sorted(acl.items())]
    os.setxattr(path, kind, struct.pack("<I", _VERSION) + b"".join(packed))


def remove_default_acl(path: str | int) -> None:
    """Let what is made in a directory follow modes and umask alone again."""
    try:
        os.removexattr(path, DEFAULT)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise


def add_user(acl: Acl, uid: int, bits: int) -> Acl:
    """The list in which a user may do this as well, and nobody else more or less than before."""
    found = _apply_mask(acl)
    found[(USER, uid)] = bits
    return _add_mask(found)


def remove_users(acl: Acl, uids: set[int]) -> Acl:
    """The list without these users, and for everybody else as before."""
    found = _apply_mask(acl)
    return _add_mask({key: bits for key, bits in found.items() if key[0] != USER or key[1] not in uids})


def get_user_rights(acl: Acl) -> dict[int, int]:
    """What the users that a list names may do, the mask applied."""
    return {number: bits for (tag, number), bits in _apply_mask(acl).items() if tag == USER}


def is_minimal(acl: Acl) -> bool:
    """Whether the list says no more than a mode."""
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
