# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.flaskops.production.plugins.modules import release_status


def test_unreadable_log_is_an_error_with_its_path(tmp_path, run_module):
    log = tmp_path / ".deploy/activations.log"
    log.mkdir(parents=True)
    result = run_module(release_status, {"name": "myapp", "root": str(tmp_path)})
    assert result["msg"] == f"{log}: Is a directory."
