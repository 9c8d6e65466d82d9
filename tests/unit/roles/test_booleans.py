# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`-e name=false` gives a text, and a text is true: whatever asks for a boolean setting has to read it as one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
SPECS = [yaml.safe_load(path.read_text()) for path in sorted(ROOT.glob("roles/*/meta/argument_specs.yml"))]
BOOLEANS = sorted(
    name
    for spec in SPECS
    for name, option in spec["argument_specs"]["main"]["options"].items()
    if option.get("type") == "bool"
)
FILES = sorted(
    path
    for pattern in ("roles/*/tasks/*.yml", "roles/*/vars/*.yml", "roles/*/templates/**/*.j2", "playbooks/**/*.yml")
    for path in ROOT.glob(pattern)
)
# Their value is an expression without braces.
CONDITIONS = ("when", "that", "changed_when", "failed_when", "until")
BRACES = re.compile(r"\{\{(.*?)\}\}|\{%(.*?)%\}", re.DOTALL)
TEXT = re.compile(r"'[^']*'|\"[^\"]*\"")


def expressions(value: object, is_condition: bool = False) -> Iterator[str]:
    """The expressions in what a YAML file holds."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from expressions(below, key in CONDITIONS)
    elif isinstance(value, list):
        for below in value:
            yield from expressions(below, is_condition)
    elif isinstance(value, str) and is_condition:
        yield value
    elif isinstance(value, str):
        yield from (first or second for first, second in BRACES.findall(value))


def misread(name: str, expression: str) -> bool:
    """Whether an expression takes a setting as it is. Nothing but its name goes to an option with a type."""
    code = TEXT.sub("''", expression)
    return code.strip() != name and bool(re.search(rf"(?<![\w.]){name}\b(?!\s*\|\s*bool\b)", code))


ALL = [
    (path, expression)
    for path in FILES
    for expression in expressions(yaml.safe_load(path.read_text()) if path.suffix == ".yml" else path.read_text())
]


def test_there_is_something_to_look_at():
    assert len(BOOLEANS) > 15
    for name in BOOLEANS:
        assert any(re.search(rf"\b{name}\b", expression) for _path, expression in ALL), name


@pytest.mark.parametrize("name", BOOLEANS)
def test_a_boolean_setting_is_read_as_one(name):
    found = [(str(path.relative_to(ROOT)), expression) for path, expression in ALL if misread(name, expression)]
    assert found == []


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("x", False),
        (" x | bool and y", False),
        ("x and y", True),
        ("'a' if not x else 'b'", True),
        ("'x' if y", False),
        ("a.x", False),
    ],
)
def test_what_is_misread(expression, wrong):
    assert misread("x", expression) is wrong
