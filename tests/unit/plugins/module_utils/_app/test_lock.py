# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The holder of the deploy lock, and the wait for an earlier step."""

from __future__ import annotations

import contextlib
import fcntl
import json
import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._app import lock as lock_module
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.lock import DeployLock, LockedError
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError


def run_of(name, **more):
    return {"run": name, "by": "ada", "controller": "ci", **more}


def test_lock_has_its_holder_from_the_start(host):
    DeployLock(host.layout, run_of("1", process="boot 17")).acquire()
    held = json.loads((host.root / ".deploy/lock").read_text())
    assert {key: held[key] for key in ("run", "by", "controller", "process")} == run_of("1", process="boot 17")
    assert held["time"].endswith("Z")
    assert [name for name in os.listdir(host.layout.state) if name.startswith("lock.")] == []


def test_run_acquires_its_own_lock_again(host):
    for _task in range(3):
        DeployLock(host.layout, run_of("1")).acquire()
    assert DeployLock(host.layout, {}).read_holder()["run"] == "1"


def test_message_names_the_holder_and_the_remedy(host):
    DeployLock(host.layout, {"run": "1", "by": "grace", "controller": "laptop"}).acquire()
    with pytest.raises(LockedError) as refused:
        DeployLock(host.layout, run_of("2")).acquire()
    for word in ("grace", "laptop", "run 1", "release_unlock=true", host.layout.lock):
        assert word in str(refused.value)
    assert refused.value.details["lock_holder"]["run"] == "1"
    assert [name for name in os.listdir(host.layout.state) if name.startswith("lock.")] == []


def test_lock_is_acquired_by_force(host):
    DeployLock(host.layout, run_of("1")).acquire()
    DeployLock(host.layout, run_of("2")).acquire(force=True)
    assert DeployLock(host.layout, {}).read_holder()["run"] == "2"


@pytest.mark.parametrize(("replaced", "taken"), [("1", True), ("0", False)])
def test_only_the_named_dead_run_is_replaced(host, replaced, taken):
    DeployLock(host.layout, run_of("1")).acquire()
    lock = DeployLock(host.layout, run_of("2", replaces=replaced))
    if taken:
        lock.acquire()
    else:
        with pytest.raises(LockedError):
            lock.acquire()
    assert lock.read_holder()["run"] == ("2" if taken else "1")


def test_only_the_holder_releases_the_lock(host):
    DeployLock(host.layout, run_of("1")).acquire()
    DeployLock(host.layout, run_of("2")).release()
    assert os.path.exists(host.layout.lock)
    DeployLock(host.layout, run_of("1")).release()
    assert not os.path.exists(host.layout.lock)
    DeployLock(host.layout, run_of("1")).release()


@pytest.mark.parametrize("text", ["", "{", '{"run": "1", "by"', "\0" * 64])
def test_unreadable_lock_holds_until_it_is_acquired_by_force(host, text):
    (host.root / ".deploy/lock").write_text(text)
    with pytest.raises(LockedError, match="release_unlock=true"):
        DeployLock(host.layout, run_of("2")).acquire()
    DeployLock(host.layout, run_of("2")).release()
    assert (host.root / ".deploy/lock").read_text() == text
    DeployLock(host.layout, run_of("2")).acquire(force=True)
    assert DeployLock(host.layout, {}).read_holder()["run"] == "2"


def _compete(root, number, start, won, options):
    layout = Layout(root)
    lock = DeployLock(layout, run_of(str(number), **options))
    start.wait()
    try:
        ReleaseStore(layout).create_directories()
        lock.acquire()
        won.put(number)
    except LockedError:
        won.put(None)
    except BaseException as error:
        won.put(repr(error))


@pytest.mark.parametrize("before", ["nothing", "a lock", "a dead run's lock"])
def test_one_of_eight_concurrent_runs_acquires_the_lock(tmp_path, before):
    processes, context = 8, multiprocessing.get_context("fork")
    for attempt in range(6):
        root = tmp_path / str(attempt)
        root.mkdir()
        options = {}
        if before != "nothing":
            ReleaseStore(Layout(str(root))).create_directories()
        if before == "a dead run's lock":
            DeployLock(Layout(str(root)), run_of("dead")).acquire()
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


def test_dead_run_is_replaced_by_one_run_only(host, monkeypatch):
    """The second of two runs that saw the dead holder must not take the lock from the first."""
    DeployLock(host.layout, run_of("dead")).acquire()
    first, second = (DeployLock(host.layout, run_of(name, replaces="dead")) for name in ("1", "2"))
    read_holder, winners, threads = DeployLock.read_holder, [], []

    def compete(lock):
        with contextlib.suppress(LockedError):
            lock.acquire()
            winners.append(lock.run["run"])

    def holder(lock):
        found = read_holder(lock)
        if lock is second and not threads:
            threads.append(threading.Thread(target=compete, args=(first,)))
            threads[0].start()
            threads[0].join(timeout=0.5)
        return found

    monkeypatch.setattr(DeployLock, "read_holder", holder)
    compete(second)
    threads[0].join()
    assert len(winners) == 1


def _work_for(root, seconds, working):
    layout = Layout(root)
    lock = DeployLock(layout, run_of("dead"))
    lock.acquire()
    working.set()
    time.sleep(seconds)
    (Path(root) / "done").touch()
    lock.release()


@pytest.mark.parametrize("options", [{"replaces": "dead"}, {}], ids=["dead", "forced"])
def test_running_step_ends_before_the_next_run_begins(host, options):
    """The controller of a run may be gone while its module works on."""
    context = multiprocessing.get_context("fork")
    working = context.Event()
    orphan = context.Process(target=_work_for, args=(str(host.root), 0.5, working))
    orphan.start()
    working.wait(20)
    lock = DeployLock(host.layout, run_of("2", **options))
    lock.acquire(force=not options)
    assert (host.root / "done").exists()
    assert lock.read_holder()["run"] == "2"
    orphan.join()


def test_refused_run_does_not_wait_for_the_lock(host):
    context = multiprocessing.get_context("fork")
    working = context.Event()
    other = context.Process(target=_work_for, args=(str(host.root), 30, working))
    other.start()
    working.wait(20)
    with pytest.raises(LockedError, match="run dead"):
        DeployLock(host.layout, run_of("2")).acquire()
    other.kill()
    other.join()


def test_step_that_does_not_end_is_reported(host, monkeypatch):
    monkeypatch.setattr(lock_module, "STEP_TIMEOUT", 0.2)
    lock = DeployLock(host.layout, run_of("1"))
    lock.acquire()
    with pytest.raises(ReleaseError, match="has been at work in"):
        DeployLock(host.layout, run_of("2")).acquire(force=True)
    lock.release()
    DeployLock(host.layout, run_of("2")).acquire()


def test_other_users_cannot_lock_the_guard(host, as_root):
    """flock(2) asks for no more than an open file: what others can open, they can lock for ever."""
    lock = DeployLock(host.layout, {"run": "1", "by": "ada", "controller": "desk"})
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
