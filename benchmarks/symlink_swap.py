# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Swap a link many times while another process continuously reads through it, and count the failed reads.

As a control, the same reader then runs while the link is removed and created, as `rm; ln -s` does. Some of its reads
must fail. Exits with 1 if a read failed during the swaps, and with 2 if no read failed during the control.

    PYTHONPATH=<collections> python3 benchmarks/symlink_swap.py [--swaps 20000] [--sync] [--directory DIR]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable

from ansible_collections.flaskops.production.plugins.module_utils._files.links import swap_link

RELEASES = ("releases/1", "releases/2")


def read_until(link: str, ready, stop, counts) -> None:
    """Read a file through the link until `stop` is set. Store reads, failures, and reads per release in `counts`."""
    page = os.path.join(link, "page")
    reads = missed = 0
    seen = [0, 0]
    ready.set()
    while not stop.is_set():
        for _turn in range(64):
            reads += 1
            try:
                fd = os.open(page, os.O_RDONLY)
            except OSError:
                missed += 1
                continue
            seen[int(os.read(fd, 1)) - 1] += 1
            os.close(fd)
    counts[:] = [reads, missed, *seen]


def remove_and_create(link: str, target: str) -> None:
    os.unlink(link)
    os.symlink(target, link)


def measure(name: str, change: Callable[[str, str], object], root: str, swaps: int) -> tuple[int, int]:
    """Run the swaps against a reader, print a line, and return the numbers of reads and failures."""
    link = os.path.join(root, "app")
    context = multiprocessing.get_context("fork")
    ready, stop, counts = context.Event(), context.Event(), context.Array("q", 4)
    reader = context.Process(target=read_until, args=(link, ready, stop, counts))
    reader.start()
    ready.wait()
    started = time.perf_counter()
    for number in range(swaps):
        change(link, RELEASES[number % 2])
    seconds = time.perf_counter() - started
    stop.set()
    reader.join()
    reads, missed, first, second = counts
    print(
        f"{name:22} {swaps:7,} swaps {swaps / seconds:9,.0f} swaps/s {reads:10,} reads "
        f"({first:,} old, {second:,} new) {missed:8,} missing"
    )
    return reads, missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--swaps", type=int, default=20_000, help="how often the link is changed (default: 20000)")
    parser.add_argument("--sync", action="store_true", help="flush to disk at each swap, as a deploy does")
    parser.add_argument(
        "--directory", help="measure on this directory's file system (default: the temporary directory)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="symlink-swap-", dir=options.directory) as root:
        for number, release in enumerate(RELEASES, 1):
            os.makedirs(os.path.join(root, release))
            with open(os.path.join(root, release, "page"), "w", encoding="ascii") as page:
                page.write(str(number))
        os.symlink(RELEASES[1], os.path.join(root, "app"))
        _reads, missed = measure(
            "symlink_swap", lambda path, to: swap_link(path, to, options.sync), root, options.swaps
        )
        _reads, control = measure("rm; ln -s (control)", remove_and_create, root, options.swaps)
        left = sorted(set(os.listdir(root)) - {"app", "releases"})
    if left:
        print(f"Temporary names were left behind: {', '.join(left)}")
        return 1
    if missed:
        print(f"{missed:,} reads found no release during the swaps.")
        return 1
    if not control:
        print("No read failed during the control, so this run cannot detect failures. Run it again.")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
