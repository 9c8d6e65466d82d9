# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Upload files and sign the guest book until a file appears: writer.py URL STOP_FILE

Prints the numbers of accepted uploads and entries, and the failures, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request

url, stop = sys.argv[1:]


class IgnoreRedirects(urllib.request.HTTPRedirectHandler):
    """Do not follow the redirection after a form."""

    def redirect_request(self, *_arguments: object) -> None:
        return None


def post(path: str, content_type: str, body: str) -> None:
    request = urllib.request.Request(url + path, body.encode(), {"Content-Type": content_type})
    try:
        with urllib.request.build_opener(IgnoreRedirects).open(request, timeout=30) as response:
            raise OSError(f"POST {path} answered {response.status}")
    except urllib.error.HTTPError as error:
        if error.code != 303:
            raise OSError(f"POST {path} answered {error.code}: {error.read()[-300:]!r}") from error


def upload(number: int) -> None:
    part = f'Content-Disposition: form-data; name="file"; filename="moved-{number}.txt"\r\n\r\nnumber {number}'
    post("/files", "multipart/form-data; boundary=moved", f"--moved\r\n{part}\r\n--moved--\r\n")


def sign(number: int) -> None:
    post("/guestbook", "application/x-www-form-urlencoded", f"name=Writer&message=entry+{number}")


done, failures = {"upload": 0, "sign": 0}, []
while not os.path.exists(stop):
    for work in (upload, sign):
        try:
            work(done[work.__name__])
            done[work.__name__] += 1
        except OSError as error:
            failures.append(f"{time.strftime('%H:%M:%S')} {error}")
    time.sleep(0.1)
print(json.dumps({**done, "failures": failures[:20], "failed": len(failures)}))
