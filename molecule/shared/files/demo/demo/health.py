# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from flask import Blueprint, current_app, jsonify

from demo import database, media
from demo.settings import Unavailable

blueprint = Blueprint("health", __name__)


@blueprint.get("/health")
def health():
    """Return 200 if all configured storage is writable, or 503 with the reason."""
    settings = current_app.extensions["demo"]
    parts = {"database": "not configured", "media": "not configured"}
    healthy = True
    checks = (("database", settings.database_path, database.check), ("media", settings.media_root, media.directory))
    for name, configured, check in checks:
        if configured is None:
            continue
        try:
            check()
            parts[name] = "ok"
        except Unavailable as unavailable:
            parts[name] = str(unavailable)
            healthy = False
    answer = jsonify(status="ok" if healthy else "failing", release=settings.release, **parts)
    answer.headers["Cache-Control"] = "no-store"
    return answer, 200 if healthy else 503
