"""Request a site until a file appears, and print the responses as JSON: visitor.py URL STOP_FILE.

The file STOP_FILE.visited appears after the first visit; the last visit begins after STOP_FILE has appeared.
"""

from __future__ import annotations

import collections
import json
import os
import sys
import time
import urllib.request

url, stop = sys.argv[1:]
answers, failures = collections.Counter(), []
last = False
while not last:
    last = os.path.exists(stop)
    try:
        # No retries and no persistent connections: each failure counts.
        with urllib.request.urlopen(url, timeout=60) as response:
            answers[json.load(response)["release"]] += 1
    except (OSError, ValueError, KeyError) as error:
        failures.append(f"{time.strftime('%H:%M:%S')} {error}")
    open(f"{stop}.visited", "w").close()
    time.sleep(0.05)
print(json.dumps({"answers": answers, "failures": failures[:20], "failed": len(failures)}))
