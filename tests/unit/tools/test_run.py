# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts of tests, and missing programs."""

from __future__ import annotations

import packages
import pytest
import run

REPORT = '<testsuites><testsuite tests="7" failures="1" errors="1" skipped="2"/></testsuites>'


@pytest.mark.parametrize(
    ("report", "result", "expected"),
    [
        (REPORT, "failed", (3, 2, 2)),
        ('<testsuite tests="7" failures="0" errors="0" skipped="2"/>', "success", (5, 0, 2)),
        # A session that fails without a failed test, such as one whose images cannot be built.
        ('<testsuite tests="7" failures="0" errors="0" skipped="0"/>', "failed", (7, 1, 0)),
        (None, "failed", (0, 1, 0)),
        (None, "success", (1, 0, 0)),
        (None, "skipped", (0, 0, 1)),
    ],
)
def test_tests_of_a_session_are_counted(report, result, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "REPORTS", tmp_path)
    if report:
        (tmp_path / "unit.xml").write_text(report)
    assert run.count_tests({"name": "unit", "result": result}) == expected


@pytest.fixture
def machine(monkeypatch):
    """Return a function that simulates a machine with the given programs, and records installed packages."""

    def prepare(*programs: str, root: bool) -> list[str]:
        installed = []
        monkeypatch.setattr(packages.shutil, "which", lambda name: name if name in programs else None)
        monkeypatch.setattr(packages, "is_docker_running", lambda: "dockerd" in programs)
        monkeypatch.setattr(packages, "can_install", lambda: root)
        monkeypatch.setattr(packages.os.path, "exists", lambda path: True)
        monkeypatch.setattr(packages, "install_packages", lambda *names: installed.extend(names))
        return installed

    return prepare


def test_missing_programs_are_listed_with_their_tests_without_root(machine, capsys):
    installed = machine(*(set(packages.PROGRAMS) - {"minisign", "nginx"}), root=False)
    packages.install_programs()
    assert installed == []
    assert capsys.readouterr().err == (
        "Skipped because programs are missing: minisign signatures, Nginx sites as Nginx reads them. "
        "To run them, install: apt-get install minisign nginx-light\n"
    )


def test_missing_programs_are_installed_as_root(machine):
    installed = machine(*(set(packages.PROGRAMS) - {"minisign", "gpg", "gpg-agent"}), root=True)
    packages.install_programs()
    assert installed == ["gpg", "gpg-agent", "minisign"]


def test_nothing_is_printed_if_no_program_is_missing(machine, capsys):
    installed = machine(*packages.PROGRAMS, root=False)
    packages.install_programs()
    assert installed == []
    assert capsys.readouterr().err == ""
