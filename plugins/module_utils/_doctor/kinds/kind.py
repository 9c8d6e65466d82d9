# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The form of a kind of finding."""

from __future__ import annotations

from typing import NamedTuple


class FindingKind(NamedTuple):
    """A kind of finding. The remedy is a template for the values of a finding."""

    severity: str
    title: str
    reason: str
    remedy: str
