# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._python import toml_files


def test_pyproject_dependencies_are_parsed():
    assert toml_files.parse_pyproject({"project": {"dependencies": ["flask>=3"]}}) == ["flask>=3"]
    assert toml_files.parse_pyproject({"project": {}}) == []


@pytest.mark.parametrize(
    ("data", "problem"),
    [({}, "no .project. table"), ({"project": {"dynamic": ["version", "dependencies"]}}, "dependencies are dynamic")],
)
def test_invalid_pyproject_is_refused(data, problem):
    with pytest.raises(ValueError, match=problem):
        toml_files.parse_pyproject(data)


def test_extras_and_groups_are_added():
    data = {
        "project": {"dependencies": ["flask"], "optional-dependencies": {"Post_gres": ["psycopg"], "x": ["y"]}},
        "dependency-groups": {"prod": ["redis", {"include-group": "Base"}], "base": ["flask", "sentry-sdk"]},
    }
    assert toml_files.parse_pyproject(data) == ["flask"]
    found = toml_files.parse_pyproject(data, ["post-gres"], ["prod"])
    assert found == ["flask", "psycopg", "redis", "sentry-sdk"]


def test_group_that_includes_itself_is_refused():
    data = {"project": {}, "dependency-groups": {"a": [{"include-group": "b"}], "b": [{"include-group": "a"}]}}
    with pytest.raises(ValueError, match="its group 'a' includes itself"):
        toml_files.parse_pyproject(data, (), ["a"])


def test_pylock_is_converted_to_hashed_requirements():
    data = {
        "lock-version": "1.0",
        "packages": [
            {
                "name": "colorama",
                "version": "0.4.6",
                "marker": "sys_platform == 'win32'",
                "wheels": [{"hashes": {"sha256": "1", "md5": "2"}}],
                "sdist": {"hashes": {"sha512": "3"}},
            },
            {"name": "x", "archive": {"url": "https://h/x.zip", "hashes": {"sha256": "4"}}},
            {"name": "own", "marker": "os_name == 'posix'", "directory": {"path": "a b", "subdirectory": "c"}},
        ],
    }
    assert toml_files.parse_pylock(data) == [
        "colorama==0.4.6 ; sys_platform == 'win32' --hash=sha256:1 --hash=sha512:3",
        "x @ https://h/x.zip --hash=sha256:4",
        "own @ file:a%20b/c ; os_name == 'posix'",
    ]


@pytest.mark.parametrize(
    ("package", "problem"),
    [
        ({"name": "x", "vcs": {}}, "x comes from a version control system"),
        ({"name": "x", "version": "1", "marker": "'a' in extras"}, "x depends on an extra"),
        ({"name": "x", "archive": {"path": "x.zip"}}, "x comes from a local archive"),
        ({"name": "x"}, "x has no version"),
        ({"name": "x", "version": "1", "wheels": [{"hashes": {"md5": "1"}}]}, "x has no SHA-2 hash"),
    ],
)
def test_invalid_pylock_is_refused(package, problem):
    with pytest.raises(ValueError, match=problem):
        toml_files.parse_pylock({"lock-version": "1.0", "packages": [package]})


def test_unknown_pylock_version_is_refused():
    with pytest.raises(ValueError, match="lock-version is '2.0'"):
        toml_files.parse_pylock({"lock-version": "2.0"})
