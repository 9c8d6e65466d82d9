# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Detect files, directories and accounts that do not belong to the application."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat

# The first line of each file that the roles write. Templates get it from flask_app_header.
HEADER = re.compile(
    r"^# Ansible managed: written by flaskops\.production for the application ([a-z][a-z0-9_-]*)\.$", re.MULTILINE
)
HEADER_BYTES = 1024
# Directories of packaged units, which a unit of the same name in /etc overrides.
PACKAGED_UNITS = ("/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
UNITS = "/etc/systemd/system"
SITES = "/etc/nginx/sites-available"
SCRIPTS = "/etc/init.d"
# Names in the directory of an application that belong to the layout.
LAYOUT = (".deploy", "app", "gunicorn.conf.py", "next", "releases", "run", "shared", "venv", "venvs")
# Present in the root of an ext4 file system.
IGNORED = ("lost+found",)
MAX_SHOWN = 3

ADOPT_ADVICE = "bring the old deployment into the layout with flaskops.production.adopt"


def read_application(path: str) -> str | None:
    """Return the application named in the header of a file: empty without a header, None if the file is missing."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return None
        with open(path, encoding="utf-8", errors="replace") as file:
            found = HEADER.search(file.read(HEADER_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found[1] if found else ""


def find_file_conflict(path: str, application: str, adopt: bool = False) -> str:
    """Return why a file must not be replaced for an application, or an empty string if it may be.

    With adopt, a file that was not written by this collection may be replaced.
    """
    owner = read_application(path)
    if owner == application:
        return ""
    if owner:
        return f"{path} belongs to the application {owner}: choose a flask_app_name other than {application}."
    if owner == "" and not adopt:
        return (
            f"{path} exists and was not written by this collection: choose a flask_app_name other than {application}, "
            f"or {ADOPT_ADVICE}."
        )
    return "" if owner == "" else _find_unit_conflict(path, application)


def _find_unit_conflict(path: str, application: str) -> str:
    """Return why a new unit must not be written: it would override a packaged unit of the same name."""
    directory, unit = os.path.split(path)
    if directory != UNITS:
        return ""
    candidates = [os.path.join(packaged, unit) for packaged in PACKAGED_UNITS]
    candidates += [os.path.join(SCRIPTS, unit[: -len(".service")])] if unit.endswith(".service") else []
    found = [candidate for candidate in candidates if os.path.lexists(candidate)]
    if not found:
        return ""
    return (
        f"{unit} is a unit of the system ({found[0]}), which {path} would replace: choose a flask_app_name other than "
        f"{application}."
    )


def find_directory_conflict(path: str, application: str, adopt: bool = False) -> str:
    """Return why a directory cannot be used for an application, or an empty string if it can."""
    owner = read_application(os.path.join(path, "gunicorn.conf.py"))
    if owner and owner != application:
        return f"{path} belongs to the application {owner}: choose another flask_app_root for {application}."
    try:
        names = sorted(name for name in os.listdir(path) if name not in IGNORED)
    except OSError:
        return ""
    if adopt or not names or any(name in LAYOUT for name in names):
        return ""
    shown = ", ".join(names[:MAX_SHOWN]) + (" …" if len(names) > MAX_SHOWN else "")
    return (
        f"{path} holds files that are not part of the layout ({shown}): choose another flask_app_root for "
        f"{application}, or {ADOPT_ADVICE}."
    )


def find_account_conflict(user: str, group: str, root: str) -> str:
    """Return why the account with the default name cannot be used, or an empty string if it can or does not exist."""
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        if group != user or not _is_group(user):
            return ""
        return (
            f"flask_app_user is {user!r}, the default, but the host has a group of that name that is not the "
            f"application's. Set flask_app_user to an unused name, or to {user!r} to use the group."
        )
    if account.pw_dir == root and account.pw_shell.endswith(("/nologin", "/false")):
        return ""
    return (
        f"flask_app_user is {user!r}, the default, but the host has an account of that name that is not the "
        f"application's (home {account.pw_dir}, shell {account.pw_shell}). Set flask_app_user to an unused name, "
        f"or to {user!r} to use the account."
    )


def _is_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True
