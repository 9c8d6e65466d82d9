# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fcntl
import os

from demo import create_app

app = create_app()

# Its scheduler may run once per host, so this release cannot start while another process of it runs.
scheduler = os.open("instance/scheduler.lock", os.O_RDWR | os.O_CREAT, 0o644)
try:
    fcntl.flock(scheduler, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    raise RuntimeError("another scheduler runs on this host") from None
