# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collection of the static files of a release, and protection against links to other files."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._releases.shared_paths import check_static_paths
from ansible_collections.flaskops.production.plugins.module_utils._releases.static_files import collect_static_files

ADA, OWNER = 4711, 4712


class Site:
    """A release with static files, its shared path instance/, and shared/static."""

    def __init__(self, path):
        self.root = path / "site"
        self.layout = Layout(str(self.root))
        self.release = self.root / "releases/v1"
        self.static = self.root / "shared/static"
        for directory in (self.release / "static", self.static, self.root / "shared/instance"):
            directory.mkdir(parents=True)
        (self.release / "static/app.css").write_text("css")
        (self.release / "instance").symlink_to("../../shared/instance")
        os.chown(self.root / "shared/instance", ADA, ADA)
        self.static_paths, self.shared_paths = ["static"], ["instance/"]

    def file(self, name, text):
        path = self.release / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def collect(self, replace=True):
        record = {"static_paths": self.static_paths, "shared_paths": self.shared_paths}
        collect_static_files(self.layout, str(self.release), record, replace)
        return {
            str(path.relative_to(self.static)): path.read_text()
            for path in self.static.rglob("*")
            if path.is_file() and not path.is_symlink()
        }


@pytest.fixture
def site(open_path):
    return Site(open_path)


def test_missing_directories_are_created(site):
    shutil.rmtree(site.root / "shared")
    assert site.collect() == {"app.css": "css"}
    assert (site.root / "shared").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("text", ["app.css", "../instance/x", "."])
def test_all_descriptors_are_closed(site, text):
    site.file("static/img/deep/logo.svg", "logo")
    (site.release / "static/link").symlink_to(text)
    before = os.listdir("/proc/self/fd")
    with contextlib.suppress(ReleaseError):
        site.collect()
    assert os.listdir("/proc/self/fd") == before


# Links in the release


def test_targets_of_links_within_the_release_are_collected(site):
    site.file("vendor/dist/lib/a.js", "js")
    site.file("assets/logo.svg", "logo")
    (site.release / "static/vendor").symlink_to("../vendor/dist")
    (site.release / "static/logo.svg").symlink_to("../assets/logo.svg")
    (site.release / "static/again").symlink_to(site.release / "assets")
    assert site.collect() == {
        "app.css": "css", "vendor/lib/a.js": "js", "logo.svg": "logo", "again/logo.svg": "logo",
    }  # fmt: skip
    assert not any(path.is_symlink() for path in site.static.rglob("*"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("../instance/logo.png", "leads out of"),
        ("../instance", "leads out of"),
        ("/etc/passwd", "is a symbolic link to /etc/passwd, which leads out of"),
        ("../../v0/logo.png", "leads out of"),
        ("gone.png", "is a symbolic link that leads nowhere"),
        (".", "is reached through itself"),
    ],
)
def test_link_out_of_the_release_is_refused_by_name(site, text, message):
    (site.root / "shared/instance/logo.png").write_text("of the application")
    (site.release / "static/logo.png").symlink_to(text)
    with pytest.raises(ReleaseError) as error:
        site.collect()
    assert message in str(error.value) and "release_static_paths" in str(error.value)
    assert not (site.static / "logo.png").is_file()


def test_files_linked_by_the_application_are_not_served(site, untouched):
    """The release links to shared data, in which the application links to a file of root."""
    (site.release / "static/logo.png").symlink_to("../instance/logo.png")
    (site.root / "shared/instance/logo.png").symlink_to(untouched / "secret")
    os.chown(site.root / "shared/instance/logo.png", ADA, ADA, follow_symlinks=False)
    with pytest.raises(ReleaseError, match="leads out of"):
        site.collect()
    assert not (site.static / "logo.png").exists()


def test_shared_path_below_a_static_path_is_not_collected(site):
    (site.root / "shared/static/uploads").mkdir()
    os.chown(site.root / "shared/static/uploads", ADA, ADA)
    (site.release / "static/uploads").symlink_to("../../../shared/static/uploads")
    site.shared_paths = ["instance/", "static/uploads/"]
    assert site.collect() == {"app.css": "css"}


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.mknod(path, 0o600 | stat.S_IFSOCK)])
def test_special_files_are_refused_without_blocking(site, make):
    make(site.release / "static/odd")
    with pytest.raises(ReleaseError, match="static/odd is neither a file nor a directory"):
        site.collect()


def test_static_path_linking_out_of_the_release_is_refused(site):
    site.static_paths = ["instance"]
    with pytest.raises(ReleaseError, match="release_static_paths has instance: .* leads out of"):
        site.collect()


def test_race_in_the_release_does_not_read_other_files(site, untouched, attack, flipping, rounds):
    """Even the trusted owner of a release cannot redirect the collection."""
    shutil.rmtree(site.release / "static")
    (site.release / "static").mkdir()
    site.file("static/app.css", "css")
    (site.release / "beside").mkdir()
    for path in (site.release / "beside", site.release / "static", site.release / "static/app.css"):
        os.chown(path, ADA, ADA)
    path, outcomes = str(site.release / "static/app.css"), set()
    with attack(flipping(path, f"{site.release}/beside/link", str(untouched / "secret"))):
        for _turn in rounds(lambda: len(outcomes) > 1, 100):
            try:
                outcomes.update(site.collect().values())
            except (ReleaseError, OSError):
                outcomes.add("refused")
    assert outcomes == {"css", "refused"}


# The directory that is served


@pytest.mark.parametrize("replace", [True, False])
def test_nothing_is_written_to_directories_of_the_application(site, untouched, replace):
    """The directory was a shared path before."""
    former = site.static / "uploads"
    former.mkdir()
    (former / "cat.png").symlink_to(untouched / "secret")
    for path in (former, former / "cat.png"):
        os.chown(path, ADA, ADA, follow_symlinks=False)
    site.file("static/uploads/cat.png", "new")
    with pytest.raises(ReleaseError, match=f"uploads: it belongs to {ADA}, who could redirect them") as refused:
        site.collect(replace)
    # The remedy of the message.
    command = str(refused.value).partition("give it to root: ")[2]
    subprocess.run(["/bin/sh", "-euc", command], check=True)
    assert site.collect(replace=True)["uploads/cat.png"] == "new"
    assert (untouched / "secret").stat().st_uid == os.geteuid()


def test_links_in_the_target_are_replaced_and_directories_refused(site, untouched):
    (site.static / "app.css").symlink_to(untouched / "secret")
    assert site.collect() == {"app.css": "css"}
    (site.static / "img").symlink_to(untouched)
    site.file("static/img/logo.svg", "logo")
    with pytest.raises(ReleaseError, match="shared/static/img is not a directory"):
        site.collect()
    assert os.listdir(untouched) == ["secret"]


def test_files_of_a_deploy_owner_are_collected(site):
    for path in (site.root / "releases", site.release, site.root / "shared", site.static, *site.release.rglob("*")):
        os.chown(path, OWNER, OWNER, follow_symlinks=False)
    site.file("static/img/logo.svg", "logo")
    assert site.collect() == site.collect() == {"app.css": "css", "img/logo.svg": "logo"}


# Settings


@pytest.mark.parametrize(
    ("static", "shared", "message"),
    [
        (["instance"], ["instance/"], "release_static_paths has instance, which is or lies in instance"),
        (["instance/public/"], ["instance"], "has instance/public, which is or lies in instance"),
        (["static"], ["static/"], "which is or lies in static"),
        (["assets"], ["static/"], "release_shared_paths has static/"),
    ],
)
def test_overlapping_settings_are_refused(static, shared, message):
    with pytest.raises(ReleaseError, match=message):
        check_static_paths(static, shared)


@pytest.mark.parametrize(
    ("static", "shared"),
    [(["static"], ["static/uploads/"]), (["static"], ["statics/"]), ([], ["static/"]), (["instances"], ["instance/"])],
)
def test_disjoint_settings_are_accepted(static, shared):
    check_static_paths(static, shared)
