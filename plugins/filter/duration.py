# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A filter for time values of Nginx."""

from __future__ import annotations

import re

SECONDS = {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600}


def nginx_seconds(value: object) -> int:
    """Convert a time of Nginx to whole seconds, rounded up. Return 0 if it is invalid; nginx_site rejects it then."""
    match = re.fullmatch(r"([0-9]+)(ms|s|m|h)?", str(value))
    return -int(-int(match[1]) * SECONDS[match[2] or ""] // 1) if match else 0


class FilterModule:
    """The filter for times."""

    def filters(self) -> dict:
        return {"nginx_seconds": nginx_seconds}
