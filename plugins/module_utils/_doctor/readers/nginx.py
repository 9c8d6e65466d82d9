# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read Nginx's state, configuration, logs and certificates."""

from __future__ import annotations

import os
import time

from ansible_collections.flaskops.production.plugins.module_utils._doctor.certificates import read_certificate
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import find_account
from ansible_collections.flaskops.production.plugins.module_utils._doctor.readers.files import add_node
from ansible_collections.flaskops.production.plugins.module_utils._doctor.system import (
    HostSystem,
    list_children,
    read_process_account,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import open_file
from ansible_collections.flaskops.production.plugins.module_utils._nginx import parser

# The bytes at the end of a log to read.
LOG_BYTES = 262144


def read_nginx(facts: Facts, system: HostSystem, recent: int) -> None:
    answer = system.dump_nginx()
    unit = system.read_nginx_unit() if answer else {}
    user = ""
    if answer:
        accepted, facts.nginx_output, files = answer
        facts.nginx_state = "valid" if accepted else "invalid"
        main = next(iter(files), "")
        facts.config = parser.build_config(parser.resolve_includes(files, main))
        user = facts.config.user
        if unit.get("ActiveState") != "active":
            facts.nginx_state += " masked" if unit.get("LoadState") == "masked" else " stopped"
        prefix = os.path.dirname(main)
        logs = dict.fromkeys(
            os.path.join(prefix, path)
            for path in [*facts.config.error_logs, *(path for site in facts.sites() for path in site.error_logs)]
            if not path.startswith(("stderr", "syslog", "memory", "/dev/"))
        )
        for path in logs or ["/var/log/nginx/error.log"]:
            lines = _read_recent_lines(path, facts, recent)
            facts.nginx_errors += [line for line in lines if "Permission denied)" in line and facts.root in line]
            facts.nginx_exhausted += [line for line in lines if "worker_connections are not enough" in line]
        for site in facts.sites():
            facts.certificates += [read_certificate(os.path.join(prefix, path)) for path in site.certificates]
            for path in site.keys:
                add_node(facts, os.path.join(prefix, path))
    workers = [read_process_account(pid) for pid in list_children(unit.get("MainPID", "0"))] if unit else []
    found = next((item for item in workers if item and item.uid), None)
    facts.web_user = found or find_account(user or "www-data") or find_account("nginx") or find_account("nobody")


def _read_recent_lines(path: str, facts: Facts, recent: int) -> list[str]:
    """Return the lines of the last `recent` minutes in a log of Nginx."""
    try:
        with os.fdopen(open_file(path), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    since = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(facts.now - recent * 60))
    return [line for line in lines if line[:19] >= since]
