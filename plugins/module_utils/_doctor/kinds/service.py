# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings on the process, its unit and its socket."""

from __future__ import annotations

from ansible_collections.flaskops.production.plugins.module_utils._doctor.kinds.kind import FindingKind

PROCESS = {
    "process-stale-release": FindingKind(
        "error",
        "The process runs another release than the live one",
        "It was not restarted after the activation: visitors get old code, and late imports may fail.",
        "systemctl restart {name}",
    ),
    "process-stale-venv": FindingKind(
        "error",
        "The process runs with other dependencies than the live ones",
        "It was not restarted after its virtual environment was replaced.",
        "systemctl restart {name}",
    ),
    "process-stale-code": FindingKind(
        "error",
        "The code changed under the running process",
        "Old workers run old code, new ones new code, and modules imported late mix both.",
        "systemctl restart {name}  # deploy releases instead of changing files in place",
    ),
    "process-stale-dependencies": FindingKind(
        "warning",
        "The dependencies changed under the running process",
        "Newly imported modules do not match the loaded ones.",
        "systemctl restart {name}",
    ),
    "process-replaced-files": FindingKind(
        "warning",
        "The process runs with programs or libraries that were replaced or removed",
        "It has their old versions, such as those before a security update, and may miss files that it loads late.",
        "systemctl restart {name}",
    ),
    "process-stale-settings": FindingKind(
        "warning",
        "Settings changed since the process started",
        "They take effect at the next start, perhaps at night.",
        "systemctl daemon-reload && systemctl restart {name}",
    ),
    "health-failing": FindingKind(
        "error",
        "The application fails its health check",
        "Visitors get the same answer.",
        "journalctl -u {name} -n 50",
    ),
}

UNIT = {
    "unit-missing": FindingKind(
        "error",
        "No systemd service runs the application",
        "Nothing starts it at boot or after a crash.",
        "Install its units: the role gunicorn_systemd does.",
    ),
    "unit-reload-needed": FindingKind(
        "warning",
        "systemd has not read the changed unit file",
        "The file takes effect at an unexpected time, with the next reload.",
        "systemctl daemon-reload && systemctl restart {name}",
    ),
    "unit-user-root": FindingKind(
        "error",
        "The application runs as root",
        "Every flaw of the application then affects the whole host.",
        "Set User= and Group= in {path} to a user of its own.",
    ),
    "unit-user-missing": FindingKind(
        "error",
        "The unit's user does not exist",
        "systemd refuses to start the service (status 217/USER).",
        "useradd --system {user}  # or correct User= in {path}",
    ),
    "unit-user-web": FindingKind(
        "warning",
        "The application runs as Nginx's user",
        "An attacker in the application can stop Nginx, read its memory with the keys of all sites, and reach the "
        "sockets and uploads of every application on the host.",
        "Give it a user of its own: set flask_app_user to {name}, and run the playbook site. "
        "The data is given to the new user.",
    ),
    "unit-user-shared": FindingKind(
        "warning",
        "Another service runs as the application's user",
        "An attacker in one of them can read the secrets and data of the other, and stop it.",
        "Give each a user of its own: flask_app_user, and the playbook site.",
    ),
    "unit-directory-missing": FindingKind(
        "error",
        "The unit's WorkingDirectory does not exist",
        "systemd refuses to start the service (status 200/CHDIR).",
        "Correct WorkingDirectory= of {name}.service.",
    ),
    "unit-directory-elsewhere": FindingKind(
        "error",
        "The unit's WorkingDirectory is not the live code",
        "The deployed code is not the running code.",
        "Set WorkingDirectory={live} in {name}.service.",
    ),
    "unit-pins-release": FindingKind(
        "warning",
        "The unit names one release",
        "After the next deploy it still starts the old release, and fails after its removal.",
        "Name the link ({live}) in {name}.service.",
    ),
    "unit-exec-missing": FindingKind(
        "error",
        "The unit's program does not exist",
        "systemd cannot start the service (status 203/EXEC).",
        "Build the environment, or correct ExecStart= of {name}.service.",
    ),
    "unit-exec-elsewhere": FindingKind(
        "warning",
        "The unit starts a program outside of the application's directory",
        "An upgrade of the system, or of another application, changes this application's program.",
        "Name the virtual environment's own gunicorn in ExecStart= of {name}.service.",
    ),
    "unit-environment-file-missing": FindingKind(
        "error",
        "The unit's EnvironmentFile does not exist",
        "systemd refuses to start the service.",
        "Create it (mode 0640), or correct EnvironmentFile= of {name}.service.",
    ),
    "unit-environment-file-elsewhere": FindingKind(
        "warning",
        "The unit does not read the application's environment file",
        "The variables of the file have no effect on the service.",
        "Set EnvironmentFile={path} in {name}.service.",
    ),
    "unit-read-write-path-missing": FindingKind(
        "error",
        "A path in ReadWritePaths= does not exist",
        "systemd refuses to start the service (status 226/NAMESPACE).",
        "Create {path}, or put a '-' in front of it.",
    ),
    "unit-sandbox-blocks": FindingKind(
        "error",
        "The unit's sandbox blocks writes to the application's data",
        "Writes fail with 'Read-only file system', although owner and mode are correct.",
        "Add ReadWritePaths={path} to {name}.service.",
    ),
    "unit-sandbox-hides": FindingKind(
        "error",
        "The unit's sandbox hides the application",
        "With ProtectHome= or PrivateTmp=, the process sees an empty directory in place of its code.",
        "Move the application to /srv/{name}.",
    ),
    "unit-not-enabled": FindingKind(
        "warning",
        "The service does not start at boot",
        "After the next reboot the site is down.",
        "systemctl enable {unit}",
    ),
    "unit-masked": FindingKind(
        "error",
        "A unit is masked",
        "systemd refuses to start it, also at boot. The site is down.",
        "systemctl unmask {unit}  # then ansible-playbook flaskops.production.site, which puts its units back",
    ),
    "unit-inactive": FindingKind(
        "error",
        "The service does not run",
        "The site is down, or the first visitor waits for the start.",
        "systemctl start {unit}",
    ),
    "unit-failed": FindingKind(
        "error",
        "The service failed",
        "systemd has stopped trying, or fails each time.",
        "journalctl -u {unit} -n 50",
    ),
    "unit-start-limit": FindingKind(
        "error",
        "The service failed too often and is no longer started",
        "It stays down until you reset it, even if the cause is gone.",
        "systemctl reset-failed {unit} && systemctl start {unit}  # after the cause: journalctl -u {unit} -n 50",
    ),
    "unit-restarts": FindingKind(
        "warning",
        "The service restarts repeatedly",
        "Each crash loses the requests in progress.",
        "journalctl -u {unit}  # for the reason of each",
    ),
    "journal-permission-errors": FindingKind(
        "warning",
        "The application was refused access",
        "Modes or the unit's sandbox block a read or write of the application.",
        "Give its user access to these paths, or remove the access from the application.",
    ),
}

SOCKET = {
    "socket-missing": FindingKind(
        "error",
        "The socket is missing",
        "Nginx answers 502 Bad Gateway.",
        "systemctl restart {unit}",
    ),
    "socket-not-listening": FindingKind(
        "error",
        "No process listens on the socket",
        "Nginx answers 502 Bad Gateway: the file remains from an ended process.",
        "systemctl restart {unit}",
    ),
    "socket-foreign": FindingKind(
        "error",
        "Another process listens on the socket's path",
        "It answers visitors in place of the application.",
        "systemctl restart {unit}  # when that process has ended",
    ),
    "socket-unreachable": FindingKind(
        "error",
        "Nginx cannot connect to the socket",
        "Connecting takes write permission on the socket; without it Nginx answers 502 Bad Gateway.",
        "find -P {path} -prune -type s -exec chgrp -h {group} {{}} + -exec chmod 0660 {{}} +  "
        "# and SocketGroup={group}, SocketMode=0660 in the socket unit",
    ),
    "socket-open-to-all": FindingKind(
        "note",
        "Every user of the host can connect to the socket",
        "Local processes can bypass Nginx and its limits, and forge the client's address.",
        "Let a systemd socket unit create it, with SocketGroup={group} and SocketMode=0660.",
    ),
    "socket-replaceable": FindingKind(
        "error",
        "The application can replace its socket",
        "systemd sets the socket's owner by path. With a link in its place, the application gets any file of the "
        "host, and another listener can answer visitors.",
        "chown root:{group} {path} && chmod 1775 {path}  # as the role layout does",
    ),
    "unit-socket-mismatch": FindingKind(
        "error",
        "The socket unit and the service do not belong together",
        "The application never gets the socket of the socket unit.",
        "Name {name}.socket in Sockets= of the service, or one of the name of the service.",
    ),
}
