"""Compare data with the report of a client on standard input, and print JSON: read_data.py DATABASE UPLOADS."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import sys

database, uploads = sys.argv[1:]
report = json.load(sys.stdin)
connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
rows = [row[0] for row in connection.execute("SELECT text FROM entry")]
files = {}
for name in os.listdir(uploads):
    with open(os.path.join(uploads, name), "rb") as file:
        files[name] = hashlib.sha256(file.read()).hexdigest()
print(
    json.dumps(
        {
            "rows": len(rows),
            "before": [text for text in rows if text.startswith("before-")],
            "rows_lost": sorted(set(report["signed"]) - set(rows)),
            "files_lost": sorted(name for name, digest in report["uploaded"].items() if files.get(name) != digest),
            "files": len(files),
        }
    )
)
