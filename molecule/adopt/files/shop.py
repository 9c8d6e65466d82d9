"""An application as it grows on a server: code, database, uploads and logs in one directory."""

import json
import os
import sqlite3
from urllib.parse import parse_qs

HERE = os.path.dirname(os.path.abspath(__file__))
DATABASE = os.path.join(HERE, os.environ["DATABASE"])
UPLOADS = os.path.join(HERE, os.environ["UPLOADS"])
LOG = os.path.join(HERE, os.environ["LOG"])


def database():
    connection = sqlite3.connect(DATABASE, timeout=30)
    connection.execute("CREATE TABLE IF NOT EXISTS entry (id INTEGER PRIMARY KEY, text TEXT UNIQUE)")
    return connection


if os.environ.get("JOURNAL"):
    opened = database()
    opened.execute(f"PRAGMA journal_mode={os.environ['JOURNAL']}")
    opened.close()


def app(environ, start_response):
    """GET / counts rows; POST /sign adds a row; POST /upload keeps a file; GET /uploads/x shows one."""
    path, query = environ["PATH_INFO"], parse_qs(environ["QUERY_STRING"])
    body, status = b"", "200 OK"
    if path == "/sign":
        connection = database()
        with connection:
            connection.execute("INSERT INTO entry (text) VALUES (?)", query["text"])
        connection.close()
    elif path == "/upload":
        with open(os.path.join(UPLOADS, query["name"][0]), "wb") as file:
            file.write(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    elif path.startswith("/uploads/"):
        with open(os.path.join(UPLOADS, os.path.basename(path)), "rb") as file:
            body = file.read()
    else:
        connection = database()
        rows = connection.execute("SELECT count(*) FROM entry").fetchone()[0]
        connection.close()
        secret = len(os.environ["SECRET_KEY"])
        body = json.dumps({"release": HERE, "rows": rows, "secret": secret, "user": os.getuid()}).encode()
    with open(LOG, "a") as log:
        log.write(path + "\n")
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
