# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a host keeps Nginx from serving a site: ports that are taken, a missing IPv6, groups. Private."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import socket

from ansible_collections.flaskops.production.plugins.module_utils._nginx import named, parse

DEFAULT_SITE = "/etc/nginx/sites-enabled/default"
DEFAULT_SITE_PORT = 80
# proc(5): the state of a socket that listens.
LISTENING = "0A"


def ports_of(text: str) -> list[int]:
    """The ports that the servers of a site listen on."""
    found = []
    for words in named(parse(text), "listen"):
        port = re.search(r"(?:^|:)([0-9]+)$", words[0]) if words else None
        if port and int(port[1]) not in found:
            found.append(int(port[1]))
    return found


def uses_ipv6(text: str) -> bool:
    return any(words and words[0].startswith("[") for words in named(parse(text), "listen"))


def has_ipv6() -> bool:
    """Whether a program of this host can open an IPv6 socket."""
    try:
        with socket.socket(socket.AF_INET6):
            return True
    except OSError:
        return False


def listeners(proc: str = "/proc") -> dict[int, str]:
    """The sockets that listen on this host: the inode of one, by its port."""
    found: dict[int, str] = {}
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), open(f"{proc}/net/{name}", encoding="ascii") as table:
            for fields in (line.split() for line in table.readlines()[1:]):
                if len(fields) > 9 and fields[3] == LISTENING:
                    found.setdefault(int(fields[1].rpartition(":")[2], 16), fields[9])
    return found


def holder(inode: str, proc: str = "/proc") -> str:
    """Which process has a socket, in words."""
    for pid in filter(str.isdigit, os.listdir(proc)):
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(f"{proc}/{pid}/fd"):
                if os.readlink(f"{proc}/{pid}/fd/{descriptor}") == f"socket:[{inode}]":
                    with open(f"{proc}/{pid}/comm", encoding="utf-8", errors="replace") as file:
                        return f"{file.read().strip()} (process {pid})"
    return "another process"


def taken_port(text: str, with_default: bool) -> str:
    """Why Nginx, which does not run, can't start with this site, as a sentence; empty where no port is taken."""
    taken = listeners()
    for port in ports_of(text):
        if port in taken:
            return (
                f"Port {port} is in use by {holder(taken[port])}, so Nginx cannot listen there: stop that program, or "
                "set nginx_site_listen (with TLS also nginx_site_tls_listen) to a port that is free."
            )
    if with_default and DEFAULT_SITE_PORT in taken:
        return (
            f"Port {DEFAULT_SITE_PORT} is in use by {holder(taken[DEFAULT_SITE_PORT])}, and Nginx cannot start because "
            f"Debian's default site ({DEFAULT_SITE}) listens there: set nginx_site_remove_default to true, or stop "
            "that program."
        )
    return ""


def missing_ipv6(text: str, with_default: bool) -> str:
    """Why Nginx can't serve this site on a host without IPv6, as a sentence; empty where it can."""
    if has_ipv6():
        return ""
    if uses_ipv6(text):
        return "nginx_site_ipv6 is true, but this host has no IPv6: set nginx_site_ipv6 to false."
    if with_default:
        return (
            f"This host has no IPv6, and Nginx cannot start because Debian's default site ({DEFAULT_SITE}) listens on "
            "it: set nginx_site_remove_default to true."
        )
    return ""


def wrong_group(main_text: str, config: str, group: str, built_in: str) -> str:
    """Why Nginx could not connect to the socket of the application, as a sentence; empty where it can.

    built_in: the user of an Nginx whose main file names none.
    """
    words = next((words for words in named(parse(main_text), "user") if words), (built_in,))
    try:
        user = pwd.getpwnam(words[0])
        # Without a group, Nginx takes that of the user's name.
        own = grp.getgrnam(words[-1]).gr_gid
        wanted = grp.getgrnam(group).gr_gid
    except KeyError:
        # Who is missing is named elsewhere: by Nginx itself, or where the socket is made.
        return ""
    if user.pw_uid == 0 or wanted in os.getgrouplist(user.pw_name, own):
        return ""
    return (
        f"flask_app_web_group is {group}, but Nginx runs as {user.pw_name} ({config}), which is not in that group and "
        f"could not connect to the application: set flask_app_web_group to {grp.getgrgid(own).gr_name}."
    )
