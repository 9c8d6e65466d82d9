# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings whose parts are checked: one sentence for each fault."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ansible_collections.flaskops.production.plugins.plugin_utils._settings import specs
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.environment import environment_faults
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.kinds import (
    DURATION,
    FILE,
    IS_DIRECTORY_URL,
    IS_TARGET,
    IS_UNIT_PATH,
    IS_URL_PATH,
    NETWORKS,
    SIZE,
    matches,
    shown,
)

# The application
NEXT = "-next"
# Units of the system that a host may get later, with a package. Those that it has are found there.
SYSTEM_UNITS = frozenset(
    [
        "cron",
        "dbus",
        "docker",
        "getty",
        "haproxy",
        "init",
        "networking",
        "nginx",
        "rsyslog",
        "ssh",
        "sshd",
        "systemd",
        "udev",
        "user",
    ]
)
CLOSED = matches(r"/(root|home|tmp|var/tmp|proc|sys|dev|run|etc|boot|usr|bin|sbin|lib)(/.*)?")
IS_ROOT_PATH = matches(r"(/[A-Za-z0-9_][A-Za-z0-9._-]*){2,}")
IS_SCRIPT_NAME = matches("(/[A-Za-z0-9._~-]+)+")


def name_faults(value: str, name: str) -> list[str]:
    faults = []
    if not re.fullmatch("[a-z][a-z0-9_-]{0,31}", value):
        faults.append(
            f"{name} is '{value}', but must be 1 to 32 characters: a lower-case letter, then lower-case letters, "
            "digits, "
            "'_' or '-'."
        )
    if value.endswith(NEXT):
        faults.append(
            f"{name} is '{value}', but a name must not end in '{NEXT}': {value}.service is the candidate of an "
            f"application '{value.removesuffix(NEXT)}'."
        )
    if value in SYSTEM_UNITS or value.startswith("systemd-"):
        faults.append(
            f"{name} is '{value}', but {value}.service or {value}.socket is a unit of the system: choose another name, "
            f"such as {value}-app."
        )
    return faults


def root_faults(value: str, name: str) -> list[str]:
    faults = []
    if not IS_ROOT_PATH(value) or len(value) > 80:
        faults.append(
            f"{name} is '{value}', but must be an absolute path of at least two levels and at most 80 characters, "
            "without '..', spaces or a slash at its end, such as /srv/myapp."
        )
    if CLOSED(value):
        faults.append(
            f"{name} is '{value}', which the web server can't or shouldn't reach: use a path outside /root, /home, "
            "/tmp "
            "and the system's own directories, such as /srv/myapp."
        )
    return faults


def app_environment_faults(value: Mapping, name: str) -> list[str]:
    faults = environment_faults(value, name)
    script_name = value.get("SCRIPT_NAME", "/x")
    if not IS_SCRIPT_NAME(script_name):
        faults.append(
            f"{name}.SCRIPT_NAME is '{script_name}', but must be a path that starts with a slash and does not end with "
            "one, such as /shop."
        )
    return faults


# Its processes
SANDBOX = (
    *specs.VARIABLES["gunicorn_systemd"]["__gunicorn_systemd_sandbox"],
    *[
        "BindPaths",
        "BindReadOnlyPaths",
        "DeviceAllow",
        "DevicePolicy",
        "ExecPaths",
        "InaccessiblePaths",
        "IPAddressAllow",
        "IPAddressDeny",
        "KeyringMode",
        "MemoryDenyWriteExecute",
        "NoExecPaths",
        "PrivateIPC",
        "PrivateNetwork",
        "PrivatePIDs",
        "PrivateUsers",
        "ProcSubset",
        "ReadOnlyPaths",
        "RestrictFileSystems",
        "SecureBits",
        "SocketBindAllow",
        "SocketBindDeny",
        "SupplementaryGroups",
        "SystemCallLog",
        "TemporaryFileSystem",
    ],
)
IS_CREDENTIAL = matches("[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


def credential_faults(value: Mapping, name: str) -> list[str]:
    wrong = [str(key) for key, path in value.items() if not IS_CREDENTIAL(key) or not IS_UNIT_PATH(path)]
    accepted = (
        "a name must be letters, digits, '.', '_' or '-', and its value the absolute path of a file on the host, "
        "without "
        "spaces, ':' or '%', such as /etc/myapp/database_password"
    )
    return [f"{name} has {', '.join(wrong)}, but {accepted}."] if wrong else []


OF_APPLICATION = ("client_max_body_size", "proxy_read_timeout")
OF_NO_REDIRECT = ("directory", "allow", "auth_basic_user_file", *OF_APPLICATION)


def location_faults(locations: Sequence[Mapping], name: str) -> list[str]:
    """One sentence for each fault of the further locations."""
    found = [{key: value for key, value in location.items() if value is not None} for location in locations]
    return [f"{name} has {fault}" for location in found for fault in _location_faults(location)]


def _location_faults(location: Mapping) -> list[str]:
    path, faults = location["path"], []
    if not IS_URL_PATH(path):
        faults.append(
            f"the path '{path}', but a path must be such as /admin, or /admin/ for everything below, of letters, "
            "digits "
            "and . _ ~ - between the slashes."
        )
    if "redirect" in location:
        beside = [key for key in location if key in OF_NO_REDIRECT]
        if beside:
            faults.append(
                f"{' and '.join(beside)} beside redirect ('{location['redirect']}'), but a redirect is for everyone: "
                "leave one of them out."
            )
        if not IS_TARGET(location["redirect"]):
            faults.append(
                f"the redirect '{location['redirect']}', but must be a URL or an absolute path, such as "
                "https://example.org/new, without white space and variables of Nginx."
            )
    if "directory" in location:
        if not FILE.accepts(location["directory"]) or not IS_DIRECTORY_URL(path):
            faults.append(
                f"the directory '{location['directory']}' for the path '{path}', but a directory must be an "
                "absolute path "
                "without a slash at its end, and its path must end with one, such as /srv/docs for /docs/."
            )
        beside = [key for key in location if key in OF_APPLICATION]
        if beside:
            faults.append(
                f"{' and '.join(beside)} beside directory ('{location['directory']}'), but these are for what the "
                "application answers: leave one of them out."
            )
    addresses = [shown(item) for item in location.get("allow", []) if not NETWORKS.accepts(item)]
    if addresses:
        faults.append(f"allow with {', '.join(addresses)}, but must {NETWORKS.accepted}.")
    for key, kind in OF_LOCATION.items():
        if key in location and not kind.accepts(location[key]):
            faults.append(f"the {key} {shown(location[key])}, but must be {kind.accepted}.")
    return faults


OF_LOCATION = {
    "auth_basic_user_file": FILE,
    "client_max_body_size": SIZE.such_as("100m"),
    "proxy_read_timeout": DURATION.such_as("5m"),
}

# Its releases
IS_HEADER = matches(r"(?i:(?!(host|connection|content-length|transfer-encoding)\Z)[a-z][a-z0-9-]*)")
IS_HEADER_VALUE = matches("[ -~]+")


def header_faults(value: Mapping, name: str) -> list[str]:
    wrong = [shown(str(key)) for key, text in value.items() if not IS_HEADER(key) or not IS_HEADER_VALUE(text)]
    accepted = (
        "hold names of headers other than Host, which release_health_host sets, and for each of them one line of text"
    )
    return [f"{name} has {', '.join(wrong)}, but must {accepted}."] if wrong else []
