# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the doctor's reports: differences between hosts, text and HTML."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest

from ansible_collections.flaskops.production.plugins.filter.doctor_html import doctor_html
from ansible_collections.flaskops.production.plugins.filter.doctor_report import doctor_report
from ansible_collections.flaskops.production.plugins.filter.doctor_text import doctor_text
from ansible_collections.flaskops.production.plugins.module_utils._doctor.catalog import find_worst_severity
from ansible_collections.flaskops.production.plugins.module_utils._doctor.finding import create_finding


def app(*findings, release="v1", packages=("flask 3.1.0",), system="debian 12", settings="aa", guesses=()):
    return {
        "name": "shop",
        "root": "/srv/shop",
        "guesses": list(guesses),
        "worst": find_worst_severity([item.severity for item in findings]),
        "findings": [item._asdict() for item in findings],
        "release": release,
        "environment": "0123456789ab",
        "packages": list(packages),
        "system": system,
        "settings": settings,
        "service": {"unit": "shop.service", "state": "active", "user": "shop", "listen": "unix:/srv/shop/run/a.sock"},
    }


SECRETS = create_finding(
    "env-world-readable", "/srv/shop/.env (file, 0644, root:shop)", "mode 0640", "/srv/shop/.env", group="shop"
)
NOTE = create_finding(
    "release-unrecorded", "/srv/shop/releases/<b>&\"'", "releases with a record", "/srv/shop/releases/x"
)


def fleet(report):
    return {app: [item["id"] for item in found] for app, found in report["fleet"].items()}


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (app(), {}),
        (app(release="v2"), {"shop": ["drift-release"]}),
        (app(release="v2", packages=["flask 3.0.0"]), {"shop": ["drift-release"]}),
        (app(packages=["flask 3.0.0"]), {"shop": ["drift-venv"]}),
        (app(packages=["flask 3.1.0", "typing-extensions 4.14.0"], system="debian 13"), {}),
        (app(release="v2", system="debian 13"), {"shop": ["drift-release"]}),
        (app(settings="bb"), {"shop": ["drift-settings"]}),
        (app(release="", settings="bb"), {"shop": ["drift-release", "drift-settings"]}),
    ],
)
def test_differences_between_hosts_are_found(other, expected):
    assert fleet(doctor_report({"web1": {"shop": app()}, "web2": {"shop": other}})) == expected


def test_difference_names_packages_and_hosts():
    same = ["click 8.1.0"]
    read = {"web1": [*same, "flask 3.1.0"], "web2": [*same, "flask 3.0.0"], "web3": [*same, "flask 3.1.0"]}
    report = doctor_report({host: {"shop": app(packages=packages)} for host, packages in read.items()})
    (found,) = report["fleet"]["shop"]
    assert found["found"] == "flask 3.1.0 on web1, web3; flask 3.0.0 on web2"


def test_hosts_of_different_applications_are_not_compared():
    assert fleet(doctor_report({"web1": {"shop": app()}, "web2": {"blog": app(release="v7")}})) == {}


def test_findings_are_counted():
    report = doctor_report(
        {"web1": {"shop": app(SECRETS, NOTE)}, "web2": {"shop": app(NOTE, release="v2")}, "web3": {}}
    )
    assert report["counts"] == {"error": 2, "warning": 1, "note": 2}
    assert report["summary"] == "2 errors, 1 warning, 2 notes"
    assert report["worst"] == "error"
    assert report["unread"]["web3"][0]["id"] == "host-unread"


def test_digests_of_settings_are_not_reported():
    report = doctor_report({"web1": {"shop": app(settings="5ec2e7")}, "web2": {"shop": app(settings="d16e57")}})
    for text in (json.dumps(report), "\n".join(doctor_text(report)), doctor_html(report)):
        assert "5ec2e7" not in text and "d16e57" not in text


def test_text_report_has_findings_and_remedies():
    report = doctor_report({"web1": {"shop": app(SECRETS, guesses=["shop is its name."])}, "web2": {}})
    assert doctor_text(report) == [
        "web1: shop (/srv/shop, v1): error",
        "  guessed: shop is its name.",
        "  ERROR env-world-readable: Every user of the host can read the secrets.",
        "    found: /srv/shop/.env (file, 0644, root:shop)",
        "    expected: mode 0640",
        "    reason: Every service and login on the host can read the application's keys and passwords.",
        "    remedy: find -P /srv/shop/.env -prune -type f -links 1 "
        "-exec chown -h root:shop {} + -exec chmod 0640 {} +  # then change the secrets",
        "web2:",
        "  ERROR host-unread: The host could not be examined.",
        "    found: web2 returned no result",
        "    expected: a reachable host and a successful examination",
        "    reason: Its state is unknown.",
        "    remedy: Read the message of the run, and try again.",
        "Found: 2 errors.",
    ]


@pytest.fixture
def page():
    hosts = {"web1": {"shop": app(SECRETS, NOTE)}, "<b>web2": {"shop": app(release="v2")}, "web3": {}}
    return doctor_html(doctor_report(hosts))


def test_page_is_well_formed(page):
    root = ElementTree.fromstring(page.replace("<!DOCTYPE html>", ""))
    assert [len(row) for row in root.iter("tr")] == [5] * 4
    identifiers = [item.get("id") for item in root.iter() if item.get("id")]
    assert len(set(identifiers)) == len(identifiers)
    links = [item.get("href") for item in root.iter("a")]
    assert links and all(link[0] == "#" and link[1:] in identifiers for link in links)


def test_page_has_no_external_resources(page):
    assert not re.search(r"<(script|link|img|iframe|object)\b|@import|url\(|https?://|\son\w+=", page)
    assert "Content-Security-Policy" in page


@pytest.mark.parametrize(
    ("findings", "counts"),
    [
        ((), [("ok", "No findings.")]),
        ((NOTE,), [("note", "1 note")]),
        ((SECRETS,), [("error", "1 error")]),
        ((SECRETS, NOTE, NOTE), [("error", "1 error"), ("note", "2 notes")]),
    ],
)
def test_counts_have_the_color_of_their_severity(findings, counts):
    page = doctor_html(doctor_report({"web1": {"shop": app(*findings)}}))
    (line,) = re.findall(r"^<h1>.*</h1>\n<p>(.*)</p>$", page, re.MULTILINE)
    assert re.findall(r'<span class="mark (\w+)">([^<]*)</span>', line) == counts


def test_names_are_escaped_on_the_page(page):
    assert "<b>" not in page
    assert "&lt;b&gt;web2" in page


def test_page_supports_dark_mode_and_narrow_windows(page):
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page and "@media (max-width" in page
    root = ElementTree.fromstring(page.replace("<!DOCTYPE html>", ""))
    # Errors are open, other findings are closed.
    opened = [item.get("open") is not None for item in root.iter("details")]
    assert True in opened and False in opened
