# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports for programs that listen where they are told to."""

from __future__ import annotations

import socket


def hold_port() -> socket.socket:
    """A socket on a free port of 127.0.0.1, which the system gives to nobody else until it is closed.

    It does not listen: a program that sets SO_REUSEADDR, as Nginx does, can listen on the port meanwhile.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held
