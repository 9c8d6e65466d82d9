# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the built tarball and the collection installed from it."""

from __future__ import annotations

import json
import posixpath
import re
import tarfile

import pytest
from environment import ROOT

pytestmark = [pytest.mark.xdist_group("tarball"), pytest.mark.usefixtures("requires_docker")]

# Relative links in Markdown, without the name of a heading.
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)")
# Files for contributors only.
UNWANTED = re.compile(r"(tests|tools|molecule|benchmarks|noxfile[.]py|docs/site|changelogs/fragments|\.[a-z].*)(/|$)")


def test_tarball_contains_only_files_for_users(tarball):
    with tarfile.open(tarball) as archive:
        names = archive.getnames()
    assert [name for name in names if UNWANTED.match(name) or name.endswith(".pyc")] == []
    wanted = ("README.md", "CHANGELOG.rst", "LICENSE", "meta/runtime.yml", "changelogs/changelog.yaml")
    assert [name for name in wanted if (ROOT / name).exists() and name not in names] == []
    for directory in ("plugins", "roles", "playbooks"):
        files = {str(path.relative_to(ROOT)) for path in (ROOT / directory).rglob("*.yml")}
        assert files - set(names) == set()


def test_links_in_the_tarball_are_valid(tarball):
    broken = []
    with tarfile.open(tarball) as archive:
        names = set(archive.getnames())
        pages = {name: archive.extractfile(name).read().decode() for name in names if name.endswith(".md")}
    for page, text in pages.items():
        for link in LINK.findall(text):
            target = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
            if target not in names:
                broken.append(f"{page}: {link}")
    assert {"README.md", "docs/README.md"} <= set(pages)
    assert broken == []


def test_installed_collection_is_complete_and_documented(installed):
    assert "flaskops.production" in installed("ansible-galaxy", "collection", "list")
    installed("ansible-galaxy", "collection", "verify", "--offline", "flaskops.production")
    modules = json.loads(installed("ansible-doc", "--type=module", "--list", "--json", "flaskops.production"))
    assert {name.rpartition(".")[2] for name in modules} == {
        path.stem for path in (ROOT / "plugins/modules").glob("*.py")
    }
    assert all(modules.values()), "a module has no short description"
    roles = json.loads(installed("ansible-doc", "--type=role", "--list", "--json", "flaskops.production"))
    assert {name.rpartition(".")[2] for name in roles} == {path.name for path in (ROOT / "roles").iterdir()}
