# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Detect conditions of a host that keep Nginx from serving a site: taken ports, no IPv6, groups."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import socket

from ansible_collections.flaskops.production.plugins.module_utils._nginx.parser import find_directives, parse_directives

DEFAULT_SITE = "/etc/nginx/sites-enabled/default"
DEFAULT_SITE_PORT = 80
# The state of a listening socket in /proc/net/tcp.
LISTENING = "0A"


def parse_ports(text: str) -> list[int]:
    """Return the ports of a site's listen directives."""
    found = []
    for words in find_directives(parse_directives(text), "listen"):
        port = re.search(r"(?:^|:)([0-9]+)$", words[0]) if words else None
        if port and int(port[1]) not in found:
            found.append(int(port[1]))
    return found


def uses_ipv6(text: str) -> bool:
    return any(words and words[0].startswith("[") for words in find_directives(parse_directives(text), "listen"))


def has_ipv6() -> bool:
    """Return whether programs can open IPv6 sockets on this host."""
    try:
        with socket.socket(socket.AF_INET6):
            return True
    except OSError:
        return False


def read_listening_sockets(proc: str = "/proc") -> dict[int, str]:
    """Return the inode of a listening socket for each port in use."""
    found: dict[int, str] = {}
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), open(f"{proc}/net/{name}", encoding="ascii") as table:
            for fields in (line.split() for line in table.readlines()[1:]):
                if len(fields) > 9 and fields[3] == LISTENING:
                    found.setdefault(int(fields[1].rpartition(":")[2], 16), fields[9])
    return found


def find_socket_owner(inode: str, proc: str = "/proc") -> str:
    """Return the name and PID of the process that has a socket open."""
    for pid in filter(str.isdigit, os.listdir(proc)):
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(f"{proc}/{pid}/fd"):
                if os.readlink(f"{proc}/{pid}/fd/{descriptor}") == f"socket:[{inode}]":
                    with open(f"{proc}/{pid}/comm", encoding="utf-8", errors="replace") as file:
                        return f"{file.read().strip()} (process {pid})"
    return "another process"


def check_ports(text: str, with_default: bool) -> str:
    """Return a message if another program uses a port that Nginx needs to start, or an empty string."""
    taken = read_listening_sockets()
    for port in parse_ports(text):
        if port in taken:
            return (
                f"Port {port} is in use by {find_socket_owner(taken[port])}, so Nginx cannot listen on it: stop "
                "that program, or set nginx_site_listen (with TLS also nginx_site_tls_listen) to a free port."
            )
    if with_default and DEFAULT_SITE_PORT in taken:
        return (
            f"Port {DEFAULT_SITE_PORT} is in use by {find_socket_owner(taken[DEFAULT_SITE_PORT])}, and Nginx "
            f"cannot start because Debian's default site ({DEFAULT_SITE}) listens there: set "
            "nginx_site_remove_default to true, or stop that program."
        )
    return ""


def check_ipv6(text: str, with_default: bool) -> str:
    """Return a message if Nginx needs IPv6 and the host lacks it, or an empty string."""
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


def check_web_group(main_text: str, config: str, group: str, built_in: str) -> str:
    """Return a message if Nginx is not a member of the socket's group, or an empty string.

    `built_in` is the user of an Nginx whose main file does not set one.
    """
    words = next((words for words in find_directives(parse_directives(main_text), "user") if words), (built_in,))
    try:
        user = pwd.getpwnam(words[0])
        # Without a group, Nginx uses the group with the user's name.
        own = grp.getgrnam(words[-1]).gr_gid
        wanted = grp.getgrnam(group).gr_gid
    except KeyError:
        # Nginx, or the task that creates the socket, reports a missing user or group.
        return ""
    if user.pw_uid == 0 or wanted in os.getgrouplist(user.pw_name, own):
        return ""
    return (
        f"flask_app_web_group is {group}, but Nginx runs as {user.pw_name} ({config}), which is not a member of that "
        f"group and cannot connect to the application: set flask_app_web_group to {grp.getgrgid(own).gr_name}."
    )
