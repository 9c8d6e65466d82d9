# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An application with a page for each probe, which answers 200 if the result is as expected."""

from __future__ import annotations

import traceback

from flask import Flask, jsonify, request

from probe import forbidden, needed, story


def create_app() -> Flask:
    app = Flask("probe", static_folder=None)
    needed.credential()

    @app.get("/")
    def index():
        return jsonify({kind: sorted(found) for kind, found in PROBES.items()})

    @app.get("/<any(needed, forbidden):kind>/<name>")
    def probe(kind: str, name: str):
        try:
            return {"result": PROBES[kind][name]()}
        except Exception:
            return traceback.format_exc(), 500

    @app.get("/story")
    def describe():
        return story.describe_process()

    @app.get("/migrated")
    def migrated():
        return needed.migrated()

    @app.get("/line/<name>")
    def line(name: str):
        return name

    @app.post("/uploads/<name>")
    def upload(name: str):
        return {"path": needed.upload(name, request.get_data())}

    return app


PROBES = {
    "needed": needed.PROBES,
    "forbidden": forbidden.PROBES,
}
