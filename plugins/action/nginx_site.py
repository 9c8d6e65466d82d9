# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a site as this run, so that the deploy lock names it."""

from __future__ import annotations

from ansible_collections.flaskops.production.plugins.plugin_utils._run.identity import LockingAction


class ActionModule(LockingAction):
    """The controller's part of nginx_site."""
