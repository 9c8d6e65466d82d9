# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An application that serves, and attacks its host from within where it is told how."""

import base64
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.realpath(__file__))

if "ATTACK" in os.environ:
    settings = json.loads(base64.b64decode(os.environ["ATTACK"]))
    settings["report"] = f"{settings['report']}.{os.getpid()}"
    # It outlives the worker, and no more: systemd ends all processes of the service.
    subprocess.Popen([sys.executable, os.path.join(HERE, "attacker.py"), json.dumps(settings)], start_new_session=True)


def application(environ, start_response):
    """Tell which release answers."""
    body = json.dumps({"release": os.path.basename(HERE), "user": os.getuid()}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
