"""Use a shop until a file appears, and tell, as JSON, what it confirmed: visitor.py URL HOST STOP_FILE.

Each request is a connection of its own and is made once: one failure is one visitor who saw it. Beside the quick ones,
there is always an upload on its way that takes its time.
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
releases, failures, worst = collections.Counter(), [], 0.0
signed, uploaded = [], {}


def ask(path: str, data: bytes | Iterable[bytes] | None = None, **headers: str) -> bytes:
    request = urllib.request.Request(url + path, data, {"Host": host, "Content-Type": "text/plain", **headers})
    with urllib.request.urlopen(request, timeout=60) as response:
        return response.read()


def quickly(path: str, data: bytes | None = None) -> bytes:
    global worst
    began = time.monotonic()
    answer = ask(path, data)
    worst = max(worst, time.monotonic() - began)
    return answer


def slowly(content: bytes) -> Iterable[bytes]:
    """A body that takes about three seconds."""
    piece = len(content) // 20
    for start in range(0, len(content), piece):
        yield content[start : start + piece]
        time.sleep(0.15)


def upload_slowly() -> None:
    number = 0
    while not os.path.exists(stop):
        number += 1
        name, content = f"file-slow-{number}.txt", f"{number} slow ".encode() * 10000
        try:
            ask(f"/upload?name={name}", slowly(content), **{"Content-Length": str(len(content))})
            uploaded[name] = hashlib.sha256(content).hexdigest()
        except OSError as error:
            failures.append(f"{time.strftime('%H:%M:%S')} slow upload {number}: {error}")


beside = threading.Thread(target=upload_slowly)
beside.start()
number = 0
while not os.path.exists(stop):
    number += 1
    try:
        releases[json.loads(quickly("/"))["release"]] += 1
        quickly(f"/sign?text=visit-{number}", b"")
        signed.append(f"visit-{number}")
        if number % 5 == 0:
            content = f"{number} ".encode() * 1000
            quickly(f"/upload?name=file-{number}.txt", content)
            uploaded[f"file-{number}.txt"] = hashlib.sha256(content).hexdigest()
            if quickly(f"/uploads/file-{number}.txt") != content:
                failures.append(f"file-{number}.txt is another one")
    except (OSError, ValueError, KeyError) as error:
        failures.append(f"{time.strftime('%H:%M:%S')} visit {number}: {error}")
    time.sleep(0.02)
beside.join()
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
