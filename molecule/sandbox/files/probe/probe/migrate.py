# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A migration that writes to the database in a shared path, in the service's sandbox."""

from __future__ import annotations

import os
import sqlite3

from probe import forbidden, needed

if __name__ == "__main__":
    for probe in (forbidden.writes_to_the_system, forbidden.gains_privileges, forbidden.reads_homes):
        print(probe.__name__, probe())
    with sqlite3.connect("instance/probe.sqlite3") as database:
        database.execute("DROP TABLE IF EXISTS migration")
        database.execute("CREATE TABLE migration (digest TEXT, user TEXT, refused TEXT)")
        database.execute("INSERT INTO migration VALUES (?, ?, 'yes')", [needed.credential(), os.geteuid()])
