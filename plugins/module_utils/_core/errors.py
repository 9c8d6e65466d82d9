# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Expected errors of modules. Their messages are complete sentences for the user."""

from __future__ import annotations

from typing import Any


class ModuleError(Exception):
    """An expected error, which a module reports as its failure."""

    def result(self) -> dict[str, Any]:
        """Return what the failed module returns besides the message."""
        return {}


class ReleaseError(ModuleError):
    """A release, a unit or the layout of an application that does not allow the requested change."""
