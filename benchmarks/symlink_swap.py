# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Swap a link many times while another process reads through it without a pause, and count the reads that failed.

The same reader then runs against removing and making the link, as `rm; ln -s` does. It must miss there, or the first
result would prove nothing. Exits 1 when a read failed during the swaps, and 2 when the reader can't see a failure.

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

from ansible_collections.flaskops.production.plugins.module_utils._symlink import swap_link

RELEASES = ("releases/1", "releases/2")


def read_until(link: str, ready, stop, counts) -> None:
    """Open a file through the link until told to stop; counts are reads, misses, and reads of each release."""
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


def remove_and_make(link: str, target: str) -> None:
    os.unlink(link)
    os.symlink(target, link)


def measure(name: str, change: Callable[[str, str], object], root: str, swaps: int) -> tuple[int, int]:
    """Run the swaps against a reader, print a line, and return reads and misses."""
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
        _reads, control = measure("rm; ln -s (control)", remove_and_make, root, options.swaps)
        left = sorted(set(os.listdir(root)) - {"app", "releases"})
    if left:
        print(f"Temporary names were left behind: {', '.join(left)}")
        return 1
    if missed:
        print(f"{missed:,} reads found no release during the swaps.")
        return 1
    if not control:
        print("The control missed no read, so this run can't show that a failure would be seen. Run it again.")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
