# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the doctor can find: severity, reason and remedy of every finding, by its id. Private to the collection.

docs/doctor.md has a section for each of them.
"""

from __future__ import annotations

from typing import NamedTuple

SEVERITIES = ("ok", "note", "warning", "error")


class Kind(NamedTuple):
    """A kind of finding. The remedy is a template, filled with what was found."""

    severity: str
    title: str
    why: str
    mend: str


# What a remedy may change: never what a link leads to, and no file that has another name elsewhere.
_OWN = r"\( -type d -o -type f -links 1 \)"


def _change(mode: str, owner: str = "", below: bool = False, what: str = _OWN) -> str:
    """A command that changes the mode of {path}, its owner, and those of all below it."""
    chown = f" -exec chown -h {owner} {{{{}}}} +" if owner else ""
    return f"find -P {{path}}{'' if below else ' -prune'} {what}{chown} -exec chmod {mode} {{{{}}}} +"


THEMES: dict[str, dict[str, Kind]] = {
    "Place": {
        "root-missing": Kind(
            "error",
            "The application's directory is not there",
            "There is nothing to run, or the doctor was told the wrong place.",
            "Set flask_app_root to where the application is, or deploy it.",
        ),
        "root-in-home": Kind(
            "warning",
            "The application lives in a home directory",
            "Home directories are closed to other users, hidden by ProtectHome=, and go when the person goes.",
            "Move it to /srv/{name}, for example with the playbook site and flask_app_root=/srv/{name}.",
        ),
        "root-in-tmp": Kind(
            "error",
            "The application lives in a directory for temporary files",
            "It is emptied at boot or after some days, and services with PrivateTmp= see another one.",
            "Move it to /srv/{name}.",
        ),
        "parent-not-traversable-web": Kind(
            "error",
            "Nginx cannot pass a directory on the way",
            "Every directory on the path needs the search bit (x) for Nginx's user. Without it, files are 403 and "
            "the socket 502, whatever their own modes are.",
            _change("go+x"),
        ),
        "parent-not-traversable-runtime": Kind(
            "error",
            "The application's user cannot pass a directory on the way",
            "Every directory on the path needs the search bit (x) for the user of the process, or it does not start.",
            _change("go+x"),
        ),
        "parent-writable": Kind(
            "error",
            "Others can replace what is below a directory on the way",
            "Who may write to a directory may rename what is in it and put something else in its place, code included.",
            _change("0755", "root:root"),
        ),
    },
    "Owners and modes": {
        "code-writable-by-runtime": Kind(
            "error",
            "The application may change its own code",
            "A flaw that lets a visitor write a file is then a flaw that lets him run code, also after the restart.",
            _change("u=rwX,go=rX", "root:root", below=True),
        ),
        "code-world-writable": Kind(
            "error",
            "Every user of the host may change the code",
            "Any process on the host, of whatever user, can make the application run what it likes.",
            _change("o-w", below=True),
        ),
        "code-unreadable": Kind(
            "error",
            "The application cannot read its own code",
            "The import fails, at the start or at the first request that needs the file.",
            _change("u=rwX,go=rX", below=True),
        ),
        "writable-elsewhere": Kind(
            "warning",
            "The application may write where it has nothing to write",
            "It needs its sockets, uploads and logs. What else it can change is what an intruder can change.",
            f"{_change('go-w', 'root:root')}  # what it must write to belongs below shared/",
        ),
        "data-not-writable": Kind(
            "error",
            "The application cannot write where it has to",
            "Uploads, log files or the socket fail with 'Permission denied'.",
            _change("u+rwx", "{user}:{group}"),
        ),
        "data-world-writable": Kind(
            "warning",
            "Every user of the host may write to the application's data",
            "Uploads can be replaced and logs forged by any other service on the host.",
            _change("o-w"),
        ),
        "served-file-unreadable": Kind(
            "warning",
            "Nginx cannot read files that it should serve",
            "They are answered with 403 Forbidden.",
            f"{_change('go+rX', below=True)}  # or give the directory Nginx's group with the set-group-ID bit",
        ),
        "env-world-readable": Kind(
            "error",
            "Every user of the host may read the secrets",
            "Keys and passwords of the application are open to each other service and login on the host.",
            f"{_change('0640', 'root:{group}', what='-type f -links 1')}  # then change the secrets",
        ),
        "env-writable-by-runtime": Kind(
            "warning",
            "The application may change its own settings",
            "systemd reads the file as root and sets what it says, LD_PRELOAD and PATH included, at the next start.",
            _change("0640", "root:{group}", what="-type f -links 1"),
        ),
        "secret-world-readable": Kind(
            "error",
            "Every user of the host may read a key",
            "A private key that others have read is no longer private.",
            f"{_change('o-rwx')}  # then replace the key",
        ),
    },
    "Code and data": {
        "upload-in-release": Kind(
            "warning",
            "Uploads lie among the code",
            "The next release does not have them, and old releases are removed with them.",
            "Move them to shared/media, and name the path in release_shared_paths.",
        ),
        "log-in-release": Kind(
            "warning",
            "Log files lie among the code",
            "They go with the release, and the application needs write access to its code.",
            "Log to the journal, or to shared/logs: gunicorn_systemd_log_files=true.",
        ),
        "socket-in-release": Kind(
            "warning",
            "A socket lies among the code",
            "Nginx loses it with the next release, and the application needs write access to its code.",
            "Listen in run/, from a systemd socket unit.",
        ),
        "venv-in-release": Kind(
            "warning",
            "A virtual environment lies among the code",
            "Its scripts name its own path, so it breaks when the release is moved; each release pays for it in full.",
            "Keep environments in venvs/ and link them: the role venv does.",
        ),
        "env-in-release": Kind(
            "warning",
            "A file with secrets lies among the code",
            "It stays in every old release, and comes from where secrets do not belong: the sources.",
            "Move it to shared/.env (mode 0640) and delete it from the sources.",
        ),
        "database-in-release": Kind(
            "error",
            "A database lies among the code",
            "The next release starts with another one: what users wrote since is gone from the site.",
            "Move it to shared/instance, and name instance/ in release_shared_paths.",
        ),
        "vcs-in-release": Kind(
            "warning",
            "The history of the sources lies among the code",
            "It holds every version and secret there ever was, for whoever can read one file too many.",
            "rm -r {path}  # deploy an export of the sources instead of a work tree",
        ),
    },
    "Releases": {
        "live-missing": Kind(
            "error",
            "Nothing is live",
            "The service has no directory to start in, and Nginx answers 503.",
            "ansible-playbook flaskops.production.{playbook}",
        ),
        "releases-missing": Kind(
            "error",
            "The directory of the releases is not there",
            "The running process goes on until it is restarted, and then the site is down. None is left to return to.",
            "ansible-playbook flaskops.production.site  # unless it can be mounted or moved back",
        ),
        "live-dangling": Kind(
            "error",
            "The live release is not there",
            "The running process goes on until it is restarted, and then the site is down.",
            "ansible-playbook flaskops.production.{playbook}",
        ),
        "live-outside-releases": Kind(
            "error",
            "What is live is not one of the releases",
            "Nothing protects that directory: it is not recorded, not checked, and a rollback cannot return to it.",
            "Deploy, so that {path} leads into releases/ again.",
        ),
        "live-not-a-link": Kind(
            "warning",
            "The live code is a real directory",
            "A deploy changes it file by file under the running application, and there is nothing to roll back to.",
            "Deploy with the role release; release_adopt=true keeps this code as the first release.",
        ),
        "live-incomplete": Kind(
            "error",
            "The live release is not complete",
            "Nothing records that it was staged whole, so files may be missing.",
            "ansible-playbook flaskops.production.{playbook}",
        ),
        "live-rejected": Kind(
            "error",
            "A release is live that failed its checks",
            "It did not start or did not answer as it should when it was activated.",
            "ansible-playbook flaskops.production.{playbook}",
        ),
        "environment-incomplete": Kind(
            "error",
            "The live virtual environment is not complete",
            "Its installation did not come to its end, or packages were removed or added by hand.",
            "ansible-playbook flaskops.production.deploy  # builds it anew",
        ),
        "environment-interpreter-missing": Kind(
            "error",
            "The interpreter of the live virtual environment is not there",
            "The distribution was upgraded, or the interpreter removed: modules that are imported late fail, and the "
            "next start is an outage.",
            "ansible-playbook flaskops.production.deploy  # builds it anew",
        ),
        "environment-mismatch": Kind(
            "error",
            "The environment is not that of the live release",
            "At the next start, the code runs with the dependencies of another release.",
            "ln -sfn app/.venv {path} && systemctl restart {name}",
        ),
        "activation-interrupted": Kind(
            "warning",
            "An activation did not come to its end",
            "Two releases may be answering, and nobody has checked the new one.",
            "ansible-playbook flaskops.production.deploy  # completes or removes what was left",
        ),
        "activation-unrecorded": Kind(
            "warning",
            "The live release is not the one that was recorded last",
            "Somebody switched by hand; a rollback may lead elsewhere than expected.",
            "ansible-playbook flaskops.production.deploy  # records what it activates",
        ),
        "release-half-staged": Kind(
            "warning",
            "An interrupted run left something half done",
            "It takes room, and tells of a deploy that somebody believes done.",
            "ansible-playbook flaskops.production.deploy  # removes it",
        ),
        "record-unreadable": Kind(
            "error",
            "The record of a release cannot be read",
            "It counts as missing: nobody can roll back to the release. The application goes on.",
            "ansible-playbook flaskops.production.deploy  # of that release, or restore {path} from a backup",
        ),
        "release-unrecorded": Kind(
            "note",
            "A directory among the releases is not one",
            "It is neither offered for a rollback nor ever removed.",
            "rm -r {path}  # when nobody needs it",
        ),
        "environment-unreferenced": Kind(
            "note",
            "A set of dependencies belongs to no release",
            "It only takes room.",
            "ansible-playbook flaskops.production.deploy  # removes it",
        ),
        "lock-stale": Kind(
            "warning",
            "A deploy has held the lock for long",
            "No other deploy can start; its run was probably killed.",
            "ansible-playbook flaskops.production.deploy -e release_unlock=true  # when that run is dead",
        ),
        "hooks-open": Kind(
            "warning",
            "The host is drained",
            "Hooks before an activation have run, and those after it have not been completed: a load balancer may "
            "leave the host out.",
            "ansible-playbook flaskops.production.deploy  # any run of deploy, site or rollback completes the hooks",
        ),
        "lock-held": Kind(
            "note",
            "A deploy is at work",
            "What is seen may change while it is looked at.",
            "Look again when it has ended.",
        ),
    },
    "Process": {
        "process-stale-release": Kind(
            "error",
            "The process runs another release than the live one",
            "It was not restarted after the switch: visitors get old code, and late imports may fail.",
            "systemctl restart {name}",
        ),
        "process-stale-environment": Kind(
            "error",
            "The process runs with other dependencies than the live ones",
            "It was not restarted after its environment was replaced.",
            "systemctl restart {name}",
        ),
        "process-stale-code": Kind(
            "error",
            "The code changed under the running process",
            "Old workers run old code, new ones new code, and modules imported late mix both.",
            "systemctl restart {name}  # deploy releases instead of changing files in place",
        ),
        "process-stale-dependencies": Kind(
            "warning",
            "The dependencies changed under the running process",
            "Modules imported from now on do not fit those that are loaded.",
            "systemctl restart {name}",
        ),
        "process-replaced-files": Kind(
            "warning",
            "The process runs with programs or libraries that were replaced or removed",
            "It has their old versions, such as those before a security update, and may miss files that it loads late.",
            "systemctl restart {name}",
        ),
        "process-stale-settings": Kind(
            "warning",
            "Settings changed since the process started",
            "The next start, perhaps in the night, is the first one with them.",
            "systemctl daemon-reload && systemctl restart {name}",
        ),
        "health-failing": Kind(
            "error",
            "The application does not answer as it should",
            "Visitors see the same.",
            "journalctl -u {name} -n 50",
        ),
    },
    "Unit": {
        "unit-missing": Kind(
            "error",
            "No systemd service runs the application",
            "Nothing starts it at boot or after a crash.",
            "Install its units: the role gunicorn_systemd does.",
        ),
        "unit-reload-needed": Kind(
            "warning",
            "systemd has not read the unit's file since it changed",
            "What is on disk comes into force at some later time, with whatever else needs a reload.",
            "systemctl daemon-reload && systemctl restart {name}",
        ),
        "unit-user-root": Kind(
            "error",
            "The application runs as root",
            "Every flaw of the application is then one of the whole host.",
            "Set User= and Group= in {path} to a user of its own.",
        ),
        "unit-user-missing": Kind(
            "error",
            "The unit's user does not exist",
            "systemd refuses to start the service (status 217/USER).",
            "useradd --system {user}  # or correct User= in {path}",
        ),
        "unit-user-web": Kind(
            "warning",
            "The application runs as Nginx's user",
            "An intruder in the application can stop Nginx, read its memory with the keys of all sites, and reach the "
            "sockets and uploads of every application on the host.",
            "Give it a user of its own: set flask_app_user to {name}, and run the playbook site. The data goes along.",
        ),
        "unit-user-shared": Kind(
            "warning",
            "Another service runs as the application's user",
            "An intruder in one of them can read the secrets and data of the other, and stop it.",
            "Give each a user of its own: flask_app_user, and the playbook site.",
        ),
        "unit-directory-missing": Kind(
            "error",
            "The unit's WorkingDirectory is not there",
            "systemd refuses to start the service (status 200/CHDIR).",
            "Correct WorkingDirectory= of {name}.service.",
        ),
        "unit-directory-elsewhere": Kind(
            "error",
            "The unit's WorkingDirectory is not the live code",
            "The code that is deployed is not the code that runs.",
            "Set WorkingDirectory={live} in {name}.service.",
        ),
        "unit-pins-release": Kind(
            "warning",
            "The unit names one release",
            "After the next deploy it still starts the old one, and fails when that is removed.",
            "Name the link ({live}) in {name}.service.",
        ),
        "unit-exec-missing": Kind(
            "error",
            "The program that the unit starts is not there",
            "systemd cannot start the service (status 203/EXEC).",
            "Build the environment, or correct ExecStart= of {name}.service.",
        ),
        "unit-exec-elsewhere": Kind(
            "warning",
            "The unit starts a program from outside the application's tree",
            "An upgrade of the system, or of another application, changes what this one runs with.",
            "Name the environment's own gunicorn in ExecStart= of {name}.service.",
        ),
        "unit-environment-missing": Kind(
            "error",
            "The unit's EnvironmentFile is not there",
            "systemd refuses to start the service.",
            "Put it in place (mode 0640), or correct EnvironmentFile= of {name}.service.",
        ),
        "unit-environment-elsewhere": Kind(
            "warning",
            "The unit does not read the application's environment file",
            "What is set in the file has no effect on the service.",
            "Set EnvironmentFile={path} in {name}.service.",
        ),
        "unit-read-write-path-missing": Kind(
            "error",
            "A path in ReadWritePaths= is not there",
            "systemd refuses to start the service (status 226/NAMESPACE).",
            "Create {path}, or put a '-' in front of it.",
        ),
        "unit-sandbox-blocks": Kind(
            "error",
            "The unit's sandbox keeps the application from its data",
            "Writing fails with 'Read-only file system', although owner and mode are right.",
            "Add ReadWritePaths={path} to {name}.service.",
        ),
        "unit-sandbox-hides": Kind(
            "error",
            "The unit's sandbox hides the application",
            "With ProtectHome= or PrivateTmp=, the process sees an empty directory in place of its code.",
            "Move the application to /srv/{name}.",
        ),
        "unit-not-enabled": Kind(
            "warning",
            "The service does not start at boot",
            "After the next reboot the site is down.",
            "systemctl enable {unit}",
        ),
        "unit-masked": Kind(
            "error",
            "A unit is masked",
            "systemd refuses to start it, at boot as well. Nobody is served.",
            "systemctl unmask {unit}  # then ansible-playbook flaskops.production.site, which puts its units back",
        ),
        "unit-inactive": Kind(
            "error",
            "The service does not run",
            "Nobody answers, or the first visitor waits for the start.",
            "systemctl start {unit}",
        ),
        "unit-failed": Kind(
            "error",
            "The service failed",
            "systemd has given up, or tries in vain.",
            "journalctl -u {unit} -n 50",
        ),
        "unit-start-limit": Kind(
            "error",
            "The service failed too often and is not started any more",
            "It stays down until somebody resets it, even when the cause is gone.",
            "systemctl reset-failed {unit} && systemctl start {unit}  # after the cause: journalctl -u {unit} -n 50",
        ),
        "unit-restarts": Kind(
            "warning",
            "The service was restarted again and again",
            "Each crash loses the requests in flight.",
            "journalctl -u {unit}  # for the reason of each",
        ),
        "journal-permission-errors": Kind(
            "warning",
            "The application was refused access",
            "Something that it wants to read or write is closed to it, by modes or by the unit's sandbox.",
            "Give its user access to the paths named, or take the attempt out of the application.",
        ),
    },
    "Socket": {
        "socket-missing": Kind(
            "error",
            "The socket is not there",
            "Nginx answers 502 Bad Gateway.",
            "systemctl restart {unit}",
        ),
        "socket-not-listening": Kind(
            "error",
            "Nobody listens on the socket",
            "Nginx answers 502 Bad Gateway: the file is left over from a process that is gone.",
            "systemctl restart {unit}",
        ),
        "socket-foreign": Kind(
            "error",
            "Another process listens on the socket's path",
            "Visitors are answered by it, and not by the application.",
            "systemctl restart {unit}  # when that process has ended",
        ),
        "socket-unreachable": Kind(
            "error",
            "Nginx may not connect to the socket",
            "Connecting takes write permission on the socket; without it Nginx answers 502 Bad Gateway.",
            "find -P {path} -prune -type s -exec chgrp -h {group} {{}} + -exec chmod 0660 {{}} +  "
            "# and SocketGroup={group}, SocketMode=0660 in the socket unit",
        ),
        "socket-open-to-all": Kind(
            "note",
            "Every user of the host may connect to the socket",
            "Local processes pass by Nginx and its limits, and are believed what they say about the client.",
            "Let a systemd socket unit make it, with SocketGroup={group} and SocketMode=0660.",
        ),
        "socket-replaceable": Kind(
            "error",
            "The application can replace its socket",
            "systemd gives the socket its owner by its name. A link put there in between gives away any file of the "
            "host, and another listener answers visitors in place of the application.",
            "chown root:{group} {path} && chmod 1775 {path}  # as the role layout does",
        ),
        "unit-socket-mismatch": Kind(
            "error",
            "The socket unit and the service do not belong together",
            "What the socket unit listens on is never given to the application.",
            "Name {name}.socket in Sockets= of the service, or one of the name of the service.",
        ),
    },
    "Nginx": {
        "nginx-missing": Kind(
            "note",
            "There is no Nginx on the host",
            "What visitors come in through was not looked at.",
            "Look at the web server or load balancer that serves the site.",
        ),
        "nginx-not-running": Kind("error", "Nginx does not run", "Nobody is served.", "systemctl start nginx"),
        "nginx-config-invalid": Kind(
            "error",
            "Nginx refuses its configuration",
            "The running one goes on, but no change comes into force, and after a restart the host serves nothing.",
            "nginx -t && systemctl reload nginx  # when what nginx -t names is corrected",
        ),
        "nginx-no-site": Kind(
            "warning",
            "No site of Nginx leads to the application",
            "It runs, but nobody gets to it through this Nginx.",
            "Add a server block with proxy_pass to its socket: the role nginx_site does.",
        ),
        "nginx-proxy-mismatch": Kind(
            "error",
            "Nginx asks at another socket than the application's",
            "Visitors get 502 Bad Gateway.",
            "Set proxy_pass in {path} to http://{listen}",
        ),
        "nginx-duplicate-name": Kind(
            "error",
            "Two sites have the same name",
            "Nginx only warns, and silently serves one of them.",
            "systemctl reload nginx  # when the name is removed from one of the files",
        ),
        "nginx-alias-missing": Kind(
            "error",
            "Nginx serves files from a directory that is not there",
            "All of them are 404 Not Found: a page without styles, or without its pictures.",
            "systemctl reload nginx  # when the path in {file} is corrected",
        ),
        "nginx-alias-traversal": Kind(
            "error",
            "A location without a slash lets visitors out of its directory",
            "GET {location}../ reads what is beside the directory: other files of the application, .env among them.",
            "systemctl reload nginx  # when the location in {file} ends with a slash: location ^~ {location}/ {{ … }}",
        ),
        "nginx-alias-slash": Kind(
            "error",
            "An alias lacks the slash at its end",
            "The rest of the URL is put right behind it, so that every file is 404 Not Found.",
            "systemctl reload nginx  # when the alias in {file} ends with a slash",
        ),
        "nginx-pins-release": Kind(
            "warning",
            "Nginx serves files of one release",
            "After the next deploy they are the old ones, and gone when that release is removed.",
            "Name shared/static/, or a path through the link to the live release, in {file}.",
        ),
        "nginx-alias-elsewhere": Kind(
            "warning",
            "Nginx serves another directory than the application's",
            "Files that are uploaded or collected do not appear on the site.",
            "systemctl reload nginx  # when the alias in {file} is {own}/",
        ),
        "nginx-exposes-tree": Kind(
            "error",
            "Nginx serves the application's own files",
            "Source code, settings and data can be downloaded by anyone who guesses their names.",
            "Serve only static and media directories in {file}.",
        ),
        "nginx-permission-errors": Kind(
            "warning",
            "Nginx was refused access",
            "The requests were answered with 403, 404 or 502.",
            "namei -l {path}  # shows which directory or file is closed to Nginx's user",
        ),
        "nginx-connections-exhausted": Kind(
            "warning",
            "Nginx has run out of connections",
            "Requests failed. A request that waits for the application takes two connections of worker_connections.",
            "systemctl reload nginx  # when nginx.conf has worker_connections 4096 and worker_rlimit_nofile 8192",
        ),
        "certificate-expired": Kind(
            "error",
            "A certificate has expired",
            "Browsers refuse the site.",
            "systemctl reload nginx  # when it is renewed",
        ),
        "certificate-expiring": Kind(
            "warning",
            "A certificate expires soon",
            "Automatic renewal replaces it a month before, so it probably does not work.",
            "systemctl reload nginx  # when it is renewed; the log of the ACME client says what is in the way",
        ),
        "certificate-unreadable": Kind(
            "error",
            "A certificate cannot be read",
            "Nginx will not start with it.",
            "systemctl reload nginx  # when a PEM certificate is in its place",
        ),
    },
    "Host": {
        "disk-full": Kind(
            "error",
            "A file system is full",
            "Uploads, logs, sessions and deploys fail.",
            "du -xh {path} | sort -h | tail  # shows what to remove; a smaller release_keep leaves fewer releases",
        ),
        "file-system-read-only": Kind(
            "error",
            "A file system is mounted read-only",
            "Uploads, logs and deploys fail. The kernel does so after errors of the disk.",
            'mount -o remount,rw "$(findmnt -no TARGET --target {path})"  # when dmesg has shown the reason',
        ),
        "file-system-noexec": Kind(
            "error",
            "The application's file system is mounted noexec",
            "The next start fails: systemd cannot execute the programs of the virtual environment (status 203/EXEC).",
            'mount -o remount,bind,exec "$(findmnt -no TARGET --target {path})"  # and remove noexec from /etc/fstab',
        ),
        "disk-nearly-full": Kind(
            "warning",
            "A file system is nearly full",
            "A deploy needs room for a release and perhaps a set of dependencies.",
            "du -xh {path} | sort -h | tail  # shows what to remove; a smaller release_keep leaves fewer releases",
        ),
        "inodes-nearly-full": Kind(
            "warning",
            "A file system has nearly no room for more files",
            "Writing fails with 'No space left on device' although there is space.",
            "du --inodes -x {path} | sort -n | tail  # remove small files",
        ),
        "scan-truncated": Kind(
            "note",
            "The tree is too large to be looked at whole",
            "What lies beyond was not judged.",
            "Move data out of the code.",
        ),
        "service-outdated": Kind(
            "warning",
            "The service needs a new process",
            "It is not what the tree describes.",
            "ansible-playbook flaskops.production.deploy  # renews the process",
        ),
    },
    "Fleet": {
        "host-unread": Kind(
            "error",
            "The host could not be looked at",
            "Nothing is known of it.",
            "Look at the message of the run, and try again.",
        ),
        "drift-release": Kind(
            "warning",
            "Hosts run different releases",
            "Visitors get one or the other, request by request.",
            "ansible-playbook flaskops.production.deploy  # without --limit",
        ),
        "drift-environment": Kind(
            "warning",
            "Hosts run with different packages",
            "A fault shows on some hosts only.",
            "ansible-playbook flaskops.production.deploy  # without --limit",
        ),
        "drift-settings": Kind(
            "warning",
            "Hosts have different settings",
            "A session that one host signed is refused by the other, and a fault shows on some hosts only.",
            "ansible-playbook flaskops.production.site  # without --limit",
        ),
    },
}

KINDS: dict[str, Kind] = {name: kind for kinds in THEMES.values() for name, kind in kinds.items()}


def worst(severities: list[str]) -> str:
    """The worst of these severities; ok where there is none."""
    return max(severities, key=SEVERITIES.index, default="ok")
