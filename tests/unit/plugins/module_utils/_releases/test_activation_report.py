# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The message of a failed activation."""

from __future__ import annotations

from types import SimpleNamespace

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._releases.activation_report import format_failure
from ansible_collections.flaskops.production.plugins.module_utils._releases.failure import RejectedError


def test_command_shows_the_log_from_its_first_line(tmp_path):
    """A unit that starts at the end of a second logs its first lines in the same second."""
    error = RejectedError("candidate", "it did not start", "shop-next.service", 1700000000.9)
    options = SimpleNamespace(release="v2", site="", name="shop", health=None)
    message = format_failure(error, Layout(str(tmp_path)), options, [])
    assert message.splitlines()[-1].endswith("journalctl --unit=shop-next.service --since=@1700000000")
