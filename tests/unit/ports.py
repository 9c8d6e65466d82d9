# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Free ports for programs that listen on a given port."""

from __future__ import annotations

import socket


def hold_port() -> socket.socket:
    """Return a socket that is bound to a free port of 127.0.0.1 and reserves it until the socket is closed.

    The socket does not listen, so a program that sets SO_REUSEADDR, such as Nginx, can listen on the port.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held
