# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolution of relative paths for all kinds of playbooks and plays."""

from __future__ import annotations

import os

import pytest
from ansible import context
from ansible.module_utils.common.collections import ImmutableDict

from ansible_collections.flaskops.production.plugins.plugin_utils._source import paths
from ansible_collections.flaskops.production.plugins.plugin_utils._source.paths import PLAYBOOKS, list_possible_paths


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Create a project with a playbook, and make it the working directory."""
    (tmp_path / "plays").mkdir()
    (tmp_path / "plays/site.yml").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command_line(monkeypatch):
    """Return a function that sets the arguments of ansible-playbook."""

    def start(*playbooks: str) -> None:
        monkeypatch.setattr(context, "CLIARGS", ImmutableDict(args=playbooks))

    return start


@pytest.mark.parametrize("written", [".", "..", "app", "./app", "../app"])
def test_imported_playbook_resolves_beside_the_users_playbook(project, command_line, written):
    command_line("plays/site.yml", "plays/other.yml")
    beside = os.path.normpath(project / "plays" / written)
    in_playbook_directory = f"{PLAYBOOKS}/{written}"
    for path in (written, in_playbook_directory):
        assert list_possible_paths(path, str(PLAYBOOKS)) == [beside, os.path.normpath(project / written)]


@pytest.mark.parametrize("written", [".", "..", "app"])
def test_playbook_of_the_collection_resolves_in_the_working_directory(project, command_line, written):
    command_line("flaskops.production.site")
    assert list_possible_paths(written, str(PLAYBOOKS)) == [os.path.normpath(project / written)]
    assert list_possible_paths(str(PLAYBOOKS), str(PLAYBOOKS)) == [str(project)]


def test_own_playbook_resolves_beside_itself_first(project, command_line):
    command_line("plays/site.yml")
    other = str(project / "elsewhere")
    assert list_possible_paths("app", other) == [f"{other}/app", str(project / "plays/app"), str(project / "app")]
    assert list_possible_paths(f"{other}/app", other) == [f"{other}/app"]


def test_absolute_paths_and_home_directories_are_kept(project, command_line, monkeypatch):
    command_line("plays/site.yml")
    monkeypatch.setenv("HOME", "/home/ada")
    for directory in (str(PLAYBOOKS), str(project)):
        assert list_possible_paths("/srv/app", directory) == ["/srv/app"]
        assert list_possible_paths("~/app", directory) == ["/home/ada/app"]
    beside_the_collection = f"{PLAYBOOKS.parent}/molecule/app"
    assert list_possible_paths(beside_the_collection, str(PLAYBOOKS)) == [beside_the_collection]


def test_collection_behind_a_link_is_recognized(project, command_line, monkeypatch):
    command_line("plays/site.yml")
    link = project / "collection"
    link.symlink_to(PLAYBOOKS.parent)
    assert list_possible_paths(f"{link}/playbooks/app", f"{link}/playbooks")[0] == str(project / "plays/app")


@pytest.mark.parametrize("arguments", [{}, {"args": None}, {"args": ()}, {"args": "all"}])
def test_other_commands_have_no_first_playbook(project, monkeypatch, arguments):
    monkeypatch.setattr(context, "CLIARGS", ImmutableDict(arguments))
    assert paths.find_first_playbook() == ""
