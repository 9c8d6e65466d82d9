#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: nginx_site
short_description: Write an Nginx site after Nginx has tested it (internal to the roles)
version_added: "1.0.0"
author:
  - The flaskops.production contributors (@flaskops)
description:
  - Writes one site file, enables it with a relative symbolic link, and reloads a running Nginx.
  - The new configuration is tested B(before) any file is replaced. Nginx tests a private copy of its main file that
    includes the new text and all other files. Nginx can therefore never read an invalid configuration, even if the
    module is interrupted.
  - If a running Nginx accepts the test but cannot load the configuration (for example, because another program uses the
    port), the previous file and links are restored and the module fails.
  - If another file has the same server name on the same address, Nginx only warns and ignores one of the two sites.
    The module reports this as an error.
  - With O(stage), a site that differs is staged after the test, if Nginx runs.
  - With O(backlog), warns if Nginx allows fewer connections than the waiting requests need.
  - A running Nginx is reloaded after a change, or if its workers are older than the site file. A run therefore
    completes an earlier one that was interrupted before the reload. A stopped Nginx is not started.
options:
  path:
    description:
      - Absolute path of the site file. It becomes V(root:root) with mode V(0644).
      - Its directory must exist. A symbolic link or a directory at this path is an error.
    type: path
    required: true
  content:
    description:
      - The text of the site file. A missing newline at its end is added.
      - A line that ends in C(# nginx >= 1.25.1) or C(# nginx < 1.25.1) is written, without this comment, only if the
        version of Nginx matches. If Nginx is not installed, check mode shows all lines unchanged.
    type: str
    required: true
  link:
    description:
      - Absolute path of the relative symbolic link that enables the site. A link to another path is replaced.
      - Omit it if Nginx includes the directory of O(path) itself (for example, V(/etc/nginx/conf.d)).
    type: path
  remove_links:
    description:
      - Symbolic links to remove in the same call, for example that of Debian's default site.
      - Only links are removed. A file or directory at such a path is an error. Missing paths are ignored.
    type: list
    elements: path
    default: []
  nginx:
    description:
      - The Nginx program, as a name in C(PATH) or an absolute path.
    type: str
    default: nginx
  config:
    description:
      - Nginx's main configuration file, which is not changed.
    type: path
    default: /etc/nginx/nginx.conf
  reload:
    description:
      - Whether to reload a running Nginx.
    type: bool
    default: true
  required:
    description:
      - Whether a missing Nginx program is an error.
      - With V(false), a host without Nginx is not changed, and RV(installed) is V(false).
      - On such a host, check mode reports the file and links as changes.
    type: bool
    default: true
  backlog:
    description:
      - The number of requests that may wait for the application at the same time. Each of them takes two connections of
        Nginx. If the main file allows fewer, as Debian's does, Nginx answers the other requests with an error. The
        module then warns and names the values to set. It does not change the main file.
      - V(0) disables the check.
    type: int
    default: 0
  application:
    description:
      - The application of the site.
      - An existing site file that this collection has not written for this application is an error, and so is an
        existing link to another path.
      - The module also fails if Nginx cannot serve the site on the host, because a port is in use, because the host has
        no IPv6, or because Nginx is not a member of O(group).
      - If omitted, none of this is checked.
    type: str
  group:
    description:
      - The group that may connect to the application. Nginx must be a member of it.
    type: str
  adopt:
    description:
      - Whether to replace an existing site file and link that belong to no application of this collection.
    type: bool
    default: false
extends_documentation_fragment:
  - flaskops.production.attributes.of_this_run
  - flaskops.production.attributes.stage
attributes:
  check_mode:
    description: Reports the changes. Does not test the configuration, because a test creates Nginx's log files.
    support: full
  diff_mode:
    description: Shows the site file and the links, before and after.
    support: full
  platform:
    description: Needs C(/proc).
    platforms: linux
    support: full
notes:
  - The module creates temporary files whose names begin with C(.flaskops-) in the directories of O(config), O(path) and
    O(link). Nginx does not read them. If a run is killed, a later run removes its files.
"""

EXAMPLES = r"""
- name: Serve the application
  flaskops.production.nginx_site:
    path: /etc/nginx/sites-available/myapp.conf
    link: /etc/nginx/sites-enabled/myapp.conf
    content: "{{ lookup('ansible.builtin.template', 'myapp.conf.j2') }}"

- name: Serve the application instead of Debian's default site
  flaskops.production.nginx_site:
    path: /etc/nginx/sites-available/myapp.conf
    link: /etc/nginx/sites-enabled/myapp.conf
    remove_links:
      - /etc/nginx/sites-enabled/default
    content: |
      server {
          listen 80 default_server;
          server_name _;
          location / {
              proxy_pass http://unix:/srv/myapp/run/gunicorn.sock;
          }
      }

- name: Write the site for an Nginx that is reloaded later
  flaskops.production.nginx_site:
    path: /etc/nginx/conf.d/myapp.conf
    content: "{{ lookup('ansible.builtin.template', 'myapp.conf.j2') }}"
    reload: false
"""

RETURN = r"""
path:
  description: The site file.
  returned: always
  type: str
  sample: /etc/nginx/sites-available/myapp.conf
installed:
  description: Whether the Nginx program was found.
  returned: success
  type: bool
  sample: true
running:
  description: Whether Nginx is running.
  returned: success
  type: bool
  sample: true
enabled:
  description: Whether systemd starts the unit C(nginx.service) at boot.
  returned: success
  type: bool
  sample: true
validated:
  description: Whether Nginx tested the configuration. It does so before changes and before a reload.
  returned: always
  type: bool
  sample: true
reloaded:
  description: Whether Nginx was reloaded, or would be in check mode.
  returned: always
  type: bool
  sample: true
nginx_output:
  description: The output of Nginx's test, with the paths of temporary files replaced. Empty if there was no test.
  returned: always
  type: str
  sample: "nginx: configuration file /etc/nginx/nginx.conf test is successful"
"""

from typing import NoReturn

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.lock import LockedError
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule
from ansible_collections.flaskops.production.plugins.module_utils._core.platforms import require_supported_platform
from ansible_collections.flaskops.production.plugins.module_utils._nginx.site import SITE, Site
from ansible_collections.flaskops.production.plugins.module_utils._nginx.site_state import SiteError
from ansible_collections.flaskops.production.plugins.module_utils._releases.settings import (
    STAGE_OPTION,
    is_activation_unfinished,
    is_application_live,
    open_staged_settings,
)


def fail_module(module: AnsibleModule, message: str, output: str) -> NoReturn:
    module.fail_json(msg=message, path=module.params["path"], validated=False, reloaded=False, nginx_output=output)
    raise AssertionError("unreachable")


def stage(site: Site, options: dict | None, run: dict) -> bool:
    """Stage a site for the next activation. Return whether it was staged, instead of to be installed now."""
    if options is None:
        return False
    layout, name = Layout(options["root"], run), options["name"]
    # An activation cannot check owner and mode.
    differs = (site.before.content, site.before.links) != (site.after.content, site.after.links)
    if not is_application_live(layout, name) or not (differs or is_activation_unfinished(layout)):
        return False
    site.write_tested_file()
    with open_staged_settings(layout, name, run, options["unlock"]) as staged:
        staged.add_site(site.after, path=site.path, pid_file=site.nginx.pid_file, error_log=site.nginx.error_log)
    return True


def main() -> None:
    spec = {**SITE, "stage": STAGE_OPTION, "run": {"type": "dict"}}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    require_supported_platform(module)
    params = module.params
    site = None
    try:
        site = Site(module, params)
        try:
            result = site.run(module.check_mode, lambda site: stage(site, params["stage"], params["run"]))
        finally:
            site.clean_up()
    except LockedError as error:
        module.fail_json(msg=str(error), **error.result())
    except (SiteError, ReleaseError) as error:
        fail_module(module, str(error), site.output if site else "")
    except OSError as error:
        name = error.filename or params["path"]
        fail_module(module, f"{name}: {error.strerror}", site.output if site else "")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
