# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare, test and install one site of Nginx on one host."""

from __future__ import annotations

import contextlib
import os
import re
from typing import Callable

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import (
    open_directory,
    remove_stale_names,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.foreign import find_file_conflict
from ansible_collections.flaskops.production.plugins.module_utils._nginx.config import (
    TrialConfig,
    find_files_with_server_name,
    format_test_error,
    has_version_comments,
    parse_version,
    select_lines,
)
from ansible_collections.flaskops.production.plugins.module_utils._nginx.host import (
    DEFAULT_SITE,
    check_ipv6,
    check_ports,
    check_web_group,
)
from ansible_collections.flaskops.production.plugins.module_utils._nginx.parser import find_conflicts
from ansible_collections.flaskops.production.plugins.module_utils._nginx.process import (
    NginxProcess,
    are_older,
    find_change_time,
    find_workers,
)
from ansible_collections.flaskops.production.plugins.module_utils._nginx.service import ConfigTest, NginxService
from ansible_collections.flaskops.production.plugins.module_utils._nginx.site_state import (
    PREFIX,
    SiteError,
    format_diff,
    get_site_owner,
    plan_state,
    read_state,
    write_hidden_file,
    write_state,
)

LEFTOVER_AGE = 3600  # seconds; a test of Nginx waits for every name server that does not answer

# The options of a site, for each module that reads one. The module nginx_site documents them.
SITE = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str", "required": True},
    "link": {"type": "path"},
    "remove_links": {"type": "list", "elements": "path", "default": []},
    "nginx": {"type": "str", "default": "nginx"},
    "config": {"type": "path", "default": "/etc/nginx/nginx.conf"},
    "reload": {"type": "bool", "default": True},
    "required": {"type": "bool", "default": True},
    "backlog": {"type": "int", "default": 0},
    "application": {"type": "str"},
    "group": {"type": "str"},
    "adopt": {"type": "bool", "default": False},
}


class SiteConflictError(SiteError):
    """A host cannot serve the site, whatever is changed on it by this collection."""


class Site:
    """A site of Nginx: its wanted state, its test, its installation and the reload of Nginx."""

    def __init__(self, module: AnsibleModule, params: dict):
        self.module = module
        self.params = params
        self.path: str = params["path"]
        self.link: str | None = params["link"]
        self.config: str = params["config"]
        for name in [self.path, self.config] + params["remove_links"] + ([self.link] if self.link else []):
            if name != os.path.normpath(name) or not name.startswith("/"):
                raise SiteError(f"{name} must be an absolute path without . and .. and without a slash at its end.")
        if self.link in params["remove_links"]:
            raise SiteError(f"{self.link} is both link and one of remove_links.")
        self.nginx = NginxService(module, params["nginx"], self.config)
        self.output = ""
        text: str = params["content"]
        self.text = self.select_lines(text if text.endswith("\n") else text + "\n")
        self.before = read_state(self.path, params["remove_links"] + ([self.link] if self.link else []))
        self.after = plan_state(self.before, self.path, self.text.encode("utf-8"), self.link, params["remove_links"])
        self.temporary: list[str] = []

    def select_lines(self, text: str) -> str:
        """Return the text without the lines for other versions of Nginx."""
        if self.nginx.program is None or not has_version_comments(text):
            return text
        output = self.nginx.read_output("-v")
        found = re.search(r"/([0-9]+([.][0-9]+)*)", output)
        if found is None:
            raise SiteError(
                f"{self.nginx.program} -v does not print a version, which {self.path} needs: {output.strip()}"
            )
        return select_lines(text, parse_version(found[1]))

    def write_copy(self, text: str) -> str:
        content = text.encode("utf-8", "surrogateescape")
        name = write_hidden_file(os.path.dirname(self.config), content, 0o600, get_site_owner())
        self.temporary.append(name)
        return name

    def build_trial(self, new_file: str | None) -> TrialConfig:
        """Return a copy of the configuration with a file in place of the site's, or without the site."""
        removed = [name for name, target in self.after.links.items() if target is None]
        return TrialConfig(self.config, self.path, self.link or self.path, removed, self.write_copy, new_file)

    def test_trial(self, trial: TrialConfig) -> ConfigTest:
        accepted, output = self.nginx.test_config(trial.main)
        return ConfigTest(accepted, trial.restore_names(output))

    def check_installed_config(self) -> None:
        """Raise SiteError if Nginx rejects its configuration although the site has its wanted state."""
        result = self.nginx.test_config(self.config)
        if not result.accepted:
            self.output = result.output
            errors = [line for line in result.output.splitlines() if "[emerg]" in line] or [result.output.strip()]
            raise SiteError(
                f"Nginx refuses its configuration and would not start again: {errors[0]}. {self.path} is as described: "
                "fix the file that Nginx names, check it with nginx -t, and run again."
            )

    def check_new_file(self, new_file: str) -> None:
        """Raise SiteError if Nginx rejects the configuration with this file, or would not serve all its names."""
        trial = self.build_trial(new_file)
        if not trial.includes_site:
            raise SiteError(
                f"{self.config} has no include that reads {self.link or self.path}, so the site would never be served. "
                "Nothing was changed. Add the include, or name a path that is included."
            )
        result = self.test_trial(trial)
        self.output = result.output
        if not result.accepted:
            raise SiteError(format_test_error(self.path, self.text, result.output, trial.other_files))
        if find_conflicts(result.output):
            without = self.build_trial(None)
            known = find_conflicts(self.test_trial(without).output)
            ours = [pair for pair in find_conflicts(result.output) if pair not in known]
            if ours:
                raise SiteError(self.format_conflict(ours, without.other_files))
        for line in result.output.splitlines():
            if "[warn]" in line and f" in {self.path}:" in line:
                self.module.warn(f"Nginx says: {line}")

    def format_conflict(self, ours: list[tuple[str, str]], others: dict[str, str]) -> str:
        name = ours[0][0]
        addresses = " and ".join(address for other, address in ours if other == name)
        holders = " and ".join(find_files_with_server_name(name, others) or [self.path])
        return (
            f'The server name "{name}" on {addresses} is also in {holders}: Nginx would serve only one of the two and '
            "ignore the other. Nothing was changed: the old configuration is still in place. "
            "Choose another server name or port, or disable the other site."
        )

    def is_stale(self, master: NginxProcess) -> bool:
        """Return whether Nginx has not been reloaded since the last change of the site."""
        names = [name for name in (self.path, self.link) if name and os.path.lexists(name)]
        started = [worker.started for worker in find_workers(master)] or [master.started]
        return bool(names) and are_older(started, find_change_time(names))

    @property
    def replaced(self) -> list[NginxProcess]:
        """The workers that a reload has replaced."""
        return self.nginx.replaced

    def reload(self, master: NginxProcess) -> None:
        problem = self.nginx.reload(master)
        if problem:
            raise SiteError(f"Nginx accepted the configuration with {self.path} in a test but {problem}")

    def compare_with_host(self) -> dict:
        """Return the changes to make and the state of Nginx, by the names of the module's results.

        Raises SiteConflictError if the host cannot serve the site, and SiteError if Nginx would not start again.
        """
        self.diff = format_diff(self.path, self.before, self.after)
        main_text = self.nginx.read_main_file() if self.nginx.program else None
        self.running = self.nginx.find_master(main_text) if main_text is not None else None
        if self.params["application"]:
            self.check_host(main_text)
        if main_text is not None and self.params["backlog"]:
            self.nginx.warn_about_connections(main_text, self.running, self.params["backlog"])
        reload = self.running is not None and self.params["reload"] and (bool(self.diff) or self.is_stale(self.running))
        if self.running is not None and not self.diff and not reload:
            self.check_installed_config()
        return {
            "changed": bool(self.diff) or reload,
            "path": self.path,
            "installed": self.nginx.program is not None,
            "running": self.running is not None,
            "enabled": self.nginx.program is not None and self.nginx.is_enabled(),
            "validated": False,
            "reloaded": reload,
            "nginx_output": "",
        }

    def check_host(self, main_text: str | None) -> None:
        """Raise SiteConflictError if the site's names belong to another site, or if Nginx could not serve the site."""
        reasons = [find_file_conflict(self.path, self.params["application"], self.params["adopt"])]
        reasons.append(self.find_link_conflict())
        if main_text is not None and self.params["group"]:
            reasons.append(
                check_web_group(main_text, self.config, self.params["group"], self.nginx.find_default_user())
            )
        if self.running is None and self.params["reload"]:
            # The package, if it is not installed yet, adds the default site.
            default = DEFAULT_SITE not in self.params["remove_links"]
            default = default and (self.nginx.program is None or os.path.lexists(DEFAULT_SITE))
            reasons += [check_ipv6(self.text, default), check_ports(self.text, default)]
        reasons = [reason for reason in reasons if reason]
        if reasons:
            raise SiteConflictError(" ".join(reasons))

    def find_link_conflict(self) -> str:
        """Return a message if the link leads to another site, or an empty string."""
        if self.link is None or self.params["adopt"]:
            return ""
        target = self.before.links[self.link]
        if target is None or target == self.after.links[self.link]:
            return ""
        return (
            f"{self.link} exists and leads to {target}, which is not the site of {self.params['application']}: choose "
            "another flask_app_name, or remove the link."
        )

    def run(self, check_mode: bool, stage: Callable[[Site], bool] | None = None) -> dict:
        """Install the site, except in check mode. Return the module's results.

        `stage` stages a site for the next activation and returns True, or returns False if it is to be installed now.
        """
        result = self.compare_with_host()
        if self.nginx.program is None and not self.params["required"] and not check_mode:
            return {**result, "changed": False}
        if self.diff:
            result["diff"] = self.diff
        if check_mode:
            return result
        if stage and self.running and stage(self):
            result["reloaded"] = False
        elif result["changed"]:
            self.install(bool(self.diff), self.running if result["reloaded"] else None)
        return {**result, "nginx_output": self.output, "validated": bool(self.output)}

    def write_tested_file(self) -> str:
        """Write the site to a temporary file that Nginx accepts in its place. Return the path of the file."""
        if self.nginx.program is None:
            raise SiteError(f"{self.params['nginx']} was not found on this host. Install Nginx, or name its program.")
        directories = [os.path.dirname(name) for name in (self.path, self.config, self.link) if name]
        for directory in directories:
            if not os.path.isdir(directory):
                raise SiteError(f"The directory {directory} does not exist. Create it, or name another path.")
        for directory in sorted(set(directories)):
            with open_directory(directory) as fd:
                remove_stale_names(fd, PREFIX, LEFTOVER_AGE)
        content = self.after.content or b""
        new_file = write_hidden_file(os.path.dirname(self.path), content, self.after.mode, self.after.owner)
        self.temporary.append(new_file)
        self.check_new_file(new_file)
        return new_file

    def install(self, differs: bool, master: NginxProcess | None) -> None:
        """Replace the site, and reload Nginx. If the reload fails, restore the old site."""
        tested_file = self.write_tested_file()
        if differs:
            write_state(self.path, self.before, self.after, tested_file)
        if master:
            try:
                self.reload(master)
            except SiteError as error:
                if not differs:
                    raise
                write_state(self.path, self.after, self.before)
                raise SiteError(f"{error} The old configuration is back in place and still being served.") from error

    def clean_up(self) -> None:
        for name in self.temporary:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
