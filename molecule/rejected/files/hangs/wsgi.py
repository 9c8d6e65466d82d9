# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time

from demo import create_app

# Waits for a service that never answers.
print("Waiting for the licence server", flush=True)
time.sleep(600)
app = create_app()
