# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings on the location, the owners and modes of files, and data among the code."""

from __future__ import annotations

from ansible_collections.flaskops.production.plugins.module_utils._doctor.kinds.kind import FindingKind

# Remedies change neither targets of links nor files with several hard links.
_OWN_FILES = r"\( -type d -o -type f -links 1 \)"


def _format_chmod(mode: str, owner: str = "", below: bool = False, types: str = _OWN_FILES) -> str:
    """Return a command that changes mode and owner of {path}, optionally recursively."""
    chown = f" -exec chown -h {owner} {{{{}}}} +" if owner else ""
    return f"find -P {{path}}{'' if below else ' -prune'} {types}{chown} -exec chmod {mode} {{{{}}}} +"


PLACE = {
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
        _format_chmod("go+x"),
    ),
    "parent-not-traversable-runtime": FindingKind(
        "error",
        "The application's user cannot enter a parent directory",
        "Every directory on the path needs the search bit (x) for the user of the process, or it does not start.",
        _format_chmod("go+x"),
    ),
    "parent-writable": FindingKind(
        "error",
        "Other users can replace the content of a parent directory",
        "A user with write permission on a directory can rename and replace its entries, including code.",
        _format_chmod("0755", "root:root"),
    ),
}

OWNERS = {
    "code-writable-by-runtime": FindingKind(
        "error",
        "The application can change its own code",
        "A flaw that allows a visitor to write files then allows the visitor to run code, also after a restart.",
        _format_chmod("u=rwX,go=rX", "root:root", below=True),
    ),
    "code-world-writable": FindingKind(
        "error",
        "Every user of the host can change the code",
        "Any process on the host can make the application run its code.",
        _format_chmod("o-w", below=True),
    ),
    "code-unreadable": FindingKind(
        "error",
        "The application cannot read its own code",
        "The import fails, at the start or at the first request that needs the file.",
        _format_chmod("u=rwX,go=rX", below=True),
    ),
    "writable-elsewhere": FindingKind(
        "warning",
        "The application can write to directories that it does not need",
        "It needs its sockets, uploads and logs only. An attacker in the application can change the rest too.",
        f"{_format_chmod('go-w', 'root:root')}  # keep its data in shared/",
    ),
    "data-not-writable": FindingKind(
        "error",
        "The application cannot write to its data",
        "Uploads, log files or the socket fail with 'Permission denied'.",
        _format_chmod("u+rwx", "{user}:{group}"),
    ),
    "data-world-writable": FindingKind(
        "warning",
        "Every user of the host can write to the application's data",
        "Uploads can be replaced and logs forged by any other service on the host.",
        _format_chmod("o-w"),
    ),
    "served-file-unreadable": FindingKind(
        "warning",
        "Nginx cannot read files that it should serve",
        "Requests for them get 403 Forbidden.",
        f"{_format_chmod('go+rX', below=True)}  # or give the directory Nginx's group with the set-group-ID bit",
    ),
    "env-world-readable": FindingKind(
        "error",
        "Every user of the host can read the secrets",
        "Every service and login on the host can read the application's keys and passwords.",
        f"{_format_chmod('0640', 'root:{group}', types='-type f -links 1')}  # then change the secrets",
    ),
    "env-writable-by-runtime": FindingKind(
        "warning",
        "The application can change its own settings",
        "systemd reads the file as root and sets its variables, including LD_PRELOAD and PATH, at the next start.",
        _format_chmod("0640", "root:{group}", types="-type f -links 1"),
    ),
    "secret-world-readable": FindingKind(
        "error",
        "Every user of the host can read a key",
        "A private key that other users can read is not private.",
        f"{_format_chmod('o-rwx')}  # then replace the key",
    ),
}

CODE = {
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
}
