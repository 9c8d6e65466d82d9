# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of findings by id: severity, title, reason and remedy.

docs/doctor.md has a section for each of them.
"""

from __future__ import annotations

from ansible_collections.flaskops.production.plugins.module_utils._doctor.kinds.files import CODE, OWNERS, PLACE
from ansible_collections.flaskops.production.plugins.module_utils._doctor.kinds.host import FLEET, HOST
from ansible_collections.flaskops.production.plugins.module_utils._doctor.kinds.kind import FindingKind
from ansible_collections.flaskops.production.plugins.module_utils._doctor.kinds.nginx import NGINX
from ansible_collections.flaskops.production.plugins.module_utils._doctor.kinds.releases import RELEASES
from ansible_collections.flaskops.production.plugins.module_utils._doctor.kinds.service import PROCESS, SOCKET, UNIT

SEVERITIES = ("ok", "note", "warning", "error")

KINDS_BY_THEME: dict[str, dict[str, FindingKind]] = {
    "Place": PLACE,
    "Owners and modes": OWNERS,
    "Code and data": CODE,
    "Releases": RELEASES,
    "Process": PROCESS,
    "Unit": UNIT,
    "Socket": SOCKET,
    "Nginx": NGINX,
    "Host": HOST,
    "Fleet": FLEET,
}

KINDS: dict[str, FindingKind] = {name: kind for kinds in KINDS_BY_THEME.values() for name, kind in kinds.items()}


def find_worst_severity(severities: list[str]) -> str:
    """Return the worst severity, or ok if there are no findings."""
    return max(severities, key=SEVERITIES.index, default="ok")
