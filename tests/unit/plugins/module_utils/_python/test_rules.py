# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._python import rules

CONTRADICTS = "contradicts venv_index_url, which sets the source of packages: remove the line or the setting"


@pytest.mark.parametrize(
    "line",
    [
        "-i https://me:secret@evil.example/simple",
        "--index-url=https://evil.example/simple",
        "--index-url https://evil.example/simple",
        "--pypi-url https://evil.example/simple",
        "--extra-index-url https://evil.example/simple",
        "--trusted-host evil.example",
        "--no-index",
        "-f https://evil.example/wheels",
        "--find-links=file:///srv/evil",
    ],
)
def test_other_sources_than_the_configured_index_are_refused(line):
    (problem,) = rules.find_contradictions({"r.txt": f"flask\n{line}\n"}, [], False, "venv_index_url")
    assert problem.startswith("r.txt, line 2: '") and problem.endswith(f"' {CONTRADICTS}.")
    assert "secret" not in problem
    assert rules.find_contradictions({"r.txt": line}, [], False, "") == []


def test_extra_indexes_allow_further_ones_but_no_replacement():
    def problems(line):
        return rules.find_contradictions({"r.txt": line}, [], False, "venv_extra_index_urls")

    assert problems("--extra-index-url https://b.example/simple") == []
    assert "contradicts venv_extra_index_urls" in problems("--index-url https://b.example/simple")[0]
    assert "contradicts venv_extra_index_urls" in problems("--trusted-host b.example")[0]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("./evil.tar.gz", "is not a wheel"),
        ("evil-1.0.zip", "is not a wheel"),
        ("./evil", "is not a wheel"),
        (".", "is not a wheel"),
        ("/srv/evil.tar.gz ; python_version > '3'", "is not a wheel"),
        ("file:///srv/evil.tar.gz", "is not a wheel"),
        ("https://evil.example/evil-1.0.tar.gz#sha256=1", "is not a wheel"),
        ("evil @ https://evil.example/evil-1.0.tar.gz", "is not a wheel"),
        ("evil[x]@file:./evil", "is not a wheel"),
        ("evil @ git+https://evil.example/evil.git@main", "comes from a version control system"),
        ("git+ssh://git@evil.example/evil.git", "comes from a version control system"),
        ("-e .", "names a directory or a repository"),
        ("--editable=git+https://evil.example/evil.git", "names a directory or a repository"),
        ("--no-binary :all:", "contradicts venv_only_binary: true"),
        ("--no-binary=evil", "contradicts venv_only_binary: true"),
        ("--only-binary :none:", "contradicts venv_only_binary: true"),
    ],
)
def test_requirements_that_run_code_are_refused_with_only_binary(line, problem):
    (found,) = rules.find_contradictions({"r.txt": line}, [], True, "")
    assert found.startswith("r.txt, line 1: '") and problem in found and "venv_only_binary" in found
    assert rules.find_contradictions({"r.txt": line}, [], False, "") == []


@pytest.mark.parametrize(
    "line",
    [
        "flask==3.1.0 --hash=sha256:1",
        "flask[async]>=3 ; python_version > '3'",
        "./wheels/own-1.0-py3-none-any.whl",
        "own @ https://index.example/own-1.0-py3-none-any.whl#sha256=1",
        "-r more.txt",
        "-c limits.txt",
        "--require-hashes",
        "--only-binary=:all:",
        "--no-binary :none:",
    ],
)
def test_requirements_that_run_no_code_are_accepted(line):
    assert rules.find_contradictions({"r.txt": line}, [], True, "") == []


def test_added_packages_are_checked_and_other_formats_are_not():
    (problem,) = rules.find_contradictions({"uv.lock": "./evil.tar.gz"}, ["own @ https://h.example/own.zip"], True, "")
    assert problem.startswith("venv_packages has 'own @ https://h.example/own.zip', which is not a wheel")


def test_hosts_are_found_in_texts():
    texts = ["https://me:pw@A.example:8443/simple", "x @ git+https://b.example/x.git\n--index-url=http://c.example"]
    assert rules.find_hosts(texts) == {"a.example", "b.example", "c.example"}
