# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Translate the unit of an adopted service into settings of the roles."""

from __future__ import annotations

import re
from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import parse_unit_lines

# Directives with a setting of their own, and the values that it accepts.
LIMITS = {
    "MemoryMax": ("gunicorn_systemd_memory_max", r"[0-9]+[KMGT]?|[0-9]+([.][0-9]+)?%"),
    "TasksMax": ("gunicorn_systemd_tasks_max", r"[0-9]+%?|infinity"),
    "LimitNOFILE": ("gunicorn_systemd_limit_nofile", r"[0-9]+(:[0-9]+)?|infinity"),
    "CPUQuota": ("gunicorn_systemd_cpu_quota", r"[0-9]+([.][0-9]+)?%"),
}
# Directives that become a drop-in unchanged: groups, limits, priorities and dependencies.
OVERRIDES = {
    "Unit": re.compile(r"(After|Wants|Requires|BindsTo|PartOf|Requisite|RequiresMountsFor)$"),
    "Service": re.compile(
        r"(SupplementaryGroups|Nice|Slice|OOM\w+|Limit\w+|Memory(High|Low|Min|SwapMax)|CPU(Weight|Affinity|Scheduling\w+)"
        r"|IO(Weight|Scheduling\w+)|IPAddress(Allow|Deny)|AllowedCPUs)$"
    ),
}
# Units that the role orders the service after, or that need no explicit order.
AFTER_ANYWAY = {"network.target", "network-online.target", "syslog.target", "basic.target", "sysinit.target"}
# Directives that the role sets, that the derived settings represent, or that do not concern the application.
UNDERSTOOD = {
    *("Description", "Documentation", "DefaultDependencies", "ConditionPathExists", "WantedBy", "Also", "Alias"),
    *("StartLimitIntervalSec", "StartLimitInterval", "StartLimitBurst", "ListenStream", "SocketUser", "SocketGroup"),
    *("SocketMode", "Backlog", "Type", "User", "Group", "WorkingDirectory", "ExecStart", "ExecReload", "PIDFile"),
    *("Restart", "RestartSec", "Environment", "EnvironmentFile", "KillMode", "KillSignal", "TimeoutStopSec"),
    *("TimeoutStartSec", "TimeoutSec", "StandardOutput", "StandardError", "SyslogIdentifier", "NotifyAccess"),
    *("RuntimeDirectory", "RuntimeDirectoryMode", "Sockets", "PrivateTmp", "NoNewPrivileges", "PrivateDevices"),
    *("ProtectClock", "ProtectControlGroups", "ProtectHome", "ProtectHostname", "ProtectKernelLogs", "ProtectProc"),
    *("ProtectKernelModules", "ProtectKernelTunables", "ProtectSystem", "RemoveIPC", "RestrictNamespaces"),
    *("RestrictRealtime", "RestrictSUIDSGID", "LockPersonality", "ReadWritePaths", "ReadWriteDirectories"),
    *("SystemCallArchitectures", "CapabilityBoundingSet", "AmbientCapabilities"),
}


class UnitSettings(NamedTuple):
    """Settings of the roles, and the directives without a setting."""

    variables: dict[str, object]
    left: list[str]


def parse_unit(text: str) -> dict[tuple[str, str], list[str]]:
    """Parse the output of `systemctl cat`. Return the values of each directive by section and name."""
    found: dict[tuple[str, str], list[str]] = {}
    for section, line in parse_unit_lines(text):
        name, separator, value = (part.strip() for part in line.partition("="))
        if separator and value:
            found.setdefault((section, name), []).append(value)
        elif separator:
            # An empty value resets the directive.
            found.pop((section, name), None)
    return found


def read_unit_settings(text: str, own: set[str]) -> UnitSettings:
    """Return the settings for a unit's text. `own` are the units of the old application, which are replaced."""
    variables: dict[str, object] = {}
    overrides: dict[str, dict[str, list[str]]] = {}
    left = []
    for (section, name), values in parse_unit(text).items():
        if section == "Service" and name in LIMITS and re.fullmatch(LIMITS[name][1], values[-1]):
            variables[LIMITS[name][0]] = values[-1]
        elif section == "Service" and name == "UMask" and re.fullmatch(r"[0-7]{3,4}", values[-1]):
            variables["gunicorn_systemd_hardening"] = {"UMask": values[-1]}
        elif section in OVERRIDES and OVERRIDES[section].match(name):
            wanted = [word for value in values for word in value.split() if word not in AFTER_ANYWAY | own]
            kept = wanted if section == "Unit" else values
            if kept:
                overrides.setdefault(section, {})[name] = kept
        elif name not in UNDERSTOOD and section in ("Unit", "Service"):
            left.append(name)
    if overrides:
        variables["gunicorn_systemd_unit_overrides"] = overrides
    return UnitSettings(variables, sorted(set(left)))
