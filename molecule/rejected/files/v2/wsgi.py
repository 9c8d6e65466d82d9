# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

from demo import create_app

if os.environ.get("MODE") == "broken":
    raise RuntimeError("this application has no such mode")

app = create_app()
