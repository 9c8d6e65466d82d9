"""Send requests to a shop until a file exists, and print the confirmed writes as JSON: client.py URL HOST STOP_FILE.

Each request has its own connection and is not repeated. Besides quick requests, a slow upload is always in progress.
The file STOP_FILE.visited is created after the first request. The last requests begin after STOP_FILE was created.
"""

from __future__ import annotations

import collections
import hashlib
import json
import os
import sys
import threading
import time
import urllib.request
from collections.abc import Iterable

url, host, stop = sys.argv[1:]
releases, failures = collections.Counter(), []
signed, uploaded = [], {}


def ask(path: str, data: bytes | Iterable[bytes] | None = None, **headers: str) -> bytes:
    request = urllib.request.Request(url + path, data, {"Host": host, "Content-Type": "text/plain", **headers})
    with urllib.request.urlopen(request, timeout=60) as response:
        return response.read()


def slowly(content: bytes) -> Iterable[bytes]:
    """Yield a body in about three seconds."""
    piece = len(content) // 20
    for start in range(0, len(content), piece):
        yield content[start : start + piece]
        time.sleep(0.15)


def upload_slowly() -> None:
    number, last = 0, False
    while not last:
        last = os.path.exists(stop)
        number += 1
        name, content = f"file-slow-{number}.txt", f"{number} slow ".encode() * 10000
        try:
            ask(f"/upload?name={name}", slowly(content), **{"Content-Length": str(len(content))})
            uploaded[name] = hashlib.sha256(content).hexdigest()
        except OSError as error:
            failures.append(f"{time.strftime('%H:%M:%S')} slow upload {number}: {error}")


beside = threading.Thread(target=upload_slowly)
beside.start()
number, last = 0, False
while not last:
    last = os.path.exists(stop)
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
                failures.append(f"file-{number}.txt differs")
    except (OSError, ValueError, KeyError) as error:
        failures.append(f"{time.strftime('%H:%M:%S')} visit {number}: {error}")
    open(f"{stop}.visited", "w").close()
    time.sleep(0.05)
beside.join()
print(
    json.dumps(
        {
            "releases": releases,
            "failures": failures[:20],
            "failed": len(failures),
            "signed": signed,
            "uploaded": uploaded,
        }
    )
)
