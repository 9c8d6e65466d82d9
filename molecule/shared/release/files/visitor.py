"""Visit a site over and over until a file appears, and print, as JSON, what answered: visitor.py URL STOP_FILE.

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
        # No retries and no kept connections: one failure is one visitor who saw it.
        with urllib.request.urlopen(url, timeout=60) as response:
            answers[json.load(response)["release"]] += 1
    except (OSError, ValueError, KeyError) as error:
        failures.append(f"{time.strftime('%H:%M:%S')} {error}")
    open(f"{stop}.visited", "w").close()
    time.sleep(0.05)
print(json.dumps({"answers": answers, "failures": failures[:20], "failed": len(failures)}))
