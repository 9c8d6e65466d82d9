# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of settings with several parts. Each returns a sentence for each problem."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ansible_collections.flaskops.production.plugins.plugin_utils._settings import specs
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.environment import check_environment
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
    quote_value,
)

# The application
NEXT = "-next"
# Units of packages that a host may get later. Units that a host has are detected there.
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


def check_name(value: str, name: str) -> list[str]:
    problems = []
    if not re.fullmatch("[a-z][a-z0-9_-]{0,31}", value):
        problems.append(
            f"{name} is '{value}', but must be 1 to 32 characters: a lower-case letter, then lower-case letters, "
            "digits, '_' or '-'."
        )
    if value.endswith(NEXT):
        problems.append(
            f"{name} is '{value}', but a name must not end in '{NEXT}': {value}.service is the candidate of an "
            f"application '{value.removesuffix(NEXT)}'."
        )
    if value in SYSTEM_UNITS or value.startswith("systemd-"):
        problems.append(
            f"{name} is '{value}', but {value}.service or {value}.socket is a unit of the system: choose another name, "
            f"such as {value}-app."
        )
    return problems


def check_root(value: str, name: str) -> list[str]:
    problems = []
    if not IS_ROOT_PATH(value) or len(value) > 80:
        problems.append(
            f"{name} is '{value}', but must be an absolute path of at least two levels and at most 80 characters, "
            "without '..', spaces or a slash at its end, such as /srv/myapp."
        )
    if CLOSED(value):
        problems.append(
            f"{name} is '{value}', which the web server cannot or should not reach: use a path outside /root, /home, "
            "/tmp and the system's own directories, such as /srv/myapp."
        )
    return problems


def check_app_environment(value: Mapping, name: str) -> list[str]:
    problems = check_environment(value, name)
    script_name = value.get("SCRIPT_NAME", "/x")
    if not IS_SCRIPT_NAME(script_name):
        problems.append(
            f"{name}.SCRIPT_NAME is '{script_name}', but must be a path that starts with a slash and does not end with "
            "one, such as /shop."
        )
    return problems


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


def check_credentials(value: Mapping, name: str) -> list[str]:
    wrong = [str(key) for key, path in value.items() if not IS_CREDENTIAL(key) or not IS_UNIT_PATH(path)]
    accepted = (
        "a name must be letters, digits, '.', '_' or '-', and its value the absolute path of a file on the host, "
        "without spaces, ':' or '%', such as /etc/myapp/database_password"
    )
    return [f"{name} has {', '.join(wrong)}, but {accepted}."] if wrong else []


PROXY_OPTIONS = ("client_max_body_size", "proxy_read_timeout")
OPTIONS_WITHOUT_REDIRECT = ("directory", "allow", "auth_basic_user_file", *PROXY_OPTIONS)


def check_locations(locations: Sequence[Mapping], name: str) -> list[str]:
    """Check nginx_site_locations."""
    found = [{key: value for key, value in location.items() if value is not None} for location in locations]
    return [f"{name} has {problem}" for location in found for problem in _check_location(location)]


def _check_location(location: Mapping) -> list[str]:
    path, problems = location["path"], []
    if not IS_URL_PATH(path):
        problems.append(
            f"the path '{path}', but a path must be such as /admin, or /admin/ for everything below, of letters, "
            "digits and . _ ~ - between the slashes."
        )
    if "redirect" in location:
        beside = [key for key in location if key in OPTIONS_WITHOUT_REDIRECT]
        if beside:
            problems.append(
                f"{' and '.join(beside)} beside redirect ('{location['redirect']}'), but a redirect is for everyone: "
                "leave one of them out."
            )
        if not IS_TARGET(location["redirect"]):
            problems.append(
                f"the redirect '{location['redirect']}', but must be a URL or an absolute path, such as "
                "https://example.org/new, without white space and variables of Nginx."
            )
    if "directory" in location:
        if not FILE.accepts(location["directory"]) or not IS_DIRECTORY_URL(path):
            problems.append(
                f"the directory '{location['directory']}' for the path '{path}', but a directory must be an "
                "absolute path "
                "without a slash at its end, and its path must end with one, such as /srv/docs for /docs/."
            )
        beside = [key for key in location if key in PROXY_OPTIONS]
        if beside:
            problems.append(
                f"{' and '.join(beside)} beside directory ('{location['directory']}'), but these apply to "
                "requests to the application: leave one of them out."
            )
    addresses = [quote_value(item) for item in location.get("allow", []) if not NETWORKS.accepts(item)]
    if addresses:
        problems.append(f"allow with {', '.join(addresses)}, but must {NETWORKS.accepted}.")
    for key, kind in LOCATION_KINDS.items():
        if key in location and not kind.accepts(location[key]):
            problems.append(f"the {key} {quote_value(location[key])}, but must be {kind.accepted}.")
    return problems


LOCATION_KINDS = {
    "auth_basic_user_file": FILE,
    "client_max_body_size": SIZE.with_example("100m"),
    "proxy_read_timeout": DURATION.with_example("5m"),
}

# Its releases
IS_HEADER = matches(r"(?i:(?!(host|connection|content-length|transfer-encoding)\Z)[a-z][a-z0-9-]*)")
IS_HEADER_VALUE = matches("[ -~]+")


def check_headers(value: Mapping, name: str) -> list[str]:
    wrong = [quote_value(str(key)) for key, text in value.items() if not IS_HEADER(key) or not IS_HEADER_VALUE(text)]
    accepted = (
        "hold names of headers other than Host, which release_health_host sets, and for each of them one line of text"
    )
    return [f"{name} has {', '.join(wrong)}, but must {accepted}."] if wrong else []
