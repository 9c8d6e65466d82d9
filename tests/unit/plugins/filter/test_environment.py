# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
from collections.abc import Sequence

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.flaskops.production.plugins.filter.environment import (
    FilterModule,
    environment_faults,
    environment_file,
)
from ansible_collections.flaskops.production.plugins.module_utils._secrets import ASSIGNMENT, unquote_value

VALUES = {
    "plain": "value",
    "empty": "",
    "spaces": "  two  spaces, at both ends  ",
    "tab": "a\tb",
    "double quotes": 'say "hi"',
    "single quotes": "it's",
    "hash": "no # comment",
    "dollar": "$HOME ${PATH} $1 $$ $(id)",
    "backslash": r"C:\new\table \\ end\\",
    "backtick": "`id`",
    "percent": "100 %n %%",
    "equals": "a=b=c",
    "several lines": '-----BEGIN KEY-----\nabc$=\n"x"\n-----END KEY-----\n',
    "not ASCII": "Grüße, 東京 🐍",
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_a_shell_reads_the_value_as_it_was_written(tmp_path, value):
    file = tmp_path / ".env"
    file.write_text(environment_file({"VALUE": value}), encoding="utf-8")
    script = f'. {file}; printf "%s" "$VALUE"'
    assert subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout.decode() == value
    assert [(name, unquote_value(raw)) for name, raw in ASSIGNMENT.findall(file.read_text())] == [("VALUE", value)]


def test_one_variable_a_line_sorted_by_name():
    assert environment_file({"B": 'Say "hi" for $5', "A": 1, "C": 0.5}) == 'A="1"\nB="Say \\"hi\\" for \\$5"\nC="0.5"\n'
    assert environment_file({}) == ""


@pytest.mark.parametrize("name", ["1ST", "MY-KEY", "MY KEY", "", "KEY\n", "KÄY", "A.B", 1, None])
def test_a_bad_name_is_told(name):
    (fault,) = environment_faults({name: "value"})
    assert f"'{name}'" in fault
    assert "letters, digits and '_', no digit first" in fault


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("secret\r\n", "a control character"),
        ("secret\0", "a control character"),
        ("secret\x7f", "a control character"),
        (True, "true or false"),
        (None, "nothing"),
        (["secret"], "a list"),
        ({"secret": "secret"}, "a mapping"),
    ],
)
def test_a_bad_value_is_told_without_showing_it(value, told):
    (fault,) = environment_faults({"KEY": value})
    assert "flask_app_env.KEY" in fault
    assert told in fault
    assert "secret" not in fault


@pytest.mark.parametrize(
    ("environment", "told"), [(["KEY=secret"], "a list"), ("KEY=secret", "a text"), (1, "a number"), (None, "nothing")]
)
def test_what_is_no_mapping_is_told_without_showing_it(environment, told):
    (fault,) = environment_faults(environment)
    assert fault.startswith(f"flask_app_env is {told}, but")
    assert "a mapping of names to values" in fault
    assert "secret" not in fault


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("WEB_CONCURRENCY", "set gunicorn_systemd_workers"),
        ("GUNICORN_CMD_ARGS", "set gunicorn_systemd_settings"),
        ("LISTEN_FDS", "leave it out"),
        ("RELEASE_HEALTH", "leave it out"),
    ],
)
def test_what_gunicorn_and_systemd_read_is_refused(name, said):
    (fault,) = environment_faults({name: "secret"})
    assert fault.startswith(f"flask_app_env has {name}, ") and said in fault and "secret" not in fault
    assert environment_faults({name: "secret"}, "venv_environment") == []


def test_the_setting_is_named():
    (fault,) = environment_faults({"PROXY": ["secret"]}, "venv_environment")
    assert fault == "venv_environment.PROXY is a list, but must be a string or a number."


class Encrypted(Sequence):
    """What ansible-core 2.17 and 2.18 have for a text that is encrypted in place."""

    __ENCRYPTED__ = True

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return "clear"[index]

    def __str__(self):
        return "clear"


def test_a_text_that_is_encrypted_in_place_is_a_text():
    assert environment_faults({"KEY": Encrypted()}) == []
    assert environment_file({"KEY": Encrypted()}) == 'KEY="clear"\n'


def test_every_fault_is_told():
    assert len(environment_faults({"A-B": "x", "GOOD": "x", "BAD": "a\rb"})) == 2
    assert environment_faults({"GOOD": "x", "_GOOD2": 2}) == []


def test_what_is_faulty_is_not_written():
    with pytest.raises(AnsibleFilterError) as refused:
        environment_file({"KEY": "secret\rsecret", "A-B": "x"})
    assert "flask_app_env.KEY" in str(refused.value)
    assert "'A-B'" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_the_filter_is_offered():
    assert FilterModule().filters() == {"environment_file": environment_file}
