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
  - Writes one site file, enables it with a relative symbolic link, and has a running Nginx load it, in one call.
  - The new configuration is tested B(before) anything is replaced. Nginx tests a private copy of its main file
    in which the site's include names the new text, together with all other files. So Nginx can never read a
    configuration that it refuses, even if the module is interrupted.
  - If a running Nginx accepts the test but cannot load the configuration (for example, because another program uses the
    port), the previous file and links are restored and the module fails.
  - A server name that another file already has on the same address is only a warning for Nginx, and one of the two
    sites is silently ignored. The module reports it as an error.
  - With O(backlog), warns if Nginx holds fewer connections than the requests that may wait for the application.
  - A running Nginx is reloaded after a change, or if its workers are older than the site file, so that a run completes
    one that was interrupted before the reload. A stopped Nginx is left alone.
options:
  path:
    description:
      - Absolute path of the site file. It becomes V(root:root) with mode V(0644).
      - Its directory must exist. A symbolic link or a directory in its place is refused.
    type: path
    required: true
  content:
    description:
      - The whole text of the site file. A missing newline at its end is added.
      - A line that ends in C(# nginx >= 1.25.1) or C(# nginx < 1.25.1) is written, without this comment, only where
        the host's Nginx is such a version. Without an Nginx, check mode shows all of them as they are.
    type: str
    required: true
  link:
    description:
      - Absolute path of the symbolic link that enables the site. It is relative, and replaced when it points elsewhere.
      - Leave it out when the directory of O(path) is itself included by Nginx (for example, V(/etc/nginx/conf.d)).
    type: path
  remove_links:
    description:
      - Symbolic links to remove in the same step, for example Debian's default site.
      - Only links are removed. A file or directory of that name is refused, and a name that does not exist is fine.
    type: list
    elements: path
    default: []
  nginx:
    description:
      - The Nginx program, as a name to look up or an absolute path.
    type: str
    default: nginx
  config:
    description:
      - Nginx's main configuration file. It is only read.
    type: path
    default: /etc/nginx/nginx.conf
  reload:
    description:
      - Whether a running Nginx loads the new configuration.
    type: bool
    default: true
  required:
    description:
      - Whether it is an error when the Nginx program is not found.
      - With V(false), nothing is done on a host without Nginx, and RV(installed) says so.
      - Check mode reports on such a host what would be written.
    type: bool
    default: true
  backlog:
    description:
      - How many requests may wait for the application at the same time. Each of them takes two of Nginx's connections,
        so a main file that allows fewer, such as Debian's, answers the rest with an error. The module then warns and
        says what to set; it does not change the main file.
      - V(0) says nothing about it.
    type: int
    default: 0
  application:
    description:
      - The application that the site is for. A site file that was not written by this collection for this application,
        and a link that leads elsewhere, are refused, and so is a host on which Nginx could not serve the site, because
        a port is taken, because it has no IPv6, or because Nginx is not in O(group).
      - When omitted, none of this is checked.
    type: str
  group:
    description:
      - The group that may connect to the application, of which Nginx has to be a member.
    type: str
  adopt:
    description:
      - Whether a site file and a link that no application is known to own may be replaced.
    type: bool
    default: false
  stage:
    description:
      - An application that is live keeps its site until an activation has proved the new one. Where Nginx runs, and the
        text or the links differ, the site is put beside after Nginx has tested it, and
        M(flaskops.production.release_activate) puts it in place in the same run.
      - Where the application is not live, or without this option, the site is put in place at once.
    type: dict
    suboptions:
      root:
        description: The application's directory, such as C(/srv/myapp).
        type: path
        required: true
      name:
        description: The application's name.
        type: str
        required: true
      unlock:
        description: Take the deploy lock away from whoever holds it.
        type: bool
        default: false
extends_documentation_fragment:
  - flaskops.production.attributes.of_this_run
attributes:
  check_mode:
    description: Reports what would change. Nothing is validated, because testing makes Nginx create its log files.
    support: full
  diff_mode:
    description: Shows the site file and the links, before and after.
    support: full
  platform:
    description: Needs C(/proc).
    platforms: linux
    support: full
notes:
  - Files whose names begin with C(.flaskops-), in the directories of O(config), O(path) and O(link), are the module's
    own. What a killed run left of them is never read by Nginx and is removed by a later run.
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
  description: Whether Nginx tested the configuration in this run. It does when something changes or a reload is due.
  returned: always
  type: bool
  sample: true
reloaded:
  description: Whether Nginx was reloaded, or would be in check mode.
  returned: always
  type: bool
  sample: true
nginx_output:
  description: What Nginx said, with real names in place of temporary ones. Empty when it was not asked.
  returned: always
  type: str
  sample: "nginx: configuration file /etc/nginx/nginx.conf test is successful"
"""

from typing import NoReturn

from ansible_collections.flaskops.production.plugins.module_utils._module import AnsibleModule
from ansible_collections.flaskops.production.plugins.module_utils._nginx_site import SITE, Fault, Site
from ansible_collections.flaskops.production.plugins.module_utils._platform import require_supported_platform
from ansible_collections.flaskops.production.plugins.module_utils._releases import Home, LockedError, ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._settings import (
    STAGED,
    is_live,
    is_unfinished,
    staging,
)


def fail(module: AnsibleModule, message: str, output: str) -> NoReturn:
    module.fail_json(msg=message, path=module.params["path"], validated=False, reloaded=False, nginx_output=output)
    raise AssertionError("unreachable")


def stage(site: Site, options: dict | None, run: dict) -> bool:
    """Put a site beside that waits for an activation; whether it does."""
    if options is None:
        return False
    home, name = Home(options["root"], run), options["name"]
    # Owner and mode are nothing that an activation could prove.
    differs = (site.before.content, site.before.links) != (site.after.content, site.after.links)
    if not is_live(home, name) or not (differs or is_unfinished(home)):
        return False
    site.prepare()
    with staging(home, name, run, options["unlock"]) as staged:
        staged.add_site(site.after, path=site.path, pid_file=site.pid_file, error_log=site.error_log)
    return True


def main() -> None:
    spec = {**SITE, "stage": STAGED, "run": {"type": "dict"}}
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
    except (Fault, ReleaseError) as fault:
        fail(module, str(fault), site.output if site else "")
    except OSError as error:
        name = error.filename or params["path"]
        fail(module, f"{name}: {error.strerror}", site.output if site else "")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
