# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the host's file systems, and a digest of the service's settings."""

from __future__ import annotations

import contextlib
import hashlib
import os

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Disk, Facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import load_text


def read_host(facts: Facts) -> None:
    devices = set()
    for path in [facts.root, *facts.media, os.path.join(facts.root, "shared", "logs"), "/var/log", "/tmp"]:
        with contextlib.suppress(OSError):
            device = os.stat(path).st_dev
            room = os.statvfs(path)
            if device not in devices:
                sizes = (room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize, room.f_files, room.f_favail)
                flags = (bool(room.f_flag & os.ST_RDONLY), bool(room.f_flag & os.ST_NOEXEC))
                facts.disks.append(Disk(path, *sizes, *flags))
            devices.add(device)
    texts = [load_text(path.lstrip("-")) for path in facts.env_files]
    texts += [load_text(facts.unit.get("FragmentPath", "")), load_text(Layout(facts.root).gunicorn_config)]
    texts += [load_text(path) for path in facts.unit.get("DropInPaths", "").split()]
    # A slow hash, because secrets in the texts must not be guessed from the digest.
    digest = hashlib.scrypt("\0".join(texts).encode(), salt=facts.name.encode(), n=16384, r=8, p=1, dklen=12)
    facts.settings = digest.hex() if facts.unit else ""
