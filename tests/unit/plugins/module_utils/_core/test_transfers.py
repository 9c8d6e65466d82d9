# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that sends slowly, or stops in the middle, holds up no download."""

from __future__ import annotations

import http.client
import io

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._core import transfers


class Connection:
    """The socket of a response, whose bytes arrive one packet at a time, each after some seconds."""

    def __init__(self, packets, seconds, clock):
        self.packets, self.seconds, self.clock = packets, seconds, clock

    def makefile(self, _mode):
        return io.BufferedReader(Packets(self))


class Packets(io.RawIOBase):
    def __init__(self, connection):
        self.connection = connection

    def readable(self):
        return True

    def readinto(self, buffer):
        packet = next(self.connection.packets, b"")
        self.connection.clock[0] += self.connection.seconds
        buffer[: len(packet)] = packet
        return len(packet)


@pytest.fixture
def respond(monkeypatch):
    """Return a function that returns the response of a server."""
    clock = [1000.0]
    monkeypatch.setattr(transfers.time, "monotonic", lambda: clock[0])

    def respond(header, packets, seconds):
        start = b"HTTP/1.1 200 OK\r\n" + header + b"\r\n\r\n"
        response = http.client.HTTPResponse(Connection(iter([start, *packets]), seconds, clock))
        response.begin()
        return response, clock

    return respond


def test_dripping_server_is_given_up(respond):
    response, clock = respond(b"Content-Length: 1000000", (b"x" for _number in range(1000000)), 5)
    with pytest.raises(TimeoutError, match=r"^\d+ bytes in \d+ s; at least 16384 bytes per second are needed$"):
        list(transfers.read_blocks(response))
    assert clock[0] - 1000 <= transfers.GRACE + 10


def test_server_that_stops_after_a_good_start_is_given_up(respond):
    packets = [b"x" * 4096] * 500 + [b"x"] * 100000
    response, clock = respond(b"Content-Length: 100000000", iter(packets), 1)
    with pytest.raises(TimeoutError):
        list(transfers.read_blocks(response))
    assert clock[0] - 1000 < 600


def test_slow_line_is_no_fault(respond):
    packets = [b"x" * 8192] * 1000
    response, clock = respond(b"Content-Length: 8192000", iter(packets), 0.4)
    assert b"".join(transfers.read_blocks(response)) == b"x" * 8192000
    assert clock[0] - 1000 > 5 * transfers.GRACE


@pytest.mark.parametrize(
    ("header", "packets"),
    [
        (b"Content-Length: 20", [b"0123456789"]),
        (b"Transfer-Encoding: chunked", [b"a\r\n0123456789\r\n14\r\n"]),
    ],
)
def test_body_that_ends_too_early_ends_the_blocks(respond, header, packets):
    response, _clock = respond(header, packets, 0)
    assert b"".join(transfers.read_blocks(response)) == b"0123456789"
