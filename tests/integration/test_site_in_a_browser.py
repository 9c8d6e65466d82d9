# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the title of the documentation site in a browser."""

from __future__ import annotations

import re
from html import escape

import pytest
from environment import ROOT

from ansible_collections.flaskops.production.tests.integration.test_report_in_a_browser import browse, in_chromium

pytestmark = pytest.mark.xdist_group("browser")
# The theme's margins on a phone, its rule for long words, and a wide font.
PAGE = """<style>{style}
body {{ margin: 16px; font-family: DejaVu Sans, sans-serif; overflow-wrap: break-word; line-height: 1.5 }}</style>
<article class="content"><h1><span>flaskops.production</span></h1></article>
<script>document.title = document.querySelector("span").getClientRects().length;
frameElement.dataset.lines = document.title; frameElement.removeAttribute("srcdoc");</script>"""


@in_chromium
@pytest.mark.parametrize("width", [320, 360, 390, 1100])
def test_title_is_on_one_line(width, tmp_path):
    page = PAGE.format(style=(ROOT / "docs/site/site.css").read_text())
    frame = f'<iframe srcdoc="{escape(page)}" style="width: {width}px; border: 0"></iframe>'
    shown = browse(tmp_path, frame, (1200, 800), "--dump-dom")
    assert re.findall(r'data-lines="(\d+)"', shown) == ["1"]
