# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.flaskops.production.plugins.module_utils import _requirement_rules as rules

CONTRADICTS = "contradicts venv_index_url, which says where packages come from: remove the line or the setting"


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
def test_other_places_than_that_of_the_setting_are_refused(line):
    (fault,) = rules.find_contradictions({"r.txt": f"flask\n{line}\n"}, [], False, "venv_index_url")
    assert fault.startswith("r.txt, line 2: '") and fault.endswith(f"' {CONTRADICTS}.")
    assert "secret" not in fault
    assert rules.find_contradictions({"r.txt": line}, [], False, "") == []


def test_more_indexes_leave_room_for_one_more_but_not_for_another_one():
    def faults(line):
        return rules.find_contradictions({"r.txt": line}, [], False, "venv_extra_index_urls")

    assert faults("--extra-index-url https://b.example/simple") == []
    assert "contradicts venv_extra_index_urls" in faults("--index-url https://b.example/simple")[0]
    assert "contradicts venv_extra_index_urls" in faults("--trusted-host b.example")[0]


@pytest.mark.parametrize(
    ("line", "fault"),
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
def test_what_would_run_code_is_refused_where_only_wheels_are_accepted(line, fault):
    (found,) = rules.find_contradictions({"r.txt": line}, [], True, "")
    assert found.startswith("r.txt, line 1: '") and fault in found and "venv_only_binary" in found
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
def test_what_runs_no_code_is_accepted(line):
    assert rules.find_contradictions({"r.txt": line}, [], True, "") == []


def test_added_packages_are_looked_at_and_other_formats_are_not():
    (fault,) = rules.find_contradictions({"uv.lock": "./evil.tar.gz"}, ["own @ https://h.example/own.zip"], True, "")
    assert fault.startswith("venv_packages has 'own @ https://h.example/own.zip', which is not a wheel")


def test_the_hosts_that_texts_name():
    texts = ["https://me:pw@A.example:8443/simple", "x @ git+https://b.example/x.git\n--index-url=http://c.example"]
    assert rules.find_hosts(texts) == {"a.example", "b.example", "c.example"}
