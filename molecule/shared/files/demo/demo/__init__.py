# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from urllib.parse import urlsplit

import click
from flask import Flask, abort, current_app, render_template, request
from werkzeug.exceptions import HTTPException

from demo import database, health, media, pages
from demo.settings import Settings, Unavailable


def create_app(settings: Settings | None = None) -> Flask:
    """Return the application. By default, settings are read from environment variables."""
    settings = settings or Settings.from_environment()
    app = Flask("demo", static_folder=str(settings.root / "static"), static_url_path="/static")
    app.config.update(MAX_CONTENT_LENGTH=settings.max_upload_bytes, MAX_FORM_MEMORY_SIZE=64 * 1024)
    app.extensions["demo"] = settings

    app.register_blueprint(pages.blueprint)
    app.register_blueprint(media.blueprint)
    app.register_blueprint(health.blueprint)

    app.teardown_appcontext(database.close)
    app.before_request(refuse_foreign_forms)
    app.after_request(add_headers)
    app.context_processor(lambda: {"settings": settings})
    app.register_error_handler(Unavailable, show_unavailable)
    app.register_error_handler(HTTPException, show_error)
    app.cli.add_command(init_db)
    return app


@click.command("init-db")
def init_db() -> None:
    """Create the guest book's table; safe to repeat."""
    try:
        with current_app.app_context():
            database.connection()
    except Unavailable as unavailable:
        raise click.ClickException(str(unavailable)) from unavailable
    click.echo(f"The guest book is ready in {current_app.extensions['demo'].database_path}.")


def refuse_foreign_forms() -> None:
    """Accept forms only from pages of this site.

    Ports are left out of the comparison: behind a forwarded port, Nginx may not know the one that the browser uses.
    """
    if request.method != "POST":
        return
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).hostname != urlsplit(f"//{request.host}").hostname:
        abort(403, "This form was sent from another site.")


def add_headers(response):
    # The header shows that the application responded, and not Nginx, which serves static files and media.
    response.headers["X-Demo-Release"] = current_app.extensions["demo"].release
    response.headers.setdefault("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    return response


def show_unavailable(unavailable: Unavailable):
    return render_template("error.html", title="Not available", reason=str(unavailable)), 503


def show_error(error: HTTPException):
    if error.code is None or error.code < 400:
        return error
    reason = error.description
    if error.code == 413:
        limit = current_app.extensions["demo"].max_upload_bytes
        reason = f"An upload may have at most {limit} bytes."
    return render_template("error.html", title=f"{error.code} {error.name}", reason=reason), error.code
