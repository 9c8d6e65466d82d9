# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Only this release has this dependency.
import humanize
from demo import create_app

app = create_app()
app.logger.info("This release knows %s.", humanize.apnumber(2))
