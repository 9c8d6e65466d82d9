# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a setting was chosen, whatever value it has."""

from __future__ import annotations

from ansible_collections.flaskops.production.tests.unit.roles.playing import play


def test_defaults_do_not_count_as_set(tmp_path):
    asked = "{{ lookup('flaskops.production.is_set', 'flask_app', 'flask_app_user') }}"
    hosts = {
        "default": {"expected": False},
        "named": {"flask_app_user": "shop", "expected": True},
        "templated": {"flask_app_user": "{{ account }}", "account": "shop", "expected": True},
        "repeated": {"flask_app_user": "{{ flask_app_name }}", "expected": False},
    }
    tasks = [
        {"include_role": {"name": "flaskops.production.flask_app", "public": True}},
        {"assert": {"that": [f"({asked.strip('{} ')}) == expected", "flask_app_user == 'shop'"]}},
    ]
    done = play(tmp_path, {name: {"flask_app_name": "shop", **values} for name, values in hosts.items()}, tasks)
    assert done.returncode == 0, done.stdout + done.stderr


def test_variables_of_a_task_count_as_set(tmp_path):
    tasks = [
        {"include_role": {"name": "flaskops.production.flask_app", "public": True}},
        {
            "assert": {"that": ["lookup('flaskops.production.is_set', 'flask_app', 'flask_app_user')"]},
            "vars": {"flask_app_user": "shop"},
        },
    ]
    done = play(tmp_path, {"one": {"flask_app_name": "shop"}}, tasks)
    assert done.returncode == 0, done.stdout + done.stderr
