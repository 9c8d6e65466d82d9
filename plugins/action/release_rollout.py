# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Begin and end a rollout on a host: tell the host which run it is."""

from __future__ import annotations

from ansible_collections.flaskops.production.plugins.plugin_utils._run import OfThisRun


class ActionModule(OfThisRun):
    """The controller's half of release_rollout."""
