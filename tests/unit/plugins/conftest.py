# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._systemd import transient_unit

# Runs the command of a transient unit as systemd would, but for the sandbox, and keeps what it was told.
SYSTEMD_RUN = """#!/bin/bash
printf '%s\\n' "$@" >>"$0.told"
while [ "$1" != -- ]; do
    case $1 in
    --property=StandardOutput=file:*) output=${1#*file:} ;;
    --property=TimeoutStartSec=*) limit=${1##*=} ;;
    esac
    shift
done
shift
timeout --signal=KILL "${limit}" "$@" >"$output" 2>&1
status=$?
echo "$status" >"$0.status"
[ "$status" = 0 ] || exit 1
"""
SYSTEMCTL = """#!/bin/sh
echo "$*" >>"$0.told"
[ "$1" = show ] || exit 0
status=$(cat "${0%/*}/systemd-run.status")
[ "$status" = 137 ] && echo Result=timeout || echo Result=exit-code
echo "ExecMainStatus=$status"
"""
JOURNALCTL = """#!/bin/sh
echo 'x.service: Failed to set up mount namespacing: /gone: No such file or directory'
echo 'x.service: Main process exited, code=exited, status=226/NAMESPACE'
"""


@pytest.fixture
def build_unit(tmp_path_factory, monkeypatch):
    """Replace systemd by scripts that run commands of transient units directly. Return the scripts' directory."""
    place = tmp_path_factory.mktemp("systemd")
    for name, text in (("systemd-run", SYSTEMD_RUN), ("systemctl", SYSTEMCTL), ("journalctl", JOURNALCTL)):
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(place), prepend=os.pathsep)
    monkeypatch.setattr(transient_unit, "check_host", lambda: None)
    monkeypatch.setattr(transient_unit, "ensure_build_user", lambda: (os.geteuid(), os.getegid()))
    monkeypatch.setattr(transient_unit, "find_closed_directory", lambda _path: None)
    monkeypatch.setattr(transient_unit, "RUNTIME", str(place / "run"))
    return place
