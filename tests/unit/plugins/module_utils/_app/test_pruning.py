# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which releases, virtual environments and leftovers are removed."""

from __future__ import annotations

import contextlib
import os

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._app import pruning
from ansible_collections.flaskops.production.plugins.module_utils._app.pruning import (
    list_leftovers,
    prune_releases,
    remove_leftovers,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.venv_links import register_link


@pytest.mark.parametrize(
    ("history", "keep", "left"),
    [
        ("v1 v2 v3 v4", 2, ["v3", "v4"]),
        ("v1 v2 v3 v4", 4, ["v1", "v2", "v3", "v4"]),
        ("v1 v2 v3 v4", 9, ["v1", "v2", "v3", "v4"]),
        # The live one and the way back stay, however few are asked for.
        ("v1 v2 v3", 1, ["v2", "v3"]),
        ("v1 v2 v3 <v2", 1, ["v1", "v2"]),
        ("v1 v2 v3 v4 <v1", 1, ["v1"]),
        # The order is that of the last activation.
        ("v1 v2 v3 v4 v1", 2, ["v1", "v4"]),
        # Failed ones go, and don't use up the places of good ones.
        ("v1 v2 !v3 !v4 v5", 2, ["v2", "v5"]),
        ("v1 v2 v3 !v4", 3, ["v1", "v2", "v3"]),
        ("v1 !v2", 5, ["v1"]),
    ],
)
def test_last_good_releases_are_kept(host, history, keep, left):
    host.follow(history)
    # Times that tell the opposite of the log.
    for age, name in enumerate(sorted(host.releases(), reverse=True)):
        os.utime(host.layout.release(name), (age, age))
    removed = prune_releases(host.store, keep)
    assert host.releases() == left
    assert host.venvs() == [host.venv_names[name] for name in left]
    assert set(removed) & set(left) == set()


def test_staged_releases_are_removed_before_activated_ones(host):
    host.stage("v9")
    host.follow("v1 v2 v3")
    prune_releases(host.store, 3)
    assert host.releases() == ["v1", "v2", "v3"]


def test_release_of_a_candidate_is_kept(host):
    host.follow("v1 v2 v3 v4")
    os.symlink("releases/v1", host.layout.next)
    prune_releases(host.store, 1)
    assert host.releases() == ["v1", "v3", "v4"]


def test_foreign_names_are_kept(host):
    host.follow("v1 v2 v3")
    foreign = [".keep", "backup-2025", "v1.old", "README"]
    for name in foreign[:3]:
        (host.root / "releases" / name).mkdir()
    (host.root / "releases/README").write_text("ours")
    os.symlink("v1", host.root / "releases/latest")
    (host.root / "venvs/.uv").mkdir()
    (host.root / "venvs/.lock").write_text("")
    (host.root / "venvs/mine").mkdir()
    (host.root / "venvs" / ("A" * 12)).mkdir()
    prune_releases(host.store, 1)
    assert host.releases() == sorted([*foreign, "latest", "v2", "v3"])
    assert host.venvs() == sorted([".uv", ".lock", "mine", "A" * 12, host.venv_names["v2"], host.venv_names["v3"]])


def test_links_out_of_the_layout_are_not_followed(host, tmp_path):
    """A name with a record that is a link leads out of the tree: what it leads to is not ours to remove."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "data").write_text("precious")
    host.follow("v1 v2 v3")
    os.rename(host.layout.release("v1"), host.root / "moved")
    os.symlink(outside, host.layout.release("v1"))
    with contextlib.suppress(OSError):  # A warning of the task; the release is live by then.
        prune_releases(host.store, 1)
    assert (outside / "data").read_text() == "precious"


def test_venv_is_kept_while_a_link_points_to_it(host):
    host.follow("v1 v2 v3")
    wanted = {"a": "a" * 12, "b": "b" * 12}
    for digest in wanted.values():
        (host.root / "venvs" / digest).mkdir()
    # v3 is to run with a new one, and the link venv was pointed at another one by hand.
    (host.root / ".deploy/environments/v3").unlink()
    (host.root / ".deploy/environments/v3").symlink_to("../../venvs/" + wanted["a"])
    os.symlink("venvs/" + wanted["b"], host.layout.venv)
    (host.root / "venvs" / ("c" * 12)).mkdir()
    assert prune_releases(host.store, 1) == ["v1", host.venv_names["v1"], "c" * 12]
    assert host.venvs() == sorted([*wanted.values(), host.venv_names["v2"], host.venv_names["v3"]])


def test_venv_is_kept_while_a_registered_link_points_to_it(host, tmp_path):
    worker = tmp_path / "opt/worker/venv"
    worker.parent.mkdir(parents=True)
    (host.root / "venvs" / ("a" * 12)).mkdir()
    worker.symlink_to(host.root / "venvs" / ("a" * 12))
    register_link(host.layout.venvs, str(worker))
    register_link(host.layout.venvs, str(worker))
    host.follow("v1 v2 v3")
    assert list_leftovers(host.layout) == []
    prune_releases(host.store, 1)
    remove_leftovers(host.store)
    assert "a" * 12 in host.venvs()
    worker.unlink()
    assert prune_releases(host.store, 1) == ["a" * 12]


def test_no_venv_is_removed_before_the_first_deploy(host):
    (host.root / "venvs" / ("a" * 12)).mkdir()
    assert list_leftovers(host.layout) == []
    remove_leftovers(host.store)
    assert host.venvs() == ["a" * 12]


def test_releases_can_share_a_venv(host):
    host.stage("v1", venv="e" * 12)
    host.stage("v2", venv="e" * 12)
    host.follow("v1 v2 v3")
    prune_releases(host.store, 1)
    assert "e" * 12 in host.venvs()


def test_record_of_a_removed_rejected_release_is_kept(host):
    host.follow("v1 !v2")
    prune_releases(host.store, 5)
    assert host.releases() == ["v1"]
    assert host.store.read_record("v2")["state"] == "bad"
    remove_leftovers(host.store)
    assert host.store.read_record("v2")["state"] == "bad"


def test_records_and_links_of_removed_releases_are_removed(host):
    host.follow("v1 v2 v3")
    prune_releases(host.store, 1)
    assert sorted(os.listdir(host.layout.records)) == ["v2.json", "v3.json"]
    assert sorted(os.listdir(host.layout.venv_links)) == ["v2", "v3"]


def test_interrupted_removal_is_completed_by_the_next_one(host, monkeypatch):
    host.follow("v1 v2 v3")
    (host.root / "releases/v1/wsgi.py").write_text("")

    def killed(_path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pruning.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            prune_releases(host.store, 1)
    assert "v1" not in host.store.read_releases(), "half of it is never seen"
    remove_leftovers(host.store)
    prune_releases(host.store, 1)
    assert host.releases() == ["v2", "v3"]
    assert host.venvs() == [host.venv_names["v2"], host.venv_names["v3"]]
    assert sorted(os.listdir(host.layout.records)) == ["v2.json", "v3.json"]


def test_venv_can_be_removed_after_an_interrupted_removal(host):
    host.follow("v1")
    for name in (".removed-" + "c" * 12, "c" * 12):
        (host.root / "venvs" / name).mkdir()
        (host.root / "venvs" / name / "pyvenv.cfg").write_text("")
    remove_leftovers(host.store)
    prune_releases(host.store, 1)
    assert host.venvs() == [host.venv_names["v1"]]


def test_only_leftovers_of_killed_runs_are_removed(host):
    host.follow("v1 v2 !v3")
    for name in ("releases/.staging-v4", "releases/.removed-v0", "venvs/.removed-" + "d" * 12):
        (host.root / name / "below").mkdir(parents=True)
    (host.root / "releases/foreign").mkdir()
    (host.root / "releases/.mine").mkdir()
    # A prune that was killed between a release and its set of dependencies.
    (host.root / "venvs" / ("e" * 12)).mkdir()
    assert str(host.root / "venvs" / ("e" * 12)) in list_leftovers(host.layout)
    host.store.write_record("v4", {"release": "v4", "digest": "d", "state": "staged", "staged": ""})
    (host.root / ".deploy/environments/v4").symlink_to("../../venvs/" + "d" * 12)
    remove_leftovers(host.store)
    assert host.releases() == [".mine", "foreign", "v1", "v2", "v3"]
    assert host.venvs() == [host.venv_names[name] for name in ("v1", "v2", "v3")]
    assert sorted(os.listdir(host.layout.records)) == ["v1.json", "v2.json", "v3.json"]
    assert sorted(os.listdir(host.layout.venv_links)) == ["v1", "v2", "v3"]
    assert list_leftovers(host.layout) == []


def test_link_of_a_killed_adoption_is_removed(host):
    """change_places() puts a link in the new place before it exchanges the two."""
    host.follow("v1")
    link = host.root / "venvs" / ("f" * 12)
    link.symlink_to(link)
    remove_leftovers(host.store)
    assert list_leftovers(host.layout) == [] and not link.is_symlink()
    assert host.venvs() == [host.venv_names["v1"]]
