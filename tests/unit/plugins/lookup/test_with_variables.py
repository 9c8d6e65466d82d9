# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks that include others with variables that only the run knows."""

from __future__ import annotations

import yaml

from ansible_collections.flaskops.production.plugins.lookup.with_variables import wrapper


def test_values_are_referred_to_and_not_written_down():
    (task,) = yaml.safe_load(wrapper("/tasks/x.yml", "found[name]", ["b", "a"]))
    assert task["ansible.builtin.include_tasks"] == "/tasks/x.yml"
    assert task["vars"] == {"a": "{{ found[name]['a'] }}", "b": "{{ found[name]['b'] }}"}
