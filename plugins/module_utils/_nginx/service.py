# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An installed Nginx: its program, its main configuration file and its processes."""

from __future__ import annotations

import contextlib
import os
import re
import resource
from typing import NamedTuple

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.flaskops.production.plugins.module_utils._nginx.config import find_main_setting, parse_int
from ansible_collections.flaskops.production.plugins.module_utils._nginx.process import (
    NginxProcess,
    check_connections,
    find_master,
    find_workers,
    reload_nginx,
)

TEST_TIMEOUT = 60  # seconds; a test waits for name servers that do not answer


class ConfigTest(NamedTuple):
    """The result of a test of Nginx's configuration."""

    accepted: bool
    output: str


class NginxService:
    """Nginx on this host. `program` is None if it is not installed."""

    def __init__(self, module: AnsibleModule, program: str, config: str) -> None:
        self.module = module
        self.config = config
        self.program: str | None = module.get_bin_path(program, required=False)
        self.pid_file = ""
        self.error_log = ""
        # The workers that a reload has replaced. They end after their last responses.
        self.replaced: list[NginxProcess] = []

    def read_output(self, option: str) -> str:
        """Run Nginx with an option that prints facts about it. Return its output."""
        return "".join(self.module.run_command([self.program, option])[1:])

    def test_config(self, main: str) -> ConfigTest:
        # The test creates missing log files. They contain client addresses, so other users must not read them.
        command = ["timeout", f"{TEST_TIMEOUT}", self.program, "-t", "-c", main]
        code, out, err = self.module.run_command(command, umask=0o027)
        if code == 124:
            err += f"nginx: [emerg] the test did not end within {TEST_TIMEOUT} s"
        return ConfigTest(code == 0, out + err)

    def read_main_file(self) -> str | None:
        try:
            with open(self.config, encoding="utf-8", errors="replace") as handle:
                return handle.read()
        except OSError:
            return None

    def find_master(self, main_text: str) -> NginxProcess | None:
        """Return the master process. Sets pid_file and error_log."""
        pid_file = find_main_setting(main_text, "pid")
        if pid_file is None or not pid_file.startswith("/"):
            built_in = re.search(r"--pid-path=(\S+)", self.read_output("-V"))
            pid_file = built_in[1] if built_in else "/run/nginx.pid"
        self.pid_file = pid_file
        self.error_log = find_main_setting(main_text, "error_log") or "/var/log/nginx/error.log"
        return find_master(pid_file)

    def find_default_user(self) -> str:
        """Return the user of the workers if the main file does not set one."""
        found = re.search(r"--user=(\S+)", self.read_output("-V"))
        return found[1] if found else "nobody"

    def warn_about_connections(self, main_text: str, master: NginxProcess | None, backlog: int) -> None:
        """Warn if Nginx allows fewer connections than the waiting requests need."""
        running = find_workers(master) if master else []
        configured = parse_int(find_main_setting(main_text, "worker_processes"), 0) or os.cpu_count() or 1
        files = parse_int(find_main_setting(main_text, "worker_rlimit_nofile"), 0) or None
        with contextlib.suppress(OSError):  # a worker that has just ended
            if running:
                limit = resource.prlimit(running[0].pid, resource.RLIMIT_NOFILE)[0]
                files = None if limit == resource.RLIM_INFINITY else limit
        warning = check_connections(main_text, backlog, len(running) or configured, files)
        if warning:
            self.module.warn(f"{warning} in {self.config}.")

    def is_enabled(self) -> bool:
        systemctl = self.module.get_bin_path("systemctl", required=False)
        command = ["timeout", "30", systemctl, "--quiet", "is-enabled", "nginx.service"]
        return bool(systemctl) and self.module.run_command(command)[0] == 0

    def reload(self, master: NginxProcess) -> str:
        """Reload Nginx. Return the reason if it does not apply its configuration, or an empty string."""
        self.replaced = find_workers(master)
        return reload_nginx(master, self.error_log)
