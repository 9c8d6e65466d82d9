# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pass the description of this run to the module adoption_activate, for the deploy lock."""

from __future__ import annotations

from ansible_collections.flaskops.production.plugins.plugin_utils._run.identity import LockingAction


class ActionModule(LockingAction):
    """The controller's part of adoption_activate."""
