# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The releases of a host: which one a rollback returns to, what is removed, and who holds the lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import multiprocessing
import os
import re
import shutil
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._app import layout as layout_module
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import (
    Layout,
    Lock,
    LockedError,
    before_live,
    link_environment,
    note_link,
)
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError

ENVIRONMENTS = {f"v{number}": f"{number}" * 12 for number in range(1, 10)}


class Host:
    """A tree with releases, as stage and activate leave it."""

    def __init__(self, root):
        self.layout = Layout(str(root))
        self.root = root
        for name in ("venvs", "shared", "run"):
            (root / name).mkdir()
        self.layout.prepare()
        self.clock = 0

    def stage(self, name, state="staged", environment=None):
        (self.root / "releases" / name).mkdir()
        environment = environment or ENVIRONMENTS.get(name, "f" * 12)
        (self.root / "venvs" / environment).mkdir(exist_ok=True)
        (self.root / ".deploy/environments" / name).symlink_to(f"../../venvs/{environment}")
        link_environment(self.layout, name, environment)
        self.clock += 1
        record = {
            "release": name,
            "digest": f"digest of {name}",
            "state": state,
            "staged": f"2026-01-01T00:00:{self.clock:02}Z",
        }
        self.layout.write_record(name, record)

    def activate(self, name, action="deploy"):
        if not (self.root / "releases" / name).is_dir():
            self.stage(name)
        live = self.layout.live()
        self.point_app_at(name)
        self.layout.set_state(live, "superseded")
        self.layout.append_activation(release=name, before=live, action=action, by="ada", run="1")
        self.layout.set_state(name, "active")

    def point_app_at(self, name):
        app = self.root / "app"
        app.unlink(missing_ok=True)
        app.symlink_to(f"releases/{name}")

    def follow(self, history):
        """Play `v1 v2 <v1 !v3`: deploys, a rollback (<), and a release that was rejected (!)."""
        for word in history.split():
            mark, name = (word[0], word[1:]) if word[0] in "<!" else ("", word)
            if mark == "!":
                if not (self.root / "releases" / name).is_dir():
                    self.stage(name)
                self.layout.set_state(name, "bad", reason="candidate: it did not start")
            else:
                self.activate(name, "rollback" if mark else "deploy")

    def releases(self):
        return sorted(os.listdir(self.layout.releases))

    def environments(self):
        return sorted(os.listdir(self.layout.venvs))


@pytest.fixture
def host(tmp_path):
    root = tmp_path / "myapp"
    root.mkdir()
    return Host(root)


# What is there


def test_nothing_is_live_on_an_empty_host(tmp_path):
    layout = Layout(str(tmp_path))
    assert (layout.live(), layout.previous(), layout.known(), layout.activations()) == (None, None, {}, [])


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
def test_live_is_what_the_link_names(host, text, live):
    host.stage("v1")
    os.symlink(text.format(root=host.root), host.layout.app)
    assert host.layout.live() == live


def test_a_real_directory_is_no_release(host):
    os.mkdir(host.layout.app)
    assert host.layout.live() is None


def test_a_directory_without_a_record_and_a_record_without_a_directory_are_not_known(host):
    host.stage("v1")
    (host.root / "releases/foreign").mkdir()
    (host.root / "releases/.hidden").mkdir()
    (host.root / "releases/file").write_text("")
    host.layout.write_record("gone", {"release": "gone", "digest": "d", "state": "staged", "staged": ""})
    assert list(host.layout.known()) == ["v1"]


def test_the_same_bits_are_found_under_their_name(host):
    host.stage("v1")
    host.stage("v2")
    assert host.layout.with_digest("digest of v2") == "v2"
    assert host.layout.with_digest("digest of v3") is None


def test_of_two_releases_with_the_same_bits_the_live_one_is_taken(host):
    for name in ("v1", "v2"):
        host.stage(name)
        host.layout.write_record(name, {**host.layout.record(name), "digest": "same"})
    host.point_app_at("v1")
    assert host.layout.with_digest("same") == "v1"


def test_the_environment_to_run_with_is_the_one_built_last(host):
    host.stage("v1")
    link = host.root / ".deploy/environments/v1"
    link.unlink()
    link.symlink_to("../../venvs/" + "a" * 12)
    assert host.layout.environment("v1") == "a" * 12
    link.unlink()
    assert host.layout.environment("v1") == ENVIRONMENTS["v1"], "without a wish, what it runs with"
    assert host.layout.environment("v2") is None


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
def test_a_rollback_returns_to_the_last_good_release_before_the_live_one(host, history, previous):
    host.follow(history)
    assert host.layout.previous() == previous


def test_the_times_of_directories_mean_nothing(host):
    host.follow("v1 v2 v3")
    for age, name in enumerate(("v3", "v1", "v2")):
        os.utime(host.layout.release(name), (age, age))
    assert host.layout.previous() == "v2"


def test_a_release_that_was_removed_is_no_way_back(host):
    host.follow("v1 v2 v3")
    os.rename(host.layout.release("v2"), host.root / "elsewhere")
    assert host.layout.previous() == "v1"


def test_a_switch_that_was_cut_off_before_it_was_logged_leads_back_to_what_was_live(host):
    host.follow("v1 v2")
    host.stage("v3")
    host.point_app_at("v3")
    assert host.layout.previous() == "v2"


def test_a_rollback_that_was_cut_off_before_it_was_logged_does_not_lead_forward(host):
    host.follow("v1 v2 v3")
    host.point_app_at("v2")
    assert host.layout.previous() == "v1"


def test_without_anything_live_the_last_live_release_is_on_top():
    assert before_live([("v1", "deploy"), ("v2", "deploy")], None) == ["v1", "v2"]


# The log


def test_an_activation_is_one_line_with_a_time(host):
    host.layout.append_activation(release="v1", before=None, action="deploy", by="ada", run="1")
    text = (host.root / ".deploy/activations.log").read_text()
    assert text.count("\n") == 1
    assert json.loads(text)["time"].endswith("Z")
    assert host.layout.activations()[0]["release"] == "v1"


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_line_that_a_power_cut_left_half_written_spoils_no_other(host, cut):
    host.follow("v1 v2")
    log = host.root / ".deploy/activations.log"
    log.write_bytes(log.read_bytes()[:-cut])
    host.follow("v3")
    assert [entry["release"] for entry in host.layout.activations()] in (["v1", "v3"], ["v1", "v2", "v3"])
    assert host.layout.previous() in ("v1", "v2")


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
def test_a_log_with_garbage_in_it_can_still_be_read(host, garbage):
    host.follow("v1")
    with open(host.layout.log, "ab") as log:
        log.write(garbage)
    host.follow("v2")
    assert host.layout.previous() == "v1"


# Records


def test_a_record_is_a_plain_file_that_anyone_may_read(host):
    host.stage("v1")
    path = host.root / ".deploy/releases/v1.json"
    assert json.loads(path.read_text())["state"] == "staged"
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(path.parent) == ["v1.json"], "no temporary file stays"


def test_a_record_has_the_number_of_its_format_which_is_nobody_elses_business(host):
    host.stage("v1")
    assert json.loads((host.root / ".deploy/releases/v1.json").read_text())["format"] == 1
    assert "format" not in host.layout.record("v1")


@pytest.mark.parametrize("note", ["environments/gone", "settings/gone.json"])
def test_a_note_of_a_release_that_is_gone_is_left_over(host, note):
    path = host.root / ".deploy" / note
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    assert host.layout.leftovers() == [str(path)]
    host.layout.sweep()
    assert not path.exists()


@pytest.mark.parametrize("directory", ["state", "records", "settings"])
def test_a_file_that_was_being_written_is_left_over(host, directory):
    path = os.path.join(getattr(host.layout, directory), ".flaskops-write-99999999-0123456789abcdef")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, "w").close()
    assert host.layout.leftovers() == [path]
    host.layout.sweep()
    assert not os.path.exists(path)


def test_a_record_from_before_formats_had_a_number_is_read(host):
    host.stage("v1")
    path = host.root / ".deploy/releases/v1.json"
    old = json.loads(path.read_text())
    del old["format"], old["staged"]
    path.write_text(json.dumps(old))
    assert host.layout.record("v1") == {**old, "staged": "", "built": False}
    host.layout.prune(1)
    host.layout.sweep()
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
def test_a_damaged_record_counts_as_missing_and_is_named(host, text, said):
    host.follow("v1 v2")
    path = host.root / ".deploy/releases/v1.json"
    path.write_text(text)
    assert list(host.layout.known()) == ["v2"] and host.layout.record("v1") is None
    assert host.layout.previous() is None and host.layout.with_digest("d") is None
    assert host.layout.prune(1) == [], "what is not known is not removed"
    (warning,) = host.layout.warnings()
    assert warning.startswith(f"The record {path} cannot be read and counts as missing:")
    assert re.search(said, warning)
    host.layout.sweep()
    aside = path.with_name("v1.json.damaged")
    assert aside.exists() != path.exists()
    # A newer version of the collection may come back.
    assert path.exists() == ("format" in text)
    assert host.releases() == ["v1", "v2"]


def test_without_the_log_the_records_say_what_is_live_and_what_was_before(host):
    host.follow("v1 v2 v3")
    os.unlink(host.layout.log)
    assert (host.layout.recorded(), host.layout.previous()) == ("v3", "v2")
    host.layout.set_state("v2", "bad", reason="health")
    assert host.layout.previous() == "v1"
    assert host.layout.prune(1)[0] == "v2"


def test_without_any_state_nothing_is_known_and_nothing_is_removed(host):
    host.follow("v1 v2")
    shutil.rmtree(host.layout.state)
    assert (host.layout.live(), host.layout.recorded(), host.layout.previous()) == ("v2", None, None)
    host.layout.prepare()
    host.layout.sweep()
    assert host.layout.prune(1) == [] and host.releases() == ["v1", "v2"]


def test_a_state_is_written_with_its_reason_and_keeps_the_rest(host):
    host.stage("v1")
    host.layout.set_state("v1", "bad", reason="health: GET / answered 500, expected 200")
    record = host.layout.record("v1")
    assert (record["state"], record["digest"]) == ("bad", "digest of v1")
    assert "answered 500" in record["reason"]


@pytest.mark.parametrize("name", [None, "foreign"])
def test_a_release_without_a_record_gets_none(host, name):
    host.layout.set_state(name, "superseded")
    assert os.listdir(host.layout.records) == []


def test_a_state_that_is_right_is_not_written_again(host):
    host.stage("v1")
    path = host.root / ".deploy/releases/v1.json"
    before = path.stat().st_ino
    host.layout.set_state("v1", "staged")
    assert path.stat().st_ino == before


# What is removed


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
def test_the_last_good_releases_are_kept(host, history, keep, left):
    host.follow(history)
    # Times that tell the opposite of the log.
    for age, name in enumerate(sorted(host.releases(), reverse=True)):
        os.utime(host.layout.release(name), (age, age))
    removed = host.layout.prune(keep)
    assert host.releases() == left
    assert host.environments() == [ENVIRONMENTS[name] for name in left]
    assert set(removed) & set(left) == set()


def test_a_release_that_was_staged_and_never_live_goes_before_those_that_were(host):
    host.stage("v9")
    host.follow("v1 v2 v3")
    host.layout.prune(3)
    assert host.releases() == ["v1", "v2", "v3"]


def test_what_a_candidate_runs_stays(host):
    host.follow("v1 v2 v3 v4")
    os.symlink("releases/v1", host.layout.next)
    host.layout.prune(1)
    assert host.releases() == ["v1", "v3", "v4"]


def test_foreign_names_stay(host):
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
    host.layout.prune(1)
    assert host.releases() == sorted([*foreign, "latest", "v2", "v3"])
    assert host.environments() == sorted([".uv", ".lock", "mine", "A" * 12, ENVIRONMENTS["v2"], ENVIRONMENTS["v3"]])


def test_nothing_outside_is_followed(host, tmp_path):
    """A name with a record that is a link leads out of the tree: what it leads to is not ours to remove."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "data").write_text("precious")
    host.follow("v1 v2 v3")
    os.rename(host.layout.release("v1"), host.root / "moved")
    os.symlink(outside, host.layout.release("v1"))
    with contextlib.suppress(OSError):  # A warning of the task; the release is live by then.
        host.layout.prune(1)
    assert (outside / "data").read_text() == "precious"


def test_an_environment_is_kept_as_long_as_anything_names_it(host):
    host.follow("v1 v2 v3")
    wanted = {"a": "a" * 12, "b": "b" * 12}
    for digest in wanted.values():
        (host.root / "venvs" / digest).mkdir()
    # v3 is to run with a new one, and the link venv was pointed at another one by hand.
    (host.root / ".deploy/environments/v3").unlink()
    (host.root / ".deploy/environments/v3").symlink_to("../../venvs/" + wanted["a"])
    os.symlink("venvs/" + wanted["b"], host.layout.venv)
    (host.root / "venvs" / ("c" * 12)).mkdir()
    assert host.layout.prune(1) == ["v1", ENVIRONMENTS["v1"], "c" * 12]
    assert host.environments() == sorted([*wanted.values(), ENVIRONMENTS["v2"], ENVIRONMENTS["v3"]])


def test_a_set_stays_as_long_as_a_noted_link_leads_to_it_wherever_that_lies(host, tmp_path):
    worker = tmp_path / "opt/worker/venv"
    worker.parent.mkdir(parents=True)
    (host.root / "venvs" / ("a" * 12)).mkdir()
    worker.symlink_to(host.root / "venvs" / ("a" * 12))
    note_link(host.layout.venvs, str(worker))
    note_link(host.layout.venvs, str(worker))
    host.follow("v1 v2 v3")
    assert host.layout.leftovers() == []
    host.layout.prune(1)
    host.layout.sweep()
    assert "a" * 12 in host.environments()
    worker.unlink()
    assert host.layout.prune(1) == ["a" * 12]


def test_where_nothing_was_deployed_yet_no_set_is_removed(host):
    (host.root / "venvs" / ("a" * 12)).mkdir()
    assert host.layout.leftovers() == []
    host.layout.sweep()
    assert host.environments() == ["a" * 12]


def test_two_releases_share_an_environment(host):
    host.stage("v1", environment="e" * 12)
    host.stage("v2", environment="e" * 12)
    host.follow("v1 v2 v3")
    host.layout.prune(1)
    assert "e" * 12 in host.environments()


def test_a_rejected_release_is_remembered_when_its_files_are_gone(host):
    host.follow("v1 !v2")
    host.layout.prune(5)
    assert host.releases() == ["v1"]
    assert host.layout.record("v2")["state"] == "bad"
    host.layout.sweep()
    assert host.layout.record("v2")["state"] == "bad"


def test_records_and_wishes_of_removed_releases_go_with_them(host):
    host.follow("v1 v2 v3")
    host.layout.prune(1)
    assert sorted(os.listdir(host.layout.records)) == ["v2.json", "v3.json"]
    assert sorted(os.listdir(host.layout.environments)) == ["v2", "v3"]


def test_a_removal_that_was_cut_off_is_finished_by_the_next_one(host, monkeypatch):
    host.follow("v1 v2 v3")
    (host.root / "releases/v1/wsgi.py").write_text("")

    def killed(_path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(layout_module.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            host.layout.prune(1)
    assert "v1" not in host.layout.known(), "half of it is never seen"
    host.layout.sweep()
    host.layout.prune(1)
    assert host.releases() == ["v2", "v3"]
    assert host.environments() == [ENVIRONMENTS["v2"], ENVIRONMENTS["v3"]]
    assert sorted(os.listdir(host.layout.records)) == ["v2.json", "v3.json"]


def test_an_environment_can_be_removed_although_half_of_it_still_lies_aside(host):
    host.follow("v1")
    for name in (".removed-" + "c" * 12, "c" * 12):
        (host.root / "venvs" / name).mkdir()
        (host.root / "venvs" / name / "pyvenv.cfg").write_text("")
    host.layout.sweep()
    host.layout.prune(1)
    assert host.environments() == [ENVIRONMENTS["v1"]]


def test_leftovers_of_killed_runs_are_swept_and_nothing_else(host):
    host.follow("v1 v2 !v3")
    for name in ("releases/.staging-v4", "releases/.removed-v0", "venvs/.removed-" + "d" * 12):
        (host.root / name / "below").mkdir(parents=True)
    (host.root / "releases/foreign").mkdir()
    (host.root / "releases/.mine").mkdir()
    # A prune that was killed between a release and its set of dependencies.
    (host.root / "venvs" / ("e" * 12)).mkdir()
    assert str(host.root / "venvs" / ("e" * 12)) in host.layout.leftovers()
    host.layout.write_record("v4", {"release": "v4", "digest": "d", "state": "staged", "staged": ""})
    (host.root / ".deploy/environments/v4").symlink_to("../../venvs/" + "d" * 12)
    host.layout.sweep()
    assert host.releases() == [".mine", "foreign", "v1", "v2", "v3"]
    assert host.environments() == [ENVIRONMENTS[name] for name in ("v1", "v2", "v3")]
    assert sorted(os.listdir(host.layout.records)) == ["v1.json", "v2.json", "v3.json"]
    assert sorted(os.listdir(host.layout.environments)) == ["v1", "v2", "v3"]
    assert host.layout.leftovers() == []


def test_the_link_that_a_killed_adoption_leaves_is_swept(host):
    """change_places() puts a link in the new place before it exchanges the two."""
    host.follow("v1")
    link = host.root / "venvs" / ("f" * 12)
    link.symlink_to(link)
    host.layout.sweep()
    assert host.layout.leftovers() == [] and not link.is_symlink()
    assert host.environments() == [ENVIRONMENTS["v1"]]


# The lock


def run_of(name, **more):
    return {"run": name, "by": "ada", "controller": "ci", **more}


def test_the_lock_names_its_holder_from_the_first_moment(host):
    Lock(host.layout, run_of("1", process="boot 17")).acquire()
    held = json.loads((host.root / ".deploy/lock").read_text())
    assert {key: held[key] for key in ("run", "by", "controller", "process")} == run_of("1", process="boot 17")
    assert held["time"].endswith("Z")
    assert [name for name in os.listdir(host.layout.state) if name.startswith("lock.")] == []


def test_its_own_run_goes_on(host):
    for _task in range(3):
        Lock(host.layout, run_of("1")).acquire()
    assert Lock(host.layout, {}).holder()["run"] == "1"


def test_another_run_is_told_who_holds_the_lock_and_how_to_clear_it(host):
    Lock(host.layout, {"run": "1", "by": "grace", "controller": "laptop"}).acquire()
    with pytest.raises(LockedError) as refused:
        Lock(host.layout, run_of("2")).acquire()
    for word in ("grace", "laptop", "run 1", "release_unlock=true", host.layout.lock):
        assert word in str(refused.value)
    assert refused.value.holder["run"] == "1"
    assert [name for name in os.listdir(host.layout.state) if name.startswith("lock.")] == []


def test_the_lock_is_taken_by_force(host):
    Lock(host.layout, run_of("1")).acquire()
    Lock(host.layout, run_of("2")).acquire(force=True)
    assert Lock(host.layout, {}).holder()["run"] == "2"


@pytest.mark.parametrize(("replaced", "taken"), [("1", True), ("0", False)])
def test_only_the_run_that_is_known_to_be_dead_is_replaced(host, replaced, taken):
    Lock(host.layout, run_of("1")).acquire()
    lock = Lock(host.layout, run_of("2", replaces=replaced))
    if taken:
        lock.acquire()
    else:
        with pytest.raises(LockedError):
            lock.acquire()
    assert lock.holder()["run"] == ("2" if taken else "1")


def test_only_its_own_run_gives_the_lock_back(host):
    Lock(host.layout, run_of("1")).acquire()
    Lock(host.layout, run_of("2")).release()
    assert os.path.exists(host.layout.lock)
    Lock(host.layout, run_of("1")).release()
    assert not os.path.exists(host.layout.lock)
    Lock(host.layout, run_of("1")).release()


@pytest.mark.parametrize("text", ["", "{", '{"run": "1", "by"', "\0" * 64])
def test_a_lock_that_can_not_be_read_holds_until_it_is_taken_by_force(host, text):
    (host.root / ".deploy/lock").write_text(text)
    with pytest.raises(LockedError, match="release_unlock=true"):
        Lock(host.layout, run_of("2")).acquire()
    Lock(host.layout, run_of("2")).release()
    assert (host.root / ".deploy/lock").read_text() == text
    Lock(host.layout, run_of("2")).acquire(force=True)
    assert Lock(host.layout, {}).holder()["run"] == "2"


def _compete(root, number, start, won, options):
    layout = Layout(root)
    lock = Lock(layout, run_of(str(number), **options))
    start.wait()
    try:
        layout.prepare()
        lock.acquire()
        won.put(number)
    except LockedError:
        won.put(None)
    except BaseException as error:
        won.put(repr(error))


@pytest.mark.parametrize("before", ["nothing", "a lock", "a dead run's lock"])
def test_of_eight_runs_at_once_exactly_one_wins(tmp_path, before):
    processes, context = 8, multiprocessing.get_context("fork")
    for attempt in range(6):
        root = tmp_path / str(attempt)
        root.mkdir()
        options = {}
        if before != "nothing":
            Layout(str(root)).prepare()
        if before == "a dead run's lock":
            Lock(Layout(str(root)), run_of("dead")).acquire()
            options = {"replaces": "dead"}
        start, won = context.Barrier(processes), context.Queue()
        runs = [context.Process(target=_compete, args=(str(root), n, start, won, options)) for n in range(processes)]
        for run in runs:
            run.start()
        answers = [won.get(timeout=20) for _run in runs]
        for run in runs:
            run.join()
        winners = [answer for answer in answers if answer is not None]
        assert len(winners) == 1, answers
        assert json.loads((root / ".deploy/lock").read_text())["run"] == str(winners[0])


def test_a_dead_run_is_replaced_by_one_run_only(host, monkeypatch):
    """The second of two runs that saw the dead holder must not take the lock from the first."""
    Lock(host.layout, run_of("dead")).acquire()
    first, second = (Lock(host.layout, run_of(name, replaces="dead")) for name in ("1", "2"))
    look, winners, threads = Lock.holder, [], []

    def compete(lock):
        with contextlib.suppress(LockedError):
            lock.acquire()
            winners.append(lock.run["run"])

    def holder(lock):
        found = look(lock)
        if lock is second and not threads:
            threads.append(threading.Thread(target=compete, args=(first,)))
            threads[0].start()
            threads[0].join(timeout=0.5)
        return found

    monkeypatch.setattr(Lock, "holder", holder)
    compete(second)
    threads[0].join()
    assert len(winners) == 1


def _work_for(root, seconds, working):
    layout = Layout(root)
    lock = Lock(layout, run_of("dead"))
    lock.acquire()
    working.set()
    time.sleep(seconds)
    (Path(root) / "done").touch()
    lock.release()


@pytest.mark.parametrize("options", [{"replaces": "dead"}, {}], ids=["dead", "forced"])
def test_a_step_that_is_still_at_work_ends_before_the_next_run_begins(host, options):
    """The controller of a run may be gone while its module works on."""
    context = multiprocessing.get_context("fork")
    working = context.Event()
    orphan = context.Process(target=_work_for, args=(str(host.root), 0.5, working))
    orphan.start()
    working.wait(20)
    lock = Lock(host.layout, run_of("2", **options))
    lock.acquire(force=not options)
    assert (host.root / "done").exists()
    assert lock.holder()["run"] == "2"
    orphan.join()


def test_who_is_not_to_take_the_lock_does_not_wait_for_it(host):
    context = multiprocessing.get_context("fork")
    working = context.Event()
    other = context.Process(target=_work_for, args=(str(host.root), 30, working))
    other.start()
    working.wait(20)
    with pytest.raises(LockedError, match="run dead"):
        Lock(host.layout, run_of("2")).acquire()
    other.kill()
    other.join()


def test_a_step_that_does_not_end_is_named(host, monkeypatch):
    monkeypatch.setattr(layout_module, "PATIENCE", 0.2)
    lock = Lock(host.layout, run_of("1"))
    lock.acquire()
    with pytest.raises(ReleaseError, match="has been at work in"):
        Lock(host.layout, run_of("2")).acquire(force=True)
    lock.release()
    Lock(host.layout, run_of("2")).acquire()


def test_the_time_is_utc():
    assert abs(time.mktime(time.strptime(layout_module.now(), "%Y-%m-%dT%H:%M:%SZ")) - time.mktime(time.gmtime())) < 5


def test_no_other_user_can_hold_the_guard(host, as_root):
    """flock(2) asks for no more than an open file: what others can open, they can lock for ever."""
    lock = Lock(host.layout, {"run": "1", "by": "ada", "controller": "desk"})
    lock.acquire()
    lock.release()
    found = os.stat(host.layout.guard)
    assert (found.st_uid, found.st_mode & 0o777) == (0, 0o600)
    os.chmod(host.layout.guard, 0o644)
    lock.acquire()
    lock.release()
    assert os.stat(host.layout.guard).st_mode & 0o777 == 0o600
    # What another user can open is locked, and a step begins all the same.
    held = [
        os.open(path, os.O_RDONLY)
        for path in (host.layout.state, host.layout.root, host.layout.records, host.layout.venvs)
    ]
    try:
        for fd in held:
            fcntl.flock(fd, fcntl.LOCK_EX)
        before = time.monotonic()
        lock.acquire()
        lock.release()
        assert time.monotonic() - before < 5
    finally:
        for fd in held:
            os.close(fd)
