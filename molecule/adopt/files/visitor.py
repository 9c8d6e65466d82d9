"""Use a shop until a file appears, and tell, as JSON, what it confirmed: visitor.py URL HOST STOP_FILE.

Each request is a connection of its own and is made once: one failure is one visitor who saw it.
"""

from __future__ import annotations

import collections
import hashlib
import json
import os
import sys
import time
import urllib.request

url, host, stop = sys.argv[1:]
releases, failures, worst = collections.Counter(), [], 0.0
signed, uploaded = [], {}


def ask(path: str, data: bytes | None = None) -> bytes:
    global worst
    began = time.monotonic()
    request = urllib.request.Request(url + path, data, {"Host": host, "Content-Type": "text/plain"})
    with urllib.request.urlopen(request, timeout=60) as response:
        answer = response.read()
    worst = max(worst, time.monotonic() - began)
    return answer


number = 0
while not os.path.exists(stop):
    number += 1
    try:
        releases[json.loads(ask("/"))["release"]] += 1
        ask(f"/sign?text=visit-{number}", b"")
        signed.append(f"visit-{number}")
        if number % 5 == 0:
            content = f"{number} ".encode() * 1000
            ask(f"/upload?name=file-{number}.txt", content)
            uploaded[f"file-{number}.txt"] = hashlib.sha256(content).hexdigest()
            if ask(f"/uploads/file-{number}.txt") != content:
                failures.append(f"file-{number}.txt is another one")
    except (OSError, ValueError, KeyError) as error:
        failures.append(f"{time.strftime('%H:%M:%S')} visit {number}: {error}")
    time.sleep(0.02)
print(
    json.dumps(
        {
            "releases": releases,
            "failures": failures[:20],
            "failed": len(failures),
            "worst": round(worst, 2),
            "signed": signed,
            "uploaded": uploaded,
        }
    )
)
