# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count the lines of all access logs, including rotated and compressed ones, by the requested name."""

from __future__ import annotations

import collections
import glob
import gzip
import json
import re
import sys

if __name__ == "__main__":
    counts, files = collections.Counter(), {}
    for path in glob.glob(f"{sys.argv[1]}/gunicorn.access.log*"):
        with (gzip.open if path.endswith(".gz") else open)(path, "rt") as file:
            found = re.findall(r'"GET /line/(\S+) HTTP', file.read())
        counts.update(found)
        files[path] = len(found)
    print(json.dumps({"counts": counts, "files": files}))
