# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Expected errors of modules. Their messages are complete sentences for the user."""

from __future__ import annotations

import errno
from typing import Any

from ansible_collections.flaskops.production.plugins.module_utils._core.text import one_line


class ModuleError(Exception):
    """An expected error, which a module reports as its failure. details are returned with it."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.details = details

    def result(self) -> dict[str, Any]:
        """Return the values that the failed module returns besides the message."""
        return self.details


class ReleaseError(ModuleError):
    """A release, a unit or the layout of an application that does not allow the requested change."""


def format_error(error: Exception, directory: str) -> str:
    """Format an error for an operator.

    The kernel names no path if a write fails for lack of space; the directory is named instead.
    """
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    path = error.filename2 or error.filename or directory
    prefix = f"{one_line(str(path))}: " if path else ""
    remedy = " Make room on its file system, and run again." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return f"{prefix}{error.strerror}.{remedy}"
