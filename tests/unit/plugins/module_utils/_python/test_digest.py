# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.flaskops.production.plugins.module_utils._python.digest import compute_digest


def test_digest_depends_on_all_inputs():
    first = compute_digest({"a": [1, 2], "b": "x"})
    assert first == compute_digest({"b": "x", "a": [1, 2]})
    assert first != compute_digest({"a": [2, 1], "b": "x"})
    assert len(first) == 12 and int(first, 16) >= 0
