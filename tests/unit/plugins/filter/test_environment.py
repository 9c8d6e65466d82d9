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
    check_environment,
    environment_file,
)
from ansible_collections.flaskops.production.plugins.module_utils._core.secrets import ASSIGNMENT, unquote_value

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
def test_shell_reads_the_original_value(tmp_path, value):
    file = tmp_path / ".env"
    file.write_text(environment_file({"VALUE": value}), encoding="utf-8")
    script = f'. {file}; printf "%s" "$VALUE"'
    assert subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout.decode() == value
    assert [(name, unquote_value(raw)) for name, raw in ASSIGNMENT.findall(file.read_text())] == [("VALUE", value)]


def test_variables_are_sorted_by_name():
    assert environment_file({"B": 'Say "hi" for $5', "A": 1, "C": 0.5}) == 'A="1"\nB="Say \\"hi\\" for \\$5"\nC="0.5"\n'
    assert environment_file({}) == ""


@pytest.mark.parametrize("name", ["1ST", "MY-KEY", "MY KEY", "", "KEY\n", "KÄY", "A.B", 1, None])
def test_invalid_name_is_reported(name):
    (error,) = check_environment({name: "value"})
    assert f"'{name}'" in error
    assert "letters, digits and '_', no digit first" in error


@pytest.mark.parametrize(
    ("value", "expected"),
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
def test_invalid_value_is_reported_but_not_shown(value, expected):
    (error,) = check_environment({"KEY": value})
    assert "flask_app_env.KEY" in error
    assert expected in error
    assert "secret" not in error


@pytest.mark.parametrize(
    ("environment", "expected"),
    [(["KEY=secret"], "a list"), ("KEY=secret", "a string"), (1, "a number"), (None, "nothing")],
)
def test_value_that_is_not_a_mapping_is_reported_but_not_shown(environment, expected):
    (error,) = check_environment(environment)
    assert error.startswith(f"flask_app_env is {expected}, but")
    assert "a mapping of names to values" in error
    assert "secret" not in error


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("WEB_CONCURRENCY", "set gunicorn_systemd_workers"),
        ("GUNICORN_CMD_ARGS", "set gunicorn_systemd_settings"),
        ("LISTEN_FDS", "remove it"),
        ("RELEASE_HEALTH", "remove it"),
    ],
)
def test_variables_of_gunicorn_and_systemd_are_rejected(name, expected):
    (error,) = check_environment({name: "secret"})
    assert error.startswith(f"flask_app_env has {name}, ") and expected in error and "secret" not in error
    assert check_environment({name: "secret"}, "venv_environment") == []


def test_error_names_the_setting():
    (error,) = check_environment({"PROXY": ["secret"]}, "venv_environment")
    assert error == "venv_environment.PROXY is a list, but must be a string or a number."


class VaultValue(Sequence):
    """The type of an inline vault value in ansible-core 2.17 and 2.18."""

    __ENCRYPTED__ = True

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return "clear"[index]

    def __str__(self):
        return "clear"


def test_inline_vault_value_is_a_string():
    assert check_environment({"KEY": VaultValue()}) == []
    assert environment_file({"KEY": VaultValue()}) == 'KEY="clear"\n'


def test_all_errors_are_reported():
    assert len(check_environment({"A-B": "x", "GOOD": "x", "BAD": "a\rb"})) == 2
    assert check_environment({"GOOD": "x", "_GOOD2": 2}) == []


def test_invalid_variables_are_not_written():
    with pytest.raises(AnsibleFilterError) as error_info:
        environment_file({"KEY": "secret\rsecret", "A-B": "x"})
    assert "flask_app_env.KEY" in str(error_info.value)
    assert "'A-B'" in str(error_info.value)
    assert "secret" not in str(error_info.value)


def test_the_filter_is_offered():
    assert FilterModule().filters() == {"environment_file": environment_file}
