# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from demo import create_app
from flask import redirect, request

app = create_app()
healthy = app.view_functions["health.health"]


def health():
    # Requires HTTPS.
    if not request.is_secure:
        return redirect(request.url.replace("http:", "https:"), 301)
    return healthy()


app.view_functions["health.health"] = health
