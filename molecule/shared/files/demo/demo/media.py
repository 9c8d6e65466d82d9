# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import secrets
from pathlib import Path

from flask import Blueprint, abort, current_app, redirect, render_template, request, url_for
from werkzeug.datastructures import FileStorage
from werkzeug.utils import secure_filename

from demo.settings import Unavailable, user_name

blueprint = Blueprint("media", __name__)


def directory() -> Path:
    """Return the directory of uploads, which Nginx serves as /media/."""
    path = current_app.extensions["demo"].media_root
    if path is None:
        raise Unavailable("There is no place for uploads: set MEDIA_ROOT to a directory that the service may write.")
    if not path.is_dir():
        raise Unavailable(f"There is no place for uploads: MEDIA_ROOT {path} is not a directory.")
    if not os.access(path, os.W_OK | os.X_OK):
        raise Unavailable(f"MEDIA_ROOT {path} is not writable for the user {user_name()}.")
    return path


@blueprint.get("/files")
def list_files():
    found = [
        {"name": entry.name, "size": entry.stat().st_size, "time": entry.stat().st_mtime}
        for entry in directory().iterdir()
        if entry.is_file() and not entry.name.startswith(".")
    ]
    found.sort(key=lambda file: file["time"], reverse=True)
    return render_template("files.html", files=found, saved=request.args.get("saved"))


@blueprint.post("/files")
def upload():
    place = directory()
    sent = request.files.get("file")
    name = secure_filename(sent.filename or "") if sent else ""
    if not name:
        abort(400, "Choose a file first: the form's field 'file' is empty.")
    try:
        saved = save(sent, place, name)
    except OSError as error:
        raise Unavailable(f"The upload could not be kept in {place}: {error.strerror}.") from error
    return redirect(url_for("media.list_files", saved=saved), 303)


def save(sent: FileStorage, place: Path, name: str) -> str:
    """Save an upload atomically under an unused name."""
    partial = place / f".upload-{secrets.token_hex(8)}"
    stem, suffix = Path(name).stem[:80], Path(name).suffix[:20]
    try:
        # Files of tempfile are private. With the service's umask, Nginx can read this one.
        with open(partial, "xb") as stream:
            sent.save(stream)
        for number in range(1, 1000):
            candidate = f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}"
            try:
                os.link(partial, place / candidate)
                return candidate
            except FileExistsError:
                continue
        raise Unavailable(f"There are too many files named {name} already.")
    finally:
        partial.unlink(missing_ok=True)
