# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules that work on an application's services have in common."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
attributes:
  platform:
    support: full
    platforms: linux
    description: The kind of host that the module works on; it needs systemd.
"""

    # Of a module that only looks.
    READ_ONLY = r"""
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
  diff_mode:
    support: none
    description: Changes nothing.
"""

    # Of a module that takes the lock of the application.
    OF_THIS_RUN = r"""
attributes:
  action:
    support: full
    description: Tells the host which run this is.
options:
  run:
    description: Who deploys, C(run), C(by) and C(controller). Set by the action plugin.
    type: dict
"""

    # Of a module whose files an activation puts in place.
    STAGE = r"""
options:
  stage:
    description:
      - A live application keeps its files until the health check of an activation has succeeded with the new ones. They
        are staged, and M(flaskops.production.release_activate) puts them in place in the same run.
      - If the application is not live, or without this option, the files are put in place at once.
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
        description: Whether a deploy lock of another run is removed.
        type: bool
        default: false
"""
