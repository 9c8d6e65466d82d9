# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that helpers stay small. ruff limits the complexity of functions."""

from __future__ import annotations

from pathlib import Path

PLUGINS = Path(__file__).parents[3] / "plugins"
MAX_LINES = 350


def test_helpers_have_a_limited_length():
    paths = [path for kind in ("module_utils", "plugin_utils") for path in (PLUGINS / kind).rglob("*.py")]
    lengths = {str(path.relative_to(PLUGINS)): len(path.read_text().splitlines()) for path in paths}
    assert len(lengths) > 80
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}
