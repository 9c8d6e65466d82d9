# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version

from flask import Blueprint, abort, current_app, jsonify, redirect, render_template, request, url_for

from demo import database
from demo.settings import user_name

blueprint = Blueprint("pages", __name__)

LONGEST_PAUSE = 60


def facts() -> dict:
    """Return information about this worker, for the front page and for tests."""
    settings = current_app.extensions["demo"]
    return {
        "release": settings.release,
        "root": str(settings.root),
        "cwd": os.getcwd(),
        "prefix": sys.prefix,
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "user": user_name(),
        "greeting": settings.greeting,
        "versions": {
            "python": platform.python_version(),
            "flask": package_version("flask"),
            "gunicorn": package_version("gunicorn"),
        },
        "database": settings.database_path and str(settings.database_path),
        "media": settings.media_root and str(settings.media_root),
        "configuration": settings.names,
        "env_echo": settings.echo,
    }


def package_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@blueprint.get("/")
def index():
    return render_template("index.html", facts=facts())


@blueprint.get("/info")
def info():
    answer = jsonify(facts())
    answer.headers["Cache-Control"] = "no-store"
    return answer


@blueprint.get("/slow")
def slow():
    """Respond late, to test requests in progress during an activation."""
    seconds = request.args.get("seconds", 1.0, type=float)
    if not 0 <= seconds <= LONGEST_PAUSE:
        abort(400, f"seconds must be between 0 and {LONGEST_PAUSE}.")
    time.sleep(seconds)
    return jsonify(release=current_app.extensions["demo"].release, pid=os.getpid(), seconds=seconds)


@blueprint.get("/guestbook")
def guestbook():
    return render_template("guestbook.html", entries=database.entries())


@blueprint.post("/guestbook")
def sign():
    name = request.form.get("name", "").strip()
    message = request.form.get("message", "").strip()
    if not 1 <= len(name) <= 60 or not 1 <= len(message) <= 500:
        abort(400, "An entry needs a name of 1 to 60 characters and a message of 1 to 500.")
    database.add_entry(name, message)
    return redirect(url_for("pages.guestbook"), 303)
