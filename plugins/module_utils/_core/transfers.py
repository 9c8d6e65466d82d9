# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read responses of web servers that may never end."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator

BLOCK_BYTES = 1 << 20
# A server that sends a byte now and then never reaches the timeout of a single read. After GRACE seconds, the average
# since the start must be at least MIN_RATE bytes per second.
GRACE = 60
MIN_RATE = 16 * 1024


def read_blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield the body in blocks. A connection that ends too early ends the blocks.

    Raises TimeoutError if the server sends too slowly.
    """
    start, received = time.monotonic(), 0
    while True:
        try:
            # read() would wait for a whole block, with a new timeout for each packet.
            block = response.read1(BLOCK_BYTES)
        except http.client.IncompleteRead as error:
            block = error.partial
        if not block:
            return
        received += len(block)
        passed = time.monotonic() - start
        if passed > GRACE and received < passed * MIN_RATE:
            raise TimeoutError(f"{received} bytes in {passed:.0f} s; at least {MIN_RATE} bytes per second are needed")
        yield block
