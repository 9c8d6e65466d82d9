# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test tasks that include others with variables whose names are known at run time."""

from __future__ import annotations

import pytest
import yaml
from ansible.errors import AnsibleError

from ansible_collections.flaskops.production.plugins.lookup.with_variables import format_wrapper


def test_values_are_referred_to_and_not_written_down():
    (task,) = yaml.safe_load(format_wrapper("/tasks/x.yml", "found[name]", ["b", "a"]))
    assert task["ansible.builtin.include_tasks"] == "/tasks/x.yml"
    assert task["vars"] == {"a": "{{ found[name]['a'] }}", "b": "{{ found[name]['b'] }}"}


class Marked(str):
    """A string from a host, as older versions of Ansible mark it: a conversion to a string keeps the mark."""

    def keep(self):
        return self

    __str__ = keep


def test_names_that_come_from_a_host_are_written_as_plain_text():
    (task,) = yaml.safe_load(format_wrapper("/tasks/x.yml", "found", [Marked("a_1")]))
    assert task["vars"] == {"a_1": "{{ found['a_1'] }}"}


@pytest.mark.parametrize("name", ["a'] ~ lookup('pipe', 'id') ~ found['a", "{{ a }}", "a b", "", "A", "a\n"])
def test_invalid_names_are_rejected(name):
    with pytest.raises(AnsibleError, match="is not the name of a variable"):
        format_wrapper("/tasks/x.yml", "found", [name])
