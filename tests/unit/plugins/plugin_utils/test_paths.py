# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a relative path leads, whichever playbook is started and whichever of its plays runs."""

from __future__ import annotations

import os

import pytest
from ansible import context
from ansible.module_utils.common.collections import ImmutableDict

from ansible_collections.flaskops.production.plugins.plugin_utils import _paths
from ansible_collections.flaskops.production.plugins.plugin_utils._paths import PLAYBOOKS, places


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a playbook, and the working directory in it."""
    (tmp_path / "plays").mkdir()
    (tmp_path / "plays/site.yml").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def started(monkeypatch):
    """What ansible-playbook was started with."""

    def start(*playbooks: str) -> None:
        monkeypatch.setattr(context, "CLIARGS", ImmutableDict(args=playbooks))

    return start


@pytest.mark.parametrize("written", [".", "..", "app", "./app", "../app"])
def test_from_an_imported_playbook_it_is_beside_the_users_own(project, started, written):
    started("plays/site.yml", "plays/other.yml")
    beside = os.path.normpath(project / "plays" / written)
    in_playbook_directory = f"{PLAYBOOKS}/{written}"
    for path in (written, in_playbook_directory):
        assert places(path, str(PLAYBOOKS)) == [beside, os.path.normpath(project / written)]


@pytest.mark.parametrize("written", [".", "..", "app"])
def test_with_a_playbook_of_the_collection_it_is_in_the_working_directory(project, started, written):
    started("flaskops.production.site")
    assert places(written, str(PLAYBOOKS)) == [os.path.normpath(project / written)]
    assert places(str(PLAYBOOKS), str(PLAYBOOKS)) == [str(project)]


def test_in_a_playbook_of_ones_own_it_is_beside_that_first(project, started):
    started("plays/site.yml")
    other = str(project / "elsewhere")
    assert places("app", other) == [f"{other}/app", str(project / "plays/app"), str(project / "app")]
    assert places(f"{other}/app", other) == [f"{other}/app"]


def test_an_absolute_path_and_one_at_home(project, started, monkeypatch):
    started("plays/site.yml")
    monkeypatch.setenv("HOME", "/home/ada")
    for directory in (str(PLAYBOOKS), str(project)):
        assert places("/srv/app", directory) == ["/srv/app"]
        assert places("~/app", directory) == ["/home/ada/app"]
    beside_the_collection = f"{PLAYBOOKS.parent}/molecule/app"
    assert places(beside_the_collection, str(PLAYBOOKS)) == [beside_the_collection]


def test_the_collection_may_be_found_by_way_of_a_link(project, started, monkeypatch):
    started("plays/site.yml")
    link = project / "collection"
    link.symlink_to(PLAYBOOKS.parent)
    assert places(f"{link}/playbooks/app", f"{link}/playbooks")[0] == str(project / "plays/app")


@pytest.mark.parametrize("arguments", [{}, {"args": None}, {"args": ()}, {"args": "all"}])
def test_another_command_than_ansible_playbook(project, monkeypatch, arguments):
    monkeypatch.setattr(context, "CLIARGS", ImmutableDict(arguments))
    assert _paths.first_playbook() == ""
