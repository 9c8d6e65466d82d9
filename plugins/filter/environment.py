# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that write environment files for systemd's EnvironmentFile= and check their variables."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ansible.errors import AnsibleFilterError

from ansible_collections.flaskops.production.plugins.plugin_utils._settings.environment import (
    check_environment,
    decrypt_text,
)

# systemd.exec(5), EnvironmentFile=: a backslash escapes these characters in double quotes.
SPECIAL = re.compile(r'(["\\`$])')


def environment_file(environment: Mapping) -> str:
    """Return the text of an environment file, sorted by name. Line breaks in quoted values are kept."""
    errors = check_environment(environment)
    if errors:
        raise AnsibleFilterError(" ".join(errors))
    quoted = {name: SPECIAL.sub(r"\\\1", str(decrypt_text(environment[name]))) for name in sorted(environment)}
    return "".join(f'{name}="{value}"\n' for name, value in quoted.items())


class FilterModule:
    """Filters for environment files."""

    def filters(self) -> dict:
        return {"environment_file": environment_file}
