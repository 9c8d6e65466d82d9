# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A release that starts on every host but one."""

from __future__ import annotations

import os

from demo import create_app

if os.path.exists("/etc/flaskops-no-licence"):
    raise RuntimeError("this host has no licence")

app = create_app()
