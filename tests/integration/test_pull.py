# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the transfer of releases by pull from a web server."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.xdist_group("site")

# The constant prefix of secrets, as in conftest.py.
PLANTED = "plantedsecret"
# Print the live release, all complete and incomplete releases, the state of the deploy lock, and the page.
STATE = """
import json, os, urllib.request
root = "/srv/myapp"
page = urllib.request.urlopen("http://127.0.0.1/").read().decode()
lock = os.path.exists(root + "/.deploy/lock")
print(json.dumps([os.readlink(root + "/app"), sorted(os.listdir(root + "/releases")), lock, page]))
"""


def change(site, text: str) -> None:
    template = site.repository.path / "demo/templates/index.html"
    template.write_text(template.read_text().replace("</section>", f"<p>{text}</p></section>"))
    site.repository.commit()


def test_host_fetches_a_missing_release(site, converged, releases, count, tmp_path):
    change(site, "Fetched by the host")
    counts = count("deploy", **releases.variables)
    assert not [task for task in counts if "put_file" in task], "the controller sent something"
    # Acquiring and releasing the deploy lock takes an execution each. The download takes none.
    assert sum(counts.values()) <= 5
    (archive,) = tmp_path.glob("*.tar.gz")
    assert releases.asked == [f"/{archive.name}"]
    assert "Fetched by the host" in site.python(STATE, None)[3]
    assert site.play("deploy", **releases.variables).changed == 0
    assert len(releases.asked) == 1, "a host that has the release fetches nothing"


def test_archive_with_another_digest_is_refused(site, converged, releases):
    *before, __ = site.python(STATE, None)
    change(site, "Tampered with")
    releases.tampering = True
    result = site.play("deploy", "-vvv", **releases.variables)
    assert result.failed
    assert f"{releases.url}{releases.asked[0].lstrip('/')} has SHA-256" in result.output
    assert PLANTED not in result.output
    *after, page = site.python(STATE, None)
    assert after == before and "Tampered with" not in page
    releases.tampering = False
    assert not site.play("deploy", **releases.variables).failed
    assert "Tampered with" in site.python(STATE, None)[3]
