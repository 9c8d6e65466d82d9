# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that write environment files for systemd's EnvironmentFile= and check their variables."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ansible.errors import AnsibleFilterError

from ansible_collections.flaskops.production.plugins.plugin_utils._settings.environment import environment_faults, plain

# systemd.exec(5), EnvironmentFile=: within double quotes, a backslash keeps each of these as it is.
SPECIAL = re.compile(r'(["\\`$])')


def environment_file(environment: Mapping) -> str:
    """The text of an environment file, sorted by name. A value of several lines stands in its quotes as it is."""
    errors = environment_faults(environment)
    if errors:
        raise AnsibleFilterError(" ".join(errors))
    quoted = {name: SPECIAL.sub(r"\\\1", str(plain(environment[name]))) for name in sorted(environment)}
    return "".join(f'{name}="{value}"\n' for name, value in quoted.items())


class FilterModule:
    """Filters for environment files."""

    def filters(self) -> dict:
        return {"environment_file": environment_file}
