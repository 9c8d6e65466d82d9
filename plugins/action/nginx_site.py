# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a site: tell the host whose run it is."""

from __future__ import annotations

from ansible_collections.flaskops.production.plugins.plugin_utils._run import OfThisRun


class ActionModule(OfThisRun):
    """The controller's half of nginx_site."""
