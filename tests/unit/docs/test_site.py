# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the files of the repository become pages of the site. Sphinx itself fails on a link that leads nowhere."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import docs_site
import pytest

PLACES = docs_site.pages()


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
    ],
)
def test_links_lead_to_the_page_or_to_the_repository(page, link, expected):
    assert docs_site.resolved(link, page, PLACES) == expected


def test_a_link_that_leads_nowhere_is_told():
    with pytest.raises(SystemExit, match="docs/doctor.md: the link missing.md leads nowhere"):
        docs_site.resolved("missing.md", "docs/doctor.md", PLACES)


def test_code_is_left_as_it_is():
    text = "See [a](b).\n\n```yaml\nlist: [a](b)\n```\n\n  ```text\n  [a](b)\n  ```\nand [a](b)\n"
    changed = docs_site.outside_code(text, lambda part: part.replace("(b)", "(c)"))
    assert changed == "See [a](c).\n\n```yaml\nlist: [a](b)\n```\n\n  ```text\n  [a](b)\n  ```\nand [a](c)\n"


def test_every_page_is_in_the_navigation_once():
    listed = re.findall(
        r"<([^>]+)>", docs_site.navigation((docs_site.ROOT / "docs/README.md").read_text(), "docs/README.md", PLACES)
    )
    assert sorted(listed) == sorted({*PLACES.values(), "reference/index"} - {"index.md"})


def test_variables_of_a_role_are_in_the_reference_only():
    text = docs_site.staged("roles/layout/README.md", PLACES)
    assert "(../reference/layout_role.rst)" in text
    assert "| `layout_create_account`" not in text
    assert "| `layout_create_account`" in (docs_site.ROOT / "roles/layout/README.md").read_text()


def test_a_page_of_the_reference_says_nothing_twice():
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

.. _ansible_collections.flaskops.production.venv_role__entrypoint-validate:

.. Entry point title

the same again

.. Extra links

links
"""
    text = docs_site.reference(page)
    assert "contents::" not in text and "the same again" not in text
    assert "\nmain\n" in text and ".. Extra links\n\nlinks\n" in text
    assert "    venv module <venv_module>\n    venv role <venv_role>\n" in text


@pytest.mark.parametrize("image", sorted(docs_site.ROOT.glob("docs/images/*.svg")), ids=lambda image: image.name)
def test_images_are_told_in_words_and_have_a_dark_side(image):
    root = ElementTree.parse(image).getroot()
    assert root.find("{http://www.w3.org/2000/svg}title").text
    assert "prefers-color-scheme: dark" in image.read_text()
    assert "http" not in image.read_text().replace("http://www.w3.org/2000/svg", ""), "it fetches something"
