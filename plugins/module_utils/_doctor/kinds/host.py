# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings on the host and on differences between the hosts of a fleet."""

from __future__ import annotations

from ansible_collections.flaskops.production.plugins.module_utils._doctor.kinds.kind import FindingKind

HOST = {
    "disk-full": FindingKind(
        "error",
        "A file system is full",
        "Uploads, logs, sessions and deploys fail.",
        "du -xh {path} | sort -h | tail  # shows large directories; a smaller release_keep leaves fewer releases",
    ),
    "file-system-read-only": FindingKind(
        "error",
        "A file system is mounted read-only",
        "Uploads, logs and deploys fail. The kernel does this after disk errors.",
        'mount -o remount,rw "$(findmnt -no TARGET --target {path})"  # when dmesg has shown the reason',
    ),
    "file-system-noexec": FindingKind(
        "error",
        "The application's file system is mounted noexec",
        "The next start fails: systemd cannot execute the programs of the virtual environment (status 203/EXEC).",
        'mount -o remount,bind,exec "$(findmnt -no TARGET --target {path})"  # and remove noexec from /etc/fstab',
    ),
    "disk-nearly-full": FindingKind(
        "warning",
        "A file system is nearly full",
        "A deploy needs space for a release and perhaps a virtual environment.",
        "du -xh {path} | sort -h | tail  # shows large directories; a smaller release_keep leaves fewer releases",
    ),
    "inodes-nearly-full": FindingKind(
        "warning",
        "A file system has nearly no inodes left",
        "Writes fail with 'No space left on device' although space is left.",
        "du --inodes -x {path} | sort -n | tail  # remove small files",
    ),
    "scan-truncated": FindingKind(
        "note",
        "The directory is too large for a complete examination",
        "The rest was not examined.",
        "Move data out of the code.",
    ),
    "service-outdated": FindingKind(
        "warning",
        "The service needs a new process",
        "It does not match the files of the application.",
        "ansible-playbook flaskops.production.deploy  # renews the process",
    ),
}

FLEET = {
    "host-unread": FindingKind(
        "error",
        "The host could not be examined",
        "Its state is unknown.",
        "Read the message of the run, and try again.",
    ),
    "drift-release": FindingKind(
        "warning",
        "Hosts run different releases",
        "Visitors get one or the other, request by request.",
        "ansible-playbook flaskops.production.deploy  # without --limit",
    ),
    "drift-venv": FindingKind(
        "warning",
        "Hosts run with different packages",
        "A fault appears on some hosts only.",
        "ansible-playbook flaskops.production.deploy  # without --limit",
    ),
    "drift-settings": FindingKind(
        "warning",
        "Hosts have different settings",
        "A session that one host signed is refused by the other, and a fault appears on some hosts only.",
        "ansible-playbook flaskops.production.site  # without --limit",
    ),
}
