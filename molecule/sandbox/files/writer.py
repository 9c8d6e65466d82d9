# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write log lines and rotate the log: writer.py <url> <stop file> <logrotate.conf>

Prints the requested names that got a response, and the number of rotations.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import subprocess
import sys
import time
import urllib.request

WRITERS = 2
# The third rotation compresses the file of the first one.
ROTATIONS = 3


def write(url: str, rotations: concurrent.futures.Future[int], writer: int) -> list[str]:
    names = []
    while not rotations.done():
        name = f"{writer}-{len(names)}"
        with urllib.request.urlopen(f"{url}/line/{name}", timeout=60) as answer:
            assert answer.read().decode() == name
        names.append(name)
        # Leave time for other processes.
        time.sleep(0.05)
    return names


def rotate(config: str, end: str) -> int:
    rotations = 0
    while rotations < ROTATIONS or not os.path.exists(end):
        subprocess.run(["logrotate", "--force", config], check=True, capture_output=True)
        rotations += 1
        time.sleep(3)
    return rotations


if __name__ == "__main__":
    url, end, config = sys.argv[1:]
    with concurrent.futures.ThreadPoolExecutor(WRITERS + 1) as pool:
        rotations = pool.submit(rotate, config, end)
        writers = [pool.submit(write, url, rotations, writer) for writer in range(WRITERS)]
        names = [name for writer in writers for name in writer.result()]
    print(json.dumps({"names": names, "rotations": rotations.result()}))
