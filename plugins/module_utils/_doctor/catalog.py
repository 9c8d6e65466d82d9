# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor's findings by id: severity, reason and remedy.

docs/doctor.md has a section for each of them.
"""

from __future__ import annotations

from typing import NamedTuple

SEVERITIES = ("ok", "note", "warning", "error")


class FindingKind(NamedTuple):
    """A kind of finding. The remedy is a template for the values of a finding."""

    severity: str
    title: str
    reason: str
    remedy: str


# Remedies change neither targets of links nor files with several hard links.
_OWN = r"\( -type d -o -type f -links 1 \)"


def _chmod(mode: str, owner: str = "", below: bool = False, types: str = _OWN) -> str:
    """Return a command that changes mode and owner of {path}, optionally recursively."""
    chown = f" -exec chown -h {owner} {{{{}}}} +" if owner else ""
    return f"find -P {{path}}{'' if below else ' -prune'} {types}{chown} -exec chmod {mode} {{{{}}}} +"


KINDS_BY_THEME: dict[str, dict[str, FindingKind]] = {
    "Place": {
        "root-missing": FindingKind(
            "error",
            "The application's directory does not exist",
            "There is nothing to run, or flask_app_root is wrong.",
            "Set flask_app_root to the application's directory, or deploy it.",
        ),
        "root-in-home": FindingKind(
            "warning",
            "The application is in a home directory",
            "Other users cannot enter home directories, ProtectHome= hides them, and they are removed with their user.",
            "Move it to /srv/{name} with the playbook adopt and adopt_from={path}.",
        ),
        "root-in-tmp": FindingKind(
            "error",
            "The application is in a directory for temporary files",
            "It is emptied at boot or after some days, and services with PrivateTmp= have another one.",
            "Move it to /srv/{name}.",
        ),
        "parent-not-traversable-web": FindingKind(
            "error",
            "Nginx cannot enter a parent directory",
            "Every directory on the path needs the search bit (x) for Nginx's user. Without it, "
            "files get 403 and the socket 502, even with correct modes of their own.",
            _chmod("go+x"),
        ),
        "parent-not-traversable-runtime": FindingKind(
            "error",
            "The application's user cannot enter a parent directory",
            "Every directory on the path needs the search bit (x) for the user of the process, or it does not start.",
            _chmod("go+x"),
        ),
        "parent-writable": FindingKind(
            "error",
            "Other users can replace the content of a parent directory",
            "A user with write permission on a directory can rename and replace its entries, including code.",
            _chmod("0755", "root:root"),
        ),
    },
    "Owners and modes": {
        "code-writable-by-runtime": FindingKind(
            "error",
            "The application can change its own code",
            "A flaw that allows a visitor to write files then allows the visitor to run code, also after a restart.",
            _chmod("u=rwX,go=rX", "root:root", below=True),
        ),
        "code-world-writable": FindingKind(
            "error",
            "Every user of the host can change the code",
            "Any process on the host can make the application run its code.",
            _chmod("o-w", below=True),
        ),
        "code-unreadable": FindingKind(
            "error",
            "The application cannot read its own code",
            "The import fails, at the start or at the first request that needs the file.",
            _chmod("u=rwX,go=rX", below=True),
        ),
        "writable-elsewhere": FindingKind(
            "warning",
            "The application can write to directories that it does not need",
            "It needs its sockets, uploads and logs only. An attacker in the application can change the rest too.",
            f"{_chmod('go-w', 'root:root')}  # keep its data in shared/",
        ),
        "data-not-writable": FindingKind(
            "error",
            "The application cannot write to its data",
            "Uploads, log files or the socket fail with 'Permission denied'.",
            _chmod("u+rwx", "{user}:{group}"),
        ),
        "data-world-writable": FindingKind(
            "warning",
            "Every user of the host can write to the application's data",
            "Uploads can be replaced and logs forged by any other service on the host.",
            _chmod("o-w"),
        ),
        "served-file-unreadable": FindingKind(
            "warning",
            "Nginx cannot read files that it should serve",
            "Requests for them get 403 Forbidden.",
            f"{_chmod('go+rX', below=True)}  # or give the directory Nginx's group with the set-group-ID bit",
        ),
        "env-world-readable": FindingKind(
            "error",
            "Every user of the host can read the secrets",
            "Every service and login on the host can read the application's keys and passwords.",
            f"{_chmod('0640', 'root:{group}', types='-type f -links 1')}  # then change the secrets",
        ),
        "env-writable-by-runtime": FindingKind(
            "warning",
            "The application can change its own settings",
            "systemd reads the file as root and sets its variables, including LD_PRELOAD and PATH, at the next start.",
            _chmod("0640", "root:{group}", types="-type f -links 1"),
        ),
        "secret-world-readable": FindingKind(
            "error",
            "Every user of the host can read a key",
            "A private key that other users can read is not private.",
            f"{_chmod('o-rwx')}  # then replace the key",
        ),
    },
    "Code and data": {
        "upload-in-release": FindingKind(
            "warning",
            "Uploads are among the code",
            "The next release does not have them, and old releases are removed with them.",
            "Move them to shared/media, and name the path in release_shared_paths.",
        ),
        "log-in-release": FindingKind(
            "warning",
            "Log files are among the code",
            "They are removed with the release, and the application needs write access to its code.",
            "Log to the journal, or to shared/logs: gunicorn_systemd_log_files=true.",
        ),
        "socket-in-release": FindingKind(
            "warning",
            "A socket is among the code",
            "Nginx loses it with the next release, and the application needs write access to its code.",
            "Listen in run/, from a systemd socket unit.",
        ),
        "venv-in-release": FindingKind(
            "warning",
            "A virtual environment is among the code",
            "Its scripts name its own path, so it breaks when the release is moved. Each release needs a complete one.",
            "Keep virtual environments in venvs/ and link them: the role venv does.",
        ),
        "env-in-release": FindingKind(
            "warning",
            "A file with secrets is among the code",
            "It stays in every old release, and secrets do not belong in the sources.",
            "Move it to shared/.env (mode 0640) and delete it from the sources.",
        ),
        "database-in-release": FindingKind(
            "error",
            "A database is among the code",
            "The next release starts with another one, so newer data of users is missing from the site.",
            "Move it to shared/instance, and name instance/ in release_shared_paths.",
        ),
        "vcs-in-release": FindingKind(
            "warning",
            "The history of the sources is among the code",
            "It has every earlier version and secret, and a single readable file exposes them.",
            "rm -r {path}  # deploy an export of the sources instead of a work tree",
        ),
    },
    "Releases": {
        "live-missing": FindingKind(
            "error",
            "No release is live",
            "The service has no directory to start in, and Nginx answers 503.",
            "ansible-playbook flaskops.production.{playbook}",
        ),
        "releases-missing": FindingKind(
            "error",
            "The directory of the releases is missing",
            "The running process continues until its restart; then the site is down. A rollback is not possible.",
            "ansible-playbook flaskops.production.site  # unless it can be mounted or moved back",
        ),
        "live-dangling": FindingKind(
            "error",
            "The live release is missing",
            "The running process continues until its restart; then the site is down.",
            "ansible-playbook flaskops.production.{playbook}",
        ),
        "live-outside-releases": FindingKind(
            "error",
            "The live directory is not one of the releases",
            "That directory is neither recorded nor checked, and a rollback cannot activate it.",
            "Deploy, so that {path} leads into releases/ again.",
        ),
        "live-not-a-link": FindingKind(
            "warning",
            "The live code is a real directory",
            "A deploy changes it file by file under the running application, and a rollback is not possible.",
            "Deploy with the role release; release_adopt=true keeps this code as the first release.",
        ),
        "live-incomplete": FindingKind(
            "error",
            "The live release is not complete",
            "It has no record of a complete staging, so files may be missing.",
            "ansible-playbook flaskops.production.{playbook}",
        ),
        "live-rejected": FindingKind(
            "error",
            "A rejected release is live",
            "It failed its health check when it was activated.",
            "ansible-playbook flaskops.production.{playbook}",
        ),
        "venv-incomplete": FindingKind(
            "error",
            "The live virtual environment is not complete",
            "Its installation did not finish, or packages were removed or added by hand.",
            "ansible-playbook flaskops.production.deploy  # builds it anew",
        ),
        "venv-interpreter-missing": FindingKind(
            "error",
            "The interpreter of the live virtual environment is missing",
            "The distribution was upgraded, or the interpreter removed: modules that are imported late fail, and the "
            "next start is an outage.",
            "ansible-playbook flaskops.production.deploy  # builds it anew",
        ),
        "venv-mismatch": FindingKind(
            "error",
            "The virtual environment is not that of the live release",
            "At the next start, the code runs with the dependencies of another release.",
            "ln -sfn app/.venv {path} && systemctl restart {name}",
        ),
        "activation-interrupted": FindingKind(
            "warning",
            "An activation did not finish",
            "Two releases may be serving, and the new one is unchecked.",
            "ansible-playbook flaskops.production.deploy  # completes or removes the activation",
        ),
        "activation-unrecorded": FindingKind(
            "warning",
            "The live release is not the last recorded one",
            "The link was changed by hand, so a rollback may activate an unexpected release.",
            "ansible-playbook flaskops.production.deploy  # records what it activates",
        ),
        "release-half-staged": FindingKind(
            "warning",
            "An interrupted run left unfinished files",
            "They take space, and show a deploy that did not finish.",
            "ansible-playbook flaskops.production.deploy  # removes it",
        ),
        "record-unreadable": FindingKind(
            "error",
            "The record of a release cannot be read",
            "It counts as missing, so a rollback to the release is not possible. The application continues.",
            "ansible-playbook flaskops.production.deploy  # of that release, or restore {path} from a backup",
        ),
        "release-unrecorded": FindingKind(
            "note",
            "A directory in releases/ is not a release",
            "It is never used for a rollback and never removed.",
            "rm -r {path}  # if it is not needed",
        ),
        "venv-unreferenced": FindingKind(
            "note",
            "A virtual environment belongs to no release",
            "It only takes space.",
            "ansible-playbook flaskops.production.deploy  # removes it",
        ),
        "lock-stale": FindingKind(
            "warning",
            "A deploy has held the deploy lock for a long time",
            "No other deploy can start. Its run was probably killed.",
            "ansible-playbook flaskops.production.deploy -e release_unlock=true  # when that run is dead",
        ),
        "hooks-open": FindingKind(
            "warning",
            "The host is drained",
            "Hooks before an activation have run, and those after it have not been completed: a load balancer may "
            "leave the host out.",
            "ansible-playbook flaskops.production.deploy  # any run of deploy, site or rollback completes the hooks",
        ),
        "lock-held": FindingKind(
            "note",
            "A deploy is running",
            "The facts may change while the doctor reads them.",
            "Run the doctor again after it.",
        ),
    },
    "Process": {
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
    },
    "Unit": {
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
    },
    "Socket": {
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
    },
    "Nginx": {
        "nginx-missing": FindingKind(
            "note",
            "There is no Nginx on the host",
            "The web server of the site was not examined.",
            "Examine the web server or load balancer of the site.",
        ),
        "nginx-not-running": FindingKind("error", "Nginx does not run", "The site is down.", "systemctl start nginx"),
        "nginx-config-invalid": FindingKind(
            "error",
            "Nginx refuses its configuration",
            "The running configuration stays, no change takes effect, and after a restart Nginx does not start.",
            "nginx -t && systemctl reload nginx  # when the error that nginx -t names is fixed",
        ),
        "nginx-no-site": FindingKind(
            "warning",
            "No site of Nginx uses the application",
            "It runs, but visitors cannot reach it through this Nginx.",
            "Add a server block with proxy_pass to its socket: the role nginx_site does.",
        ),
        "nginx-proxy-mismatch": FindingKind(
            "error",
            "Nginx uses another socket than the application's",
            "Visitors get 502 Bad Gateway.",
            "Set proxy_pass in {path} to http://{listen}",
        ),
        "nginx-duplicate-name": FindingKind(
            "error",
            "Two sites have the same name",
            "Nginx only warns, and silently serves one of them.",
            "systemctl reload nginx  # when the name is removed from one of the files",
        ),
        "nginx-alias-missing": FindingKind(
            "error",
            "Nginx serves files from a missing directory",
            "All of them get 404 Not Found: pages have no styles or pictures.",
            "systemctl reload nginx  # when the path in {file} is corrected",
        ),
        "nginx-alias-traversal": FindingKind(
            "error",
            "A location without a slash exposes files outside of its directory",
            "GET {location}../ reads files beside the directory, such as .env of the application.",
            "systemctl reload nginx  # when the location in {file} ends with a slash: location ^~ {location}/ {{ … }}",
        ),
        "nginx-alias-slash": FindingKind(
            "error",
            "An alias lacks the slash at its end",
            "Nginx appends the rest of the URL without a slash, so every file gets 404 Not Found.",
            "systemctl reload nginx  # when the alias in {file} ends with a slash",
        ),
        "nginx-pins-release": FindingKind(
            "warning",
            "Nginx serves files of one release",
            "After the next deploy these files are outdated, and later removed with the release.",
            "Name shared/static/, or a path through the link to the live release, in {file}.",
        ),
        "nginx-alias-elsewhere": FindingKind(
            "warning",
            "Nginx serves another directory than the application's",
            "Files that are uploaded or collected do not appear on the site.",
            "systemctl reload nginx  # when the alias in {file} is {own}/",
        ),
        "nginx-exposes-tree": FindingKind(
            "error",
            "Nginx serves the application's own files",
            "Any visitor can download source code, settings and data by name.",
            "Serve only static and media directories in {file}.",
        ),
        "nginx-permission-errors": FindingKind(
            "warning",
            "Nginx was refused access",
            "Requests got 403, 404 or 502.",
            "namei -l {path}  # shows the directory or file that Nginx's user cannot enter",
        ),
        "nginx-connections-exhausted": FindingKind(
            "warning",
            "Nginx has run out of connections",
            "Requests failed. A request that waits for the application takes two connections of worker_connections.",
            "systemctl reload nginx  # when nginx.conf has worker_connections 4096 and worker_rlimit_nofile 8192",
        ),
        "certificate-expired": FindingKind(
            "error",
            "A certificate has expired",
            "Browsers refuse the site.",
            "systemctl reload nginx  # when it is renewed",
        ),
        "certificate-expiring": FindingKind(
            "warning",
            "A certificate expires soon",
            "Automatic renewal replaces it a month before, so the renewal probably fails.",
            "systemctl reload nginx  # when it is renewed; the log of the ACME client has the reason",
        ),
        "certificate-unreadable": FindingKind(
            "error",
            "A certificate cannot be read",
            "Nginx does not start with it.",
            "systemctl reload nginx  # when a PEM certificate is in its place",
        ),
    },
    "Host": {
        "disk-full": FindingKind(
            "error",
            "A file system is full",
            "Uploads, logs, sessions and deploys fail.",
            "du -xh {path} | sort -h | tail  # shows large directories; a smaller release_keep leaves fewer releases",
        ),
        "file-system-read-only": FindingKind(
            "error",
            "A file system is mounted read-only",
            "Uploads, logs and deploys fail. The kernel does this after disk errors.",
            'mount -o remount,rw "$(findmnt -no TARGET --target {path})"  # when dmesg has shown the reason',
        ),
        "file-system-noexec": FindingKind(
            "error",
            "The application's file system is mounted noexec",
            "The next start fails: systemd cannot execute the programs of the virtual environment (status 203/EXEC).",
            'mount -o remount,bind,exec "$(findmnt -no TARGET --target {path})"  # and remove noexec from /etc/fstab',
        ),
        "disk-nearly-full": FindingKind(
            "warning",
            "A file system is nearly full",
            "A deploy needs space for a release and perhaps a virtual environment.",
            "du -xh {path} | sort -h | tail  # shows large directories; a smaller release_keep leaves fewer releases",
        ),
        "inodes-nearly-full": FindingKind(
            "warning",
            "A file system has nearly no inodes left",
            "Writes fail with 'No space left on device' although space is left.",
            "du --inodes -x {path} | sort -n | tail  # remove small files",
        ),
        "scan-truncated": FindingKind(
            "note",
            "The directory is too large for a complete examination",
            "The rest was not examined.",
            "Move data out of the code.",
        ),
        "service-outdated": FindingKind(
            "warning",
            "The service needs a new process",
            "It does not match the files of the application.",
            "ansible-playbook flaskops.production.deploy  # renews the process",
        ),
    },
    "Fleet": {
        "host-unread": FindingKind(
            "error",
            "The host could not be examined",
            "Its state is unknown.",
            "Read the message of the run, and try again.",
        ),
        "drift-release": FindingKind(
            "warning",
            "Hosts run different releases",
            "Visitors get one or the other, request by request.",
            "ansible-playbook flaskops.production.deploy  # without --limit",
        ),
        "drift-venv": FindingKind(
            "warning",
            "Hosts run with different packages",
            "A fault appears on some hosts only.",
            "ansible-playbook flaskops.production.deploy  # without --limit",
        ),
        "drift-settings": FindingKind(
            "warning",
            "Hosts have different settings",
            "A session that one host signed is refused by the other, and a fault appears on some hosts only.",
            "ansible-playbook flaskops.production.site  # without --limit",
        ),
    },
}

KINDS: dict[str, FindingKind] = {name: kind for kinds in KINDS_BY_THEME.values() for name, kind in kinds.items()}


def find_worst_severity(severities: list[str]) -> str:
    """Return the worst severity, or ok if there are no findings."""
    return max(severities, key=SEVERITIES.index, default="ok")
