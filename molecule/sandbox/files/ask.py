# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Request each page of the probe application, and print its result or failure."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request


def fetch_page(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


if __name__ == "__main__":
    url = sys.argv[1]
    status, text = fetch_page(url + "/")
    if status != 200:
        sys.exit(f"{url} answered {status}: {text}")
    results = {"needed": {}, "forbidden": {}, "failed": {}}
    for kind, names in json.loads(text).items():
        for name in names:
            status, body = fetch_page(f"{url}/{kind}/{name}")
            if status == 200:
                results[kind][name] = json.loads(body)["result"]
            else:
                results["failed"][name] = body.strip().splitlines()[-3:]
    print(json.dumps(results))
