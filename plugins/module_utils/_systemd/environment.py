# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment variables of every process of a release: web process, candidate, build and migration.

gunicorn.conf.py and the launcher of commands contain the source of this function, which runs in the process itself.
"""

from __future__ import annotations

import os
import re


def complete_environment(environ: dict, root: str, release: str, venv: str) -> None:
    """Put the programs of the release first in PATH, and replace paths of the live release by those of this release.

    <root>/app and <root>/venv are links, which refer to another release, or to none, while a candidate is checked.
    """
    for name, value in list(environ.items()):
        for link, target in ((os.path.join(root, "app"), release), (os.path.join(root, "venv"), venv)):
            value = re.sub(rf"(?<![\w.-]){re.escape(link)}(?![\w.-])", target.replace("\\", r"\\"), value)
        environ[name] = value
    programs = os.path.join(venv, "bin")
    others = [path for path in environ.get("PATH", os.defpath).split(os.pathsep) if path not in ("", programs)]
    environ["PATH"] = os.pathsep.join([programs, *others])
    environ.setdefault("VIRTUAL_ENV", venv)
