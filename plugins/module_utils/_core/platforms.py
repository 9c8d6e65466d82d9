# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supported distributions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# The same as galaxy_info.platforms of the roles. Derivatives may differ in packages and defaults and are not tested.
SUPPORTED = {"debian": ("Debian", ("12", "13")), "ubuntu": ("Ubuntu", ("22.04", "24.04", "26.04"))}
# The first existing file is used, see os-release(5).
FILES = ("/etc/os-release", "/usr/lib/os-release")
ASSIGNMENT = re.compile(r"""^([A-Z_0-9]+)=(?:"([^"]*)"|'([^']*)'|(\S*))\s*$""", re.MULTILINE)


def require_supported_platform(module: AnsibleModule) -> None:
    """Fail the module on an unsupported host."""
    reason = check_platform()
    if reason:
        module.fail_json(msg=reason)


def check_platform() -> str:
    """Return why this host is not supported, or an empty string if it is."""
    return check_os_release(_read_os_release())


def get_system() -> str:
    """Return the system of this host, such as `debian 13`, or an empty string if it is unknown."""
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
    """Return why a system with this content of os-release is not supported, or an empty string if it is."""
    values = {name: "".join(value) for name, *value in ASSIGNMENT.findall(os_release)}
    known = SUPPORTED.get(values.get("ID", ""))
    if known and values.get("VERSION_ID") in known[1]:
        return ""
    name = values.get("PRETTY_NAME") or values.get("NAME") or values.get("ID") or "a system without os-release"
    return f"This host runs {name}, but only {format_supported()} are supported."


def format_supported() -> str:
    """Format the supported systems for a sentence."""
    return " and ".join(f"{name} {_format_versions(versions)}" for name, versions in SUPPORTED.values())


def _format_versions(versions: tuple[str, ...]) -> str:
    return f"{', '.join(versions[:-1])} and {versions[-1]}" if len(versions) > 2 else " and ".join(versions)
