# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections that end at a deadline and after a maximum number of bytes."""

from __future__ import annotations

import socket
import time

# The maximum number of bytes to read from the response to a health check.
ANSWER_BYTES = 1 << 16


class BoundedMixin:
    """A socket that ends at a deadline and after a maximum number of bytes, even if the peer sends slowly."""

    # The maximum size of the headers and of the body.
    deadline, left = 0.0, 2 * ANSWER_BYTES

    def recv_into(self, *arguments: object) -> int:
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise socket.timeout("timed out")
        if self.left <= 0:
            raise OSError("its headers are longer than 64 kB")
        self.settimeout(remaining)  # type: ignore[attr-defined]
        received = super().recv_into(*arguments)  # type: ignore[misc]
        self.left -= received
        return received


class BoundedSocket(BoundedMixin, socket.socket):
    """A socket without TLS that ends at a deadline."""


def connect(address: tuple[str, int], deadline: float) -> BoundedSocket:
    """Open a connection to a host and port that ends at a deadline of time.monotonic()."""
    limit = max(0.01, deadline - time.monotonic())
    found = BoundedSocket(fileno=socket.create_connection(address, limit).detach())
    found.settimeout(limit)
    found.deadline = deadline
    return found
