# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control characters in results and messages are escaped."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._core import module as module_module
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import format_error
from ansible_collections.flaskops.production.plugins.module_utils._core.text import escape_data, escape_text, one_line
from ansible_collections.flaskops.production.plugins.module_utils._files.directory import UnsafePathError

PLUGINS = Path(module_module.__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcode, 日本語\n\ttext", "plain, ünïcode, 日本語\n\ttext"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\rb\r\nc", "a\\x0db\nc"),
        ("\x00\x7f", r"\x00\x7f"),
        ("abc\u202egnp.exe\u2066", r"abc\u202egnp.exe\u2066"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("\ud800", r"\ud800"),
    ],
)
def test_control_characters_are_escaped(text, shown):
    assert escape_text(text) == shown
    assert escape_text(shown) == shown


def test_a_name_makes_no_line_of_its_own():
    assert one_line("a\n\tERROR: b\r\n\x1b") == r"a\x0a\x09ERROR: b\x0a\x1b"
    assert str(UnsafePathError("a\nb is a symbolic link.")) == r"a\x0ab is a symbolic link."
    assert format_error(FileNotFoundError(2, "No such file or directory", "/a\nb"), "/") == (
        r"/a\x0ab: No such file or directory."
    )


def test_all_strings_in_data_are_escaped():
    data = {"\x1b": ["\x1b", {"a": ("\x1b", 1, None, True)}]}
    assert escape_data(data) == {r"\x1b": [r"\x1b", {"a": [r"\x1b", 1, None, True]}]}


@pytest.mark.parametrize("end", ["exit_json", "fail_json"])
def test_modules_escape_their_results_and_warnings(run_module, monkeypatch, end):
    warnings = []
    monkeypatch.setattr(module_module.basic.AnsibleModule, "warn", lambda _self, text: warnings.append(text))

    class Module:
        @staticmethod
        def main():
            module = module_module.AnsibleModule({"name": {"type": "str"}})
            module.warn("\x1b\udce9")
            getattr(module, end)(msg="\x1b\udce9", found=["\x9b"], diff={"before": "\u202e", "after": "\n"})

    result = run_module(Module, {"name": "x"})
    assert result["msg"] == r"\x1b\xe9" and result["found"] == [r"\x9b"]
    assert result["diff"] == {"before": r"\u202e", "after": "\n"}
    assert warnings == [r"\x1b\xe9"]


@pytest.mark.parametrize("end", ["exit_json", "fail_json"])
def test_secret_with_a_control_character_is_hidden(run_module, end):
    class Module:
        @staticmethod
        def main():
            module = module_module.AnsibleModule({"key": {"type": "str", "no_log": True}})
            getattr(module, end)(msg=f"it is {module.params['key']}", lines=[module.params["key"]])

    assert "correct" not in str(run_module(Module, {"key": "correct\x1bhorse"}))


def test_all_modules_use_the_class_that_escapes():
    for path in (PLUGINS / "modules").glob("*.py"):
        text = path.read_text()
        assert not re.search(r"ansible\.module_utils\.basic import .*AnsibleModule", text), path
        assert "_core.module import AnsibleModule" in text, path
