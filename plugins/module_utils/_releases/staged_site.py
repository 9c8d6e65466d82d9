# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The site of Nginx in a set of settings."""

from __future__ import annotations

import os
import shlex
from typing import Any, Mapping

from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._nginx.process import find_master, reload_nginx
from ansible_collections.flaskops.production.plugins.module_utils._nginx.site_state import (
    PREFIX,
    SiteError,
    SiteState,
    read_state,
    write_state,
)

# The script that installs the site when the service starts. It is removed after the activation.
SCRIPT = "site.sh"


class StagedSite:
    """The wanted state of a site and its links, and the Nginx that reads them.

    known has the path, the links, owner and mode of the site, and pid_file and error_log of Nginx. The content is in
    the directory of the set.
    """

    def __init__(self, directory: str, known: Mapping[str, Any]) -> None:
        self.directory, self.known, self.path = directory, known, known["path"]
        self.staged_path = os.path.join(directory, os.path.basename(self.path))

    def read_wanted(self) -> SiteState:
        content = None
        if not self.known["absent"]:
            with open(self.staged_path, "rb") as file:
                content = file.read()
        return SiteState(content, self.known["mode"], tuple(self.known["owner"]), self.known["links"])

    def read_current(self) -> SiteState:
        try:
            return read_state(self.path, list(self.known["links"]))
        except SiteError as error:
            raise ReleaseError(str(error)) from error

    def is_different(self) -> bool:
        return self.read_current() != self.read_wanted()

    def install(self) -> bool:
        """Install the site without a reload of Nginx. Returns whether it changed."""
        current, wanted = self.read_current(), self.read_wanted()
        if current != wanted:
            write_state(self.path, current, wanted)
        return current != wanted

    def reload_nginx(self) -> None:
        """Reload Nginx if it runs. Raises ReleaseError if it rejects the configuration."""
        master = find_master(self.known["pid_file"])
        failure = reload_nginx(master, self.known["error_log"]) if master else ""
        if failure:
            raise ReleaseError(f"{self.path} is in place, but Nginx {failure}")

    def format_script(self) -> str:
        """Return a shell script that installs the site, for a host that restarts before the site is in place."""
        wanted, join = self.read_wanted(), shlex.join
        created = {link: target for link, target in wanted.links.items() if target is not None}
        lines = [join(["rm", "-f", link]) for link in wanted.links if link not in created]
        if wanted.content is None:
            lines.append(join(["rm", "-f", self.path]))
        else:
            uid, gid = map(str, wanted.owner)
            # A later run removes this temporary name if it remains.
            temporary = shlex.quote(os.path.join(os.path.dirname(self.path), PREFIX)) + "$$-site"
            content = '"${0%/*}"/' + shlex.quote(os.path.basename(self.staged_path))
            lines.append(f"{join(['install', '-o', uid, '-g', gid, '-m', f'{wanted.mode:04o}'])} {content} {temporary}")
            lines.append(f"{join(['mv', '-f'])} {temporary} {shlex.quote(self.path)}")
        lines += [join(["ln", "-sfnT", target, link]) for link, target in created.items()]
        lines.append(join(["systemctl", "--no-block", "try-reload-or-restart", "nginx.service"]))
        return "\n".join(["set -e", *lines, ""])
