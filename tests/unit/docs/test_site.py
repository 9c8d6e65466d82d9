# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conversion of the repository's files to pages of the site. Sphinx itself fails on broken links."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import docs_site
import generate_docs
import pytest

PLACES = docs_site.map_pages()


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("docs/doctor.md", "security.md", "security.md"),
        ("docs/doctor.md", "../README.md", "overview.md"),
        ("docs/recipes/tls.md", "../../roles/nginx_site/README.md", "../roles/nginx_site.md"),
        ("roles/release/README.md", "../../docs/security.md", "../security.md"),
        ("README.md", "docs/security.md", "security.md"),
        ("docs/deploys.md", "images/handover.svg", "images/handover.svg"),
        (
            "roles/release/README.md",
            "../../playbooks/deploy.yml",
            f"{docs_site.REPOSITORY}/blob/main/playbooks/deploy.yml",
        ),
        ("docs/security.md", "../tests", f"{docs_site.REPOSITORY}/tree/main/tests"),
        ("docs/fleets.md", f"{docs_site.REPOSITORY}/tree/main/examples", f"{docs_site.REPOSITORY}/tree/main/examples"),
        ("docs/README.md", f"{docs_site.REPOSITORY}/blob/main/examples/fleet/README.md", "examples/fleet.md"),
    ],
)
def test_links_lead_to_the_page_or_to_the_repository(page, link, expected):
    assert docs_site.resolve_link(link, page, PLACES) == expected


@pytest.mark.parametrize("link", ["missing.md", f"{docs_site.REPOSITORY}/blob/main/docs/missing.md"])
def test_broken_link_is_reported(link):
    with pytest.raises(SystemExit, match=f"docs/doctor.md: the link {link} is broken"):
        docs_site.resolve_link(link, "docs/doctor.md", PLACES)


def test_broken_links_of_built_pages_are_reported(tmp_path):
    (tmp_path / "roles").mkdir()
    (tmp_path / "index.html").write_text(
        '<h1 id="top"></h1><a href="roles/a.html#b">a</a><a href="https://a.example/">b</a>'
    )
    (tmp_path / "roles/a.html").write_text('<h1 id="a"></h1><a href="../index.html#top">c</a><img src="none.svg">')
    assert docs_site.find_broken_links(tmp_path) == ["index.html: roles/a.html#b", "roles/a.html: none.svg"]


def test_public_plugins_come_first():
    index = """
* :ansplugin:`a module <b.c.a#module>` -- Do this (internal to the roles)
* :ansplugin:`z module <b.c.z#module>` -- Do that

.. toctree::
    :hidden:

    a_module
    z_module
"""
    text = docs_site.convert_reference(index)
    assert text.index("`z module") < text.index("`a module")
    assert text.index("<z_module>") < text.index("<a_module>")


def test_internal_plugins_are_marked():
    documents = [*docs_site.ROOT.glob("plugins/*/*.yml"), *docs_site.ROOT.glob("plugins/*/*.py")]
    short = {
        path.stem: line
        for path in documents
        for line in re.findall(r"^ *short_description: (.+)$", path.read_text(), re.MULTILINE)
    }
    public = {name for name, line in short.items() if not line.endswith("(internal to the roles)")}
    assert public == {"release_source", "symlink_swap", "validate_settings"}


def test_pictures_of_terminals_are_up_to_date():
    pictures = generate_docs.draw_pictures()
    assert pictures
    assert [path.name for path, text in pictures.items() if path.read_text() != text] == [], "run: make docs-tables"


def test_code_blocks_are_not_changed():
    text = "See [a](b).\n\n```yaml\nlist: [a](b)\n```\n\n  ```text\n  [a](b)\n  ```\nand [a](b)\n"
    changed = docs_site.change_outside_code(text, lambda part: part.replace("(b)", "(c)"))
    assert changed == "See [a](c).\n\n```yaml\nlist: [a](b)\n```\n\n  ```text\n  [a](b)\n  ```\nand [a](c)\n"


def test_navigation_has_each_page_once():
    listed = re.findall(
        r"<([^>]+)>",
        docs_site.build_navigation((docs_site.ROOT / "docs/README.md").read_text(), "docs/README.md", PLACES),
    )
    assert sorted(listed) == sorted({*PLACES.values(), "reference/index"} - {"index.md"})


def test_variables_of_a_role_are_in_the_reference_only():
    text = docs_site.convert_page("roles/layout/README.md", PLACES)
    assert "(../reference/layout_role.rst)" in text
    assert "| `layout_create_account`" not in text
    assert "| `layout_create_account`" in (docs_site.ROOT / "roles/layout/README.md").read_text()


def test_a_page_of_the_reference_has_no_contents_and_short_names():
    page = """Title
+++++

.. contents::
   :local:
   :depth: 2

.. toctree::
    :hidden:

    venv_module
    venv_role

.. _ansible_collections.flaskops.production.venv_role__entrypoint-main:

main

.. Extra links

links
"""
    text = docs_site.convert_reference(page)
    assert "contents::" not in text
    assert "\nmain\n" in text and ".. Extra links\n\nlinks\n" in text
    assert "    venv module <venv_module>\n    venv role <venv_role>\n" in text


def test_tasks_in_a_recording_exist():
    """A recording is the output of a real run. After a task is renamed: make docs-recording."""
    tasks = [path.read_text() for part in ("playbooks", "roles") for path in (docs_site.ROOT / part).rglob("*.yml")]
    for recording in (docs_site.ROOT / "docs/site").glob("*.txt"):
        names = re.findall(r"^(?:TASK|PLAY) \[(?:[\w.]+ : )?([^]]+)]", recording.read_text(), re.MULTILINE)
        assert names
        assert [name for name in names if f"name: {name}\n" not in "".join(tasks)] == []


@pytest.mark.parametrize("image", sorted(docs_site.ROOT.glob("docs/images/*.svg")), ids=lambda image: image.name)
def test_images_have_a_title_and_a_dark_theme_and_no_external_resources(image):
    root = ElementTree.parse(image).getroot()
    assert root.find("{http://www.w3.org/2000/svg}title").text
    assert "prefers-color-scheme: dark" in image.read_text()
    assert re.search(r"(href|src)=|url\(|@import", image.read_text()) is None
