# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The records, the log, and the release that a rollback activates."""

from __future__ import annotations

import json
import os
import re
import shutil
import time

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.pruning import (
    list_leftovers,
    prune_releases,
    remove_leftovers,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore, order_before_live
from ansible_collections.flaskops.production.plugins.module_utils._core import clock as clock_module

# What is there


def test_empty_host_has_no_live_release(tmp_path):
    layout = Layout(str(tmp_path))
    store = ReleaseStore(layout)
    assert (layout.find_live(), store.find_previous(), store.read_releases(), store.read_activations()) == (
        None,
        None,
        {},
        [],
    )


@pytest.mark.parametrize(
    ("text", "live"),
    [
        ("releases/v1", "v1"),
        ("./releases/v1/", "v1"),
        ("{root}/releases/v1", "v1"),
        ("releases", None),
        ("releases/v1/public", None),
        ("releases/../elsewhere", None),
        ("releases/.staging-v1", None),
        ("/opt/elsewhere", None),
    ],
)
def test_live_release_is_the_target_of_the_link(host, text, live):
    host.stage("v1")
    os.symlink(text.format(root=host.root), host.layout.app)
    assert host.layout.find_live() == live


def test_directory_in_place_of_the_link_is_no_release(host):
    os.mkdir(host.layout.app)
    assert host.layout.find_live() is None


def test_release_needs_a_directory_and_a_record(host):
    host.stage("v1")
    (host.root / "releases/foreign").mkdir()
    (host.root / "releases/.hidden").mkdir()
    (host.root / "releases/file").write_text("")
    host.store.write_record("gone", {"release": "gone", "digest": "d", "state": "staged", "staged": ""})
    assert list(host.store.read_releases()) == ["v1"]


def test_release_is_found_by_its_digest(host):
    host.stage("v1")
    host.stage("v2")
    assert host.store.find_by_digest("digest of v2") == "v2"
    assert host.store.find_by_digest("digest of v3") is None


def test_live_release_is_preferred_among_equal_ones(host):
    for name in ("v1", "v2"):
        host.stage(name)
        host.store.write_record(name, {**host.store.read_record(name), "digest": "same"})
    host.point_app_at("v1")
    assert host.store.find_by_digest("same") == "v1"


def test_venv_is_the_one_built_last(host):
    host.stage("v1")
    link = host.root / ".deploy/environments/v1"
    link.unlink()
    link.symlink_to("../../venvs/" + "a" * 12)
    assert host.store.find_venv("v1") == "a" * 12
    link.unlink()
    assert host.store.find_venv("v1") == host.venv_names["v1"], "without a wish, what it runs with"
    assert host.store.find_venv("v2") is None


# What a rollback returns to


@pytest.mark.parametrize(
    ("history", "previous"),
    [
        ("v1", None),
        ("v1 v2", "v1"),
        ("v1 v2 v3", "v2"),
        ("v1 v2 v3 <v2", "v1"),
        ("v1 v2 v3 <v2 <v1", None),
        ("v1 v2 v3 <v1", None),
        # What was rolled back is deployed again: the way back is the release that it replaced.
        ("v1 v2 v3 <v2 v3", "v2"),
        ("v1 v2 v3 <v2 v4", "v2"),
        ("v1 v2 v3 <v2 v4 <v2", "v1"),
        # An old release deployed again, not rolled back to, lies on top of what was live.
        ("v1 v2 v1", "v2"),
        ("v1 v2 v3 v2", "v3"),
        # Rejected ones were never live.
        ("v1 v2 !v3", "v1"),
        ("v1 v2 !v3 v4", "v2"),
        # One that was live and was found bad later is skipped.
        ("v1 v2 v3 !v2", "v1"),
        ("v1 v2 !v1", None),
        # A named rollback may go forward; from there the way back is where it came from.
        ("v1 v2 v3 <v1 <v3", "v1"),
    ],
)
def test_previous_release_is_the_last_good_one_before_the_live_one(host, history, previous):
    host.follow(history)
    assert host.store.find_previous() == previous


def test_times_of_directories_are_ignored(host):
    host.follow("v1 v2 v3")
    for age, name in enumerate(("v3", "v1", "v2")):
        os.utime(host.layout.release(name), (age, age))
    assert host.store.find_previous() == "v2"


def test_removed_release_is_not_previous(host):
    host.follow("v1 v2 v3")
    os.rename(host.layout.release("v2"), host.root / "elsewhere")
    assert host.store.find_previous() == "v1"


def test_unlogged_deploy_keeps_the_previous_release(host):
    host.follow("v1 v2")
    host.stage("v3")
    host.point_app_at("v3")
    assert host.store.find_previous() == "v2"


def test_unlogged_rollback_does_not_make_a_later_release_previous(host):
    host.follow("v1 v2 v3")
    host.point_app_at("v2")
    assert host.store.find_previous() == "v1"


def test_last_live_release_comes_last_without_a_live_one():
    assert order_before_live([("v1", "deploy"), ("v2", "deploy")], None) == ["v1", "v2"]


# The log


def test_activation_is_one_line_with_a_time(host):
    host.store.append_activation(release="v1", before=None, action="deploy", by="ada", run="1")
    text = (host.root / ".deploy/activations.log").read_text()
    assert text.count("\n") == 1
    assert json.loads(text)["time"].endswith("Z")
    assert host.store.read_activations()[0]["release"] == "v1"


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_incomplete_line_does_not_affect_others(host, cut):
    host.follow("v1 v2")
    log = host.root / ".deploy/activations.log"
    log.write_bytes(log.read_bytes()[:-cut])
    host.follow("v3")
    assert [entry["release"] for entry in host.store.read_activations()] in (["v1", "v3"], ["v1", "v2", "v3"])
    assert host.store.find_previous() in ("v1", "v2")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0" * 40,
        b"\0" * 40 + b"\n",
        b"\xff\xfe\n",
        b'7\n[]\n{}\n{"release": null}\n',
    ],
    ids=["NULs", "a line of NULs", "not UTF-8", "JSON of another kind"],
)
def test_log_with_invalid_bytes_can_be_read(host, garbage):
    host.follow("v1")
    with open(host.layout.log, "ab") as log:
        log.write(garbage)
    host.follow("v2")
    assert host.store.find_previous() == "v1"


# Records


def test_record_is_readable_by_all_users(host):
    host.stage("v1")
    path = host.root / ".deploy/releases/v1.json"
    assert json.loads(path.read_text())["state"] == "staged"
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(path.parent) == ["v1.json"], "no temporary file stays"


def test_record_has_the_number_of_its_format(host):
    host.stage("v1")
    assert json.loads((host.root / ".deploy/releases/v1.json").read_text())["format"] == 1
    assert "format" not in host.store.read_record("v1")


@pytest.mark.parametrize("note", ["environments/gone", "settings/gone.json"])
def test_link_of_a_missing_release_is_a_leftover(host, note):
    path = host.root / ".deploy" / note
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    assert list_leftovers(host.layout) == [str(path)]
    remove_leftovers(host.store)
    assert not path.exists()


@pytest.mark.parametrize("directory", ["state", "records", "settings"])
def test_temporary_file_is_a_leftover(host, directory):
    path = os.path.join(getattr(host.layout, directory), ".flaskops-write-99999999-0123456789abcdef")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, "w").close()
    assert list_leftovers(host.layout) == [path]
    remove_leftovers(host.store)
    assert not os.path.exists(path)


def test_record_without_a_format_is_read(host):
    host.stage("v1")
    path = host.root / ".deploy/releases/v1.json"
    old = json.loads(path.read_text())
    del old["format"], old["staged"]
    path.write_text(json.dumps(old))
    assert host.store.read_record("v1") == {**old, "staged": "", "built": False}
    prune_releases(host.store, 1)
    remove_leftovers(host.store)
    assert host.releases() == ["v1"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "is not a record"),
        ("{}", "its digest is None, but must be a string"),
        ('{"digest": "d", "state": 7}', "its state is 7, but must be a string"),
        ('{"digest": "d", "state": "gone"}', "its state is 'gone', but must be one of staged, active"),
        ('{"digest": "d", "state": "staged", "format": 2}', "has the format 2, but this version .* reads 1"),
        ("\x00", "Expecting value"),
    ],
)
def test_damaged_record_counts_as_missing_and_is_reported(host, text, said):
    host.follow("v1 v2")
    path = host.root / ".deploy/releases/v1.json"
    path.write_text(text)
    assert list(host.store.read_releases()) == ["v2"] and host.store.read_record("v1") is None
    assert host.store.find_previous() is None and host.store.find_by_digest("d") is None
    assert prune_releases(host.store, 1) == [], "what is not known is not removed"
    (warning,) = host.store.format_warnings()
    assert warning.startswith(f"The record {path} cannot be read and counts as missing:")
    assert re.search(said, warning)
    remove_leftovers(host.store)
    aside = path.with_name("v1.json.damaged")
    assert aside.exists() != path.exists()
    # A newer version of the collection may come back.
    assert path.exists() == ("format" in text)
    assert host.releases() == ["v1", "v2"]


def test_records_replace_a_lost_log(host):
    host.follow("v1 v2 v3")
    os.unlink(host.layout.log)
    assert (host.store.find_recorded(), host.store.find_previous()) == ("v3", "v2")
    host.store.set_state("v2", "bad", reason="health")
    assert host.store.find_previous() == "v1"
    assert prune_releases(host.store, 1)[0] == "v2"


def test_nothing_is_removed_without_records(host):
    host.follow("v1 v2")
    shutil.rmtree(host.layout.state)
    assert (host.layout.find_live(), host.store.find_recorded(), host.store.find_previous()) == ("v2", None, None)
    host.store.create_directories()
    remove_leftovers(host.store)
    assert prune_releases(host.store, 1) == [] and host.releases() == ["v1", "v2"]


def test_state_is_written_with_its_reason(host):
    host.stage("v1")
    host.store.set_state("v1", "bad", reason="health: GET / answered 500, expected 200")
    record = host.store.read_record("v1")
    assert (record["state"], record["digest"]) == ("bad", "digest of v1")
    assert "answered 500" in record["reason"]


@pytest.mark.parametrize("name", [None, "foreign"])
def test_state_of_a_release_without_a_record_is_not_written(host, name):
    host.store.set_state(name, "superseded")
    assert os.listdir(host.layout.records) == []


def test_unchanged_state_is_not_written(host):
    host.stage("v1")
    path = host.root / ".deploy/releases/v1.json"
    before = path.stat().st_ino
    host.store.set_state("v1", "staged")
    assert path.stat().st_ino == before


def test_time_is_utc():
    assert (
        abs(time.mktime(time.strptime(clock_module.format_now(), "%Y-%m-%dT%H:%M:%SZ")) - time.mktime(time.gmtime()))
        < 5
    )
