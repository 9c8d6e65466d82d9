# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times as Nginx writes them."""

from __future__ import annotations

import re

SECONDS = {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600}


def nginx_seconds(value: object) -> int:
    """A time of Nginx in whole seconds, rounded up; 0 for what is none, which the rules of nginx_site refuse."""
    match = re.fullmatch(r"([0-9]+)(ms|s|m|h)?", str(value))
    return -int(-int(match[1]) * SECONDS[match[2] or ""] // 1) if match else 0


class FilterModule:
    """Filters for times."""

    def filters(self) -> dict:
        return {"nginx_seconds": nginx_seconds}
