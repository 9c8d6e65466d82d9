# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the host's file systems."""

from __future__ import annotations

from typing import Iterator

from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.finding import Finding, create_finding

# The bytes that a deploy needs.
DEPLOY_BYTES = 2 * 1024**3
# The shares of free space at which a file system is nearly full or full.
NEARLY_FULL, FULL = 0.10, 0.01


def examine_host(facts: Facts) -> Iterator[Finding]:
    """Yield findings on the host's file systems."""
    for disk in facts.disks:
        if disk.read_only:
            yield create_finding("file-system-read-only", disk.path, "a file system that is mounted rw", disk.path)
        if disk.noexec and disk.path == facts.root:
            yield create_finding("file-system-noexec", disk.path, "a file system that is mounted exec", disk.path)
        found = f"{disk.path}: {disk.free // 1024**2} of {disk.size // 1024**2} MiB free"
        if disk.size and disk.free < FULL * disk.size:
            yield create_finding("disk-full", found, f"at least {NEARLY_FULL:.0%}", disk.path)
        elif disk.size and disk.free < NEARLY_FULL * disk.size and disk.free < DEPLOY_BYTES:
            yield create_finding("disk-nearly-full", found, f"at least {NEARLY_FULL:.0%}", disk.path)
        if disk.inodes and disk.inodes_free < NEARLY_FULL / 2 * disk.inodes:
            found = f"{disk.path}: {disk.inodes_free} of {disk.inodes} inodes free"
            yield create_finding("inodes-nearly-full", found, f"at least {NEARLY_FULL / 2:.0%}", disk.path)
