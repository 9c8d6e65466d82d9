# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nginx's part of an adoption: which process gets the requests."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._adoption.deployment import OldDeployment
from ansible_collections.flaskops.production.plugins.module_utils._adoption.record import TEMPORARY, KeptFiles
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import open_directory_safely
from ansible_collections.flaskops.production.plugins.module_utils._nginx.process import NginxProcess
from ansible_collections.flaskops.production.plugins.module_utils._nginx.service import NginxService
from ansible_collections.flaskops.production.plugins.module_utils._nginx.site import SITE, Site
from ansible_collections.flaskops.production.plugins.module_utils._nginx.site_state import SiteError


class SiteFile(NamedTuple):
    """The new site of Nginx: its file, the link that enables it, its text, and links to remove."""

    path: str
    link: str
    content: str
    remove: list[str]


class Routing:
    """The sites of Nginx that proxy to the old service, the candidate or the new service."""

    def __init__(self, module: AnsibleModule, layout: Layout, deployment: OldDeployment, kept: KeptFiles) -> None:
        self.module, self.layout, self.deployment, self.kept = module, layout, deployment, kept

    def route_to_service(self, site: SiteFile) -> list[NginxProcess]:
        """Replace the old sites by the new site. Return the replaced workers of Nginx.

        Replaced workers still proxy to the old address: Nginx opens a connection to the application when it has
        received the whole request.
        """
        return self._install(site, site.content)

    def route_to_candidate(self, site: SiteFile, socket: str) -> list[NginxProcess]:
        """Replace the old sites by the new site with the candidate's socket. Return the replaced workers of Nginx."""
        content = site.content.replace(f"unix:{self.layout.socket};", f"unix:{socket};")
        # Without a live release, the site answers with an error. Requests wait for the candidate instead.
        content = content.replace(f"(!-e {self.layout.app})", f"(!-e {self.layout.next})")
        # Uploads are served from their old directories until all of them are copied.
        for move in self.deployment.moves:
            if move.kind == "uploads":
                new = re.escape(os.path.join(self.layout.shared, move.target))
                content = re.sub(rf"{new}(?=[/;])", move.source.replace("\\", r"\\"), content)
        return self._install(site, content)

    def _install(self, site: SiteFile, content: str) -> list[NginxProcess]:
        old = [*self.deployment.sites, *site.remove]
        for path in [*old, site.path, site.link]:
            self.kept.keep(path, "nginx")
        for path in self.deployment.sites:
            # Nginx reads a file through a link, and a link can be removed as soon as Nginx has accepted the new site.
            if os.path.isfile(path) and not os.path.islink(path) and path != site.path:
                with open_directory_safely(os.path.dirname(path)) as directory:
                    directory.replace_link(os.path.basename(path), self.kept.get_place(path), TEMPORARY)
        removed = [path for path in old if path not in (site.path, site.link)]
        nginx = self._make_site(path=site.path, link=site.link, content=content, remove_links=removed)
        try:
            nginx.run(check_mode=False)
        finally:
            nginx.clean_up()
        return nginx.replaced

    def reload(self) -> list[NginxProcess]:
        """Reload Nginx with its restored sites. Return its replaced workers."""
        nginx = NginxService(self.module, "nginx", "/etc/nginx/nginx.conf")
        master = nginx.find_master(nginx.read_main_file() or "")
        problem = nginx.reload(master) if master else ""
        if problem:
            raise SiteError(f"Nginx {problem}")
        return nginx.replaced

    def _make_site(self, **params: object) -> Site:
        options: dict[str, dict] = SITE  # type: ignore[assignment]
        return Site(self.module, {**{name: option.get("default") for name, option in options.items()}, **params})
