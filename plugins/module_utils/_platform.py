# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which systems a host may run. Private."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# The same as galaxy_info.platforms of the roles. A derivative may differ in package names, versions and defaults, and
# no test runs there, so only the systems themselves count.
SUPPORTED = {"debian": ("Debian", ("12", "13")), "ubuntu": ("Ubuntu", ("22.04", "24.04", "26.04"))}
# os-release(5): the first of them that exists counts.
FILES = ("/etc/os-release", "/usr/lib/os-release")
ASSIGNMENT = re.compile(r"""^([A-Z_0-9]+)=(?:"([^"]*)"|'([^']*)'|(\S*))\s*$""", re.MULTILINE)


def require_supported_platform(module: AnsibleModule) -> None:
    """End the module on a host of which no test runs, before anything is changed there."""
    reason = check_platform()
    if reason:
        module.fail_json(msg=reason)


def check_platform() -> str:
    """Why this host is not supported, as a sentence; empty where it is."""
    return check_os_release(_read_os_release())


def get_system() -> str:
    """The system of this host, such as `debian 13`; empty where it does not tell."""
    values = {name: "".join(value) for name, *value in ASSIGNMENT.findall(_read_os_release())}
    return f"{values.get('ID', '')} {values.get('VERSION_ID', '')}".strip()


def _read_os_release() -> str:
    for path in FILES:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            continue
    return ""


def check_os_release(os_release: str) -> str:
    """Why a system with this os-release is not supported, as a sentence; empty where it is."""
    values = {name: "".join(value) for name, *value in ASSIGNMENT.findall(os_release)}
    known = SUPPORTED.get(values.get("ID", ""))
    if known and values.get("VERSION_ID") in known[1]:
        return ""
    name = values.get("PRETTY_NAME") or values.get("NAME") or values.get("ID") or "a system without os-release"
    return f"This host runs {name}, but only {format_supported()} are supported."


def format_supported() -> str:
    """The supported systems, as a sentence lists them."""
    return " and ".join(f"{name} {_format_versions(versions)}" for name, versions in SUPPORTED.values())


def _format_versions(versions: tuple[str, ...]) -> str:
    return f"{', '.join(versions[:-1])} and {versions[-1]}" if len(versions) > 2 else " and ".join(versions)
