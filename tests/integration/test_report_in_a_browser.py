# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the doctor's page in a browser, and its picture in docs/doctor.md."""

from __future__ import annotations

import hashlib
import re
import struct
import subprocess
import zlib
from collections.abc import Iterator
from html import escape
from pathlib import Path

import pytest
from environment import ROOT

from ansible_collections.flaskops.production.plugins.filter.doctor_html import doctor_html
from ansible_collections.flaskops.production.plugins.filter.doctor_report import doctor_report
from ansible_collections.flaskops.production.plugins.module_utils._doctor.catalog import find_worst_severity
from ansible_collections.flaskops.production.plugins.module_utils._doctor.finding import create_finding
from ansible_collections.flaskops.production.tests.unit.programs import find, needs

PICTURE = ROOT / "docs/images/doctor.png"
CHROMIUM = next(filter(find, ("chromium", "chromium-browser", "google-chrome")), "chromium")
WIDE, TABLET, PHONE = (1100, 1000), (768, 1024), (390, 844)

pytestmark = pytest.mark.xdist_group("browser")
in_chromium = needs(CHROMIUM)


def app(name: str, release: str, *findings, user: str = "", settings: str = "aa", guesses: tuple = ()) -> dict:
    root = f"/srv/{name}"
    return {
        "name": name,
        "root": root,
        "guesses": list(guesses),
        "worst": find_worst_severity([item.severity for item in findings]),
        "findings": [item._asdict() for item in findings],
        "release": release,
        "environment": "0f1e2d3c4b5a",
        "packages": ["flask 3.1.0", "gunicorn 24.1.1"],
        "system": "debian 13",
        "settings": settings,
        "service": {
            "unit": f"{name}.service",
            "state": "active",
            "user": user or name,
            "listen": f"unix:{root}/run/gunicorn.sock",
        },
    }


@pytest.fixture(scope="module")
def page() -> str:
    """Create the page of a small fleet with findings of each severity, long paths, and an unreachable host."""
    new, old = "2026-11-24-081500-7c1e0d2", "2026-11-20-163000-1a2b3c4"
    socket = "/srv/shop/run/gunicorn.sock"
    nginx = "/etc/nginx/sites-enabled/shop.conf"
    secrets = create_finding(
        "env-world-readable",
        "/srv/blog/shared/.env (file, 0644, root:blog)",
        "mode 0640, root:blog",
        "/srv/blog/shared/.env",
        group="blog",
    )
    upload = create_finding(
        "served-file-unreadable",
        "www-data cannot read /srv/blog/shared/media/2026/11/report-of-the-year-for-all.pdf (file, 0600, blog:blog)",
        "files and directories that it may read",
        "/srv/blog/shared/media/2026/11",
    )
    unreachable = create_finding(
        "socket-unreachable",
        f"{socket} (socket, 0600, shop:shop)",
        "write permission for www-data",
        socket,
        group="www-data",
    )
    alias = create_finding(
        "nginx-alias-traversal",
        f"location /static {{ alias /srv/shop/shared/static/; }} in {nginx}",
        "location /static/",
        "/srv/shop/shared/static",
        file=nginx,
        location="/static",
    )
    certificate = create_finding(
        "certificate-expiring",
        "/etc/letsencrypt/live/shop.example.org/fullchain.pem: on 2026-12-03",
        "at least 14 days",
        "/etc/letsencrypt/live/shop.example.org/fullchain.pem",
    )
    unused = create_finding(
        "venv-unreferenced", "/srv/shop/venvs/ba9876543210", "sets that a release names", "/srv/shop/venvs"
    )
    guess = "blog.service is its service: the unit names /srv/blog."
    report = doctor_report(
        {
            "web1.example.org": {"shop": app("shop", new), "blog": app("blog", "", secrets, upload, guesses=(guess,))},
            "web2.example.org": {"shop": app("shop", new, certificate, unused)},
            "web3.example.org": {"shop": app("shop", old, unreachable, alias)},
            "web4.example.org": {},
        }
    )
    return doctor_html({**report, "time": "2026-11-25T09:30:00Z"})


def browse(place: Path, html: str, size: tuple[int, int], *options: str) -> str:
    """Open a page in Chromium and return its output."""
    (place / "page.html").write_text(html)
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"]
    command += [f"--user-data-dir={place / 'profile'}", f"--window-size={size[0]},{size[1]}", *options]
    done = subprocess.run(
        [*command, (place / "page.html").as_uri()], capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def format_colour_scheme(dark: bool) -> str:
    return f"--blink-settings=preferredColorScheme={0 if dark else 1}"


# A script that measures a copy of the page.
SCRIPT = """<script>
    const wide = [...document.querySelectorAll("body *")].filter(
        item => item.getBoundingClientRect().right > innerWidth + 1);
    Object.assign(frameElement.dataset, {
        inner: innerWidth, scroll: document.documentElement.scrollWidth, wide: wide.length,
        paper: getComputedStyle(document.body).backgroundColor, ink: getComputedStyle(document.body).color,
        head: getComputedStyle(document.querySelector("thead")).display});
    frameElement.removeAttribute("srcdoc");
    </script></body>"""


def measure_page(place: Path, html: str, *sizes: tuple[int, int], dark: bool = False) -> list[dict[str, str]]:
    """Measure the page in frames of several sizes. A window of Chromium cannot be as narrow as a phone."""
    copy = escape(re.sub(r"<meta http-equiv=[^>]*>", "", html).replace("</body>", SCRIPT))
    frames = [f'<iframe style="width: {w}px; height: {h}px; border: 0" srcdoc="{copy}"></iframe>' for w, h in sizes]
    text = f"<!DOCTYPE html><html><body>{''.join(frames)}</body></html>"
    found = re.findall(r"<iframe[^>]*>", browse(place, text, WIDE, format_colour_scheme(dark), "--dump-dom"))
    return [dict(re.findall(r'data-(\w+)="([^"]*)"', frame)) for frame in found]


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@in_chromium
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_page_fits_and_is_readable(tmp_path, page, dark):
    sizes = (WIDE, TABLET, PHONE)
    for size, measured in zip(sizes, measure_page(tmp_path, page, *sizes, dark=dark), strict=True):
        assert int(measured["inner"]) == size[0]
        assert int(measured["scroll"]) <= size[0] and measured["wide"] == "0", (
            f"something is wider than a window of {size[0]}"
        )
        assert (measured["head"] == "none") == (size == PHONE)
        paper, ink = luminance(measured["paper"]), luminance(measured["ink"])
        assert (paper < ink) == dark
        assert (max(paper, ink) + 0.05) / (min(paper, ink) + 0.05) >= 7


@in_chromium
def test_measurement_detects_a_page_that_does_not_fit(tmp_path, page):
    (measured,) = measure_page(tmp_path, re.sub("overflow-wrap: [a-z-]+", "white-space: nowrap", page), PHONE)
    assert int(measured["scroll"]) > PHONE[0] and measured["wide"] != "0"


def parse_chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 8
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        yield png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        place += 12 + length


def build_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def build_note(html: str) -> bytes:
    """Return the note in a picture of this page."""
    return b"Page\0" + hashlib.sha256(html.encode()).hexdigest().encode()


@in_chromium
def test_picture_in_the_documentation_is_up_to_date(tmp_path, page):
    if PICTURE.exists() and (b"tEXt", build_note(page)) in parse_chunks(PICTURE.read_bytes()):
        return
    browse(tmp_path, page, WIDE, format_colour_scheme(False), f"--screenshot={tmp_path / 'page.png'}")
    png = (tmp_path / "page.png").read_bytes()
    end = build_chunk(b"IEND", b"")
    assert png.endswith(end)
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_bytes(png[: -len(end)] + build_chunk(b"tEXt", build_note(page)) + end)
    pytest.fail(f"{PICTURE} showed another page and has been made again: look at it, and commit it.")


def test_picture_is_small():
    assert PICTURE.stat().st_size < 150_000
