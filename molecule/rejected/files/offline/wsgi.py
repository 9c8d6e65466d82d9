# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from demo import create_app
from flask import request

app = create_app()
healthy = app.view_functions["health.health"]


def health():
    # Unlike the request inside the candidate, Gunicorn's request has a connection.
    if "gunicorn.socket" in request.environ:
        raise RuntimeError("this release can't read from a socket")
    return healthy()


app.view_functions["health.health"] = health
