# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command and environment variables for which a release has been migrated.

All users can read the record of a release. It holds a salted, slow digest, from which values cannot be guessed.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

ROUNDS = 100_000


def describe_migration(command: str, env_file: str) -> dict[str, str]:
    """Return the description of a migration with this command and environment file, for the record of a release."""
    return _compute_digest(command, env_file, os.urandom(16))


def is_migrated(migration: Any, command: str, env_file: str) -> bool:
    """Return whether a record describes a migration with this command and these environment variables."""
    try:
        salt = bytes.fromhex(migration["salt"])
    except (KeyError, TypeError, ValueError):
        return False
    return migration == _compute_digest(command, env_file, salt)


def _compute_digest(command: str, env_file: str, salt: bytes) -> dict[str, str]:
    content = "\0".join([command.strip(), *_read_assignments(env_file)]).encode("utf-8", "surrogateescape")
    return {"salt": salt.hex(), "digest": hashlib.pbkdf2_hmac("sha256", content, salt, ROUNDS).hex()}


def _read_assignments(env_file: str) -> list[str]:
    """Return the assignments of an environment file, sorted, because comments and order have no effect."""
    try:
        with open(env_file, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.strip() for line in file]
    except FileNotFoundError:
        return []
    return sorted(line for line in lines if line and not line.startswith(("#", ";")))
