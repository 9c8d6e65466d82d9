# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._files import links
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import make_temporary_name
from ansible_collections.flaskops.production.plugins.module_utils._files.links import (
    TEMPORARY_PREFIX,
    SymlinkError,
    exchange_names,
    is_reached_through,
    read_link,
    swap_link,
    sync_filesystem,
)


@pytest.fixture
def root(tmp_path):
    for release in ("1", "2"):
        (tmp_path / "releases" / release).mkdir(parents=True)
        (tmp_path / "releases" / release / "page").write_text(release)
    return tmp_path


def temporaries(directory):
    return [name for name in os.listdir(directory) if name.startswith(TEMPORARY_PREFIX)]


def dead_pid():
    finished = subprocess.Popen([sys.executable, "-c", ""])
    finished.wait()
    return finished.pid


def test_swap_returns_the_previous_target(root):
    app = str(root / "app")
    assert swap_link(app, "releases/1") is None
    assert swap_link(app, "releases/2") == "releases/1"
    assert read_link(app) == "releases/2"
    assert sorted(os.listdir(root)) == ["app", "releases"]


def test_swap_replaces_a_dangling_link(root):
    (root / "app").symlink_to("releases/gone")
    assert swap_link(str(root / "app"), "releases/1") == "releases/gone"
    assert (root / "app" / "page").read_text() == "1"


def test_missing_link_is_none(root):
    assert read_link(str(root / "app")) is None


@pytest.mark.parametrize(
    ("path", "target", "message"),
    [
        ("{root}/file", "releases/1", "{root}/file is a file, not a symbolic link. It was not changed: move it away"),
        ("{root}/releases/1", "../releases/2", "{root}/releases/1 is a real directory, not a symbolic link."),
        ("{root}/app", "releases/3", "{root}/releases/3 is not a directory, so {root}/app was not pointed at it."),
        ("{root}/app", "file", "{root}/file is not a directory, so {root}/app was not pointed at it."),
        (
            "{root}/app",
            "venv",
            "{root}/venv is reached through {root}/app itself; the link would be",
        ),
        ("{root}/no/app", "/", "The directory {root}/no of the link app cannot be opened: No such file"),
        ("app", "/", "The path of the link is 'app', but must be absolute, such as /srv/myapp/app."),
        ("{root}/..", "/", "The path of the link is '{root}/..', which is a directory; name a link in it."),
    ],
)
def test_unsafe_swap_is_refused(root, path, target, message):
    (root / "file").write_text("kept")
    (root / "app").symlink_to("releases/1")
    (root / "releases" / "1" / ".venv").mkdir()
    (root / "venv").symlink_to("app/.venv")
    before = sorted(os.listdir(root)), os.readlink(root / "app")
    with pytest.raises(SymlinkError) as refused:
        swap_link(path.format(root=root), target)
    assert str(refused.value).startswith(message.format(root=root))
    assert str(refused.value).endswith(".")
    assert (sorted(os.listdir(root)), os.readlink(root / "app")) == before
    assert (root / "file").read_text() == "kept"


def test_links_on_the_path_are_detected(root):
    (root / "app").symlink_to("releases/1")
    (root / "alias").symlink_to(".")
    link = str(root / "app")
    assert is_reached_through(str(root / "alias" / "app"), link)
    assert is_reached_through(str(root / "releases" / ".." / "app" / "page"), link)
    assert is_reached_through(link, str(root / "alias" / "app"))
    assert not is_reached_through(str(root / "alias" / "releases" / "2"), link)


def test_link_loop_ends_the_detection(root):
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    assert not is_reached_through(str(root / "a"), str(root / "app"))


def test_swap_flushes_the_target_before_and_the_directory_after(root, monkeypatch):
    steps = []
    rename = os.replace
    monkeypatch.setattr(links, "sync_filesystem", lambda path: steps.append(("flush", path)))
    monkeypatch.setattr(links, "sync_directory", lambda fd: steps.append(("fsync", os.readlink(f"/proc/self/fd/{fd}"))))
    monkeypatch.setattr(os, "replace", lambda *names, **fds: (steps.append(("rename",)), rename(*names, **fds)))
    swap_link(str(root / "app"), "releases/1")
    assert steps == [("flush", str(root / "releases/1")), ("rename",), ("fsync", str(root))]
    del steps[:]
    swap_link(str(root / "app"), "releases/2", sync=False)
    assert steps == [("rename",)]


def test_all_file_systems_are_flushed_without_syncfs(root, monkeypatch):
    calls = []
    monkeypatch.setattr(links, "_find_libc_function", lambda name: None)
    monkeypatch.setattr(os, "sync", lambda: calls.append("sync"))
    sync_filesystem(str(root))
    assert calls == ["sync"]


def test_missing_path_is_named(root):
    sync_filesystem(str(root))
    with pytest.raises(SymlinkError, match="gone cannot be opened to flush its file system: No such file or directory"):
        sync_filesystem(str(root / "gone"))


def test_failed_rename_leaves_no_temporary_name(root, monkeypatch):
    def fail(*_names, **_fds):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(SymlinkError, match="app could not be pointed at releases/1: Permission denied"):
        swap_link(str(root / "app"), "releases/1")
    assert os.listdir(root) == ["releases"]


def test_swap_survives_the_removal_of_its_temporary_name(root, monkeypatch):
    rename, swept = os.replace, []

    def sweep_first(source, *names, **fds):
        if not swept:
            os.unlink(root / source)
            swept.append(source)
        return rename(source, *names, **fds)

    monkeypatch.setattr(os, "replace", sweep_first)
    swap_link(str(root / "app"), "releases/1")
    assert swept
    assert read_link(str(root / "app")) == "releases/1"


def test_leftovers_of_killed_runs_are_removed(root):
    dead, alive = dead_pid(), os.getppid()
    names = {
        f"{TEMPORARY_PREFIX}{dead}-0123456789abcdef": False,
        f"{TEMPORARY_PREFIX}{alive}-0123456789abcdef": True,
        f"{TEMPORARY_PREFIX}{alive}-fedcba9876543210": False,  # two minutes old
        f"{TEMPORARY_PREFIX}notes": True,
        f".other-{dead}-0123456789abcdef": True,
    }
    for name in names:
        (root / name).symlink_to("releases/gone")
    os.utime(root / f"{TEMPORARY_PREFIX}{alive}-fedcba9876543210", (time.time() - 120,) * 2, follow_symlinks=False)
    (root / f"{TEMPORARY_PREFIX}{dead}-directory").mkdir()
    swap_link(str(root / "app"), "releases/1")
    leftovers = set(os.listdir(root)) - {"app", "releases"}
    assert leftovers == {name for name, kept in names.items() if kept} | {f"{TEMPORARY_PREFIX}{dead}-directory"}


def _swap_and_die(path):
    os.replace = lambda *_names, **_fds: os.kill(os.getpid(), signal.SIGKILL)
    swap_link(path, "releases/2", sync=False)


def test_killed_swap_keeps_the_old_link(root):
    app = str(root / "app")
    swap_link(app, "releases/1")
    killed = multiprocessing.get_context("fork").Process(target=_swap_and_die, args=(app,))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert read_link(app) == "releases/1"
    assert len(temporaries(root)) == 1
    swap_link(app, "releases/2")
    assert read_link(app) == "releases/2"
    assert temporaries(root) == []


def _count_misses(page, ready, stop, counts):
    reads = missed = 0
    calls = set()
    ready.set()
    while not stop.is_set():
        reads += 1
        try:
            with open(page, encoding="ascii") as stream:
                calls.add(stream.read())
        except OSError:
            missed += 1
    counts[:] = [reads, missed, len(calls)]


def _watch(root, change, swaps):
    """Return the misses of a reader process during the swaps, and the number of releases that it read."""
    context = multiprocessing.get_context("fork")
    ready, stop, counts = context.Event(), context.Event(), context.Array("q", 3)
    reader = context.Process(target=_count_misses, args=(str(root / "app" / "page"), ready, stop, counts))
    reader.start()
    try:
        assert ready.wait(30)
        for number in range(swaps):
            change(str(root / "app"), f"releases/{number % 2 + 1}")
    finally:
        stop.set()
        reader.join(30)
    reads, missed, calls = counts
    assert reads > 0
    return missed, calls


def test_reader_never_misses_during_2000_swaps(root):
    swap_link(str(root / "app"), "releases/1")
    assert _watch(root, lambda path, to: swap_link(path, to, sync=False), 2_000) == (0, 2)


def test_reader_detects_a_non_atomic_replacement(root):
    def remove_and_make(path, target):
        os.unlink(path)
        os.symlink(target, path)

    swap_link(str(root / "app"), "releases/1")
    missed, _seen = _watch(root, remove_and_make, 5_000)
    assert missed > 0


def test_eight_threads_swap_in_parallel(root):
    app, problems = str(root / "app"), []
    start = threading.Barrier(8)

    def work(number):
        try:
            start.wait(30)
            for turn in range(200):
                swap_link(app, f"releases/{(number + turn) % 2 + 1}", sync=False)
                with open(os.path.join(app, "page"), encoding="ascii") as page:
                    assert page.read() in "12"
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert sorted(os.listdir(root)) == ["app", "releases"]


@pytest.fixture(params=["libc", "syscall"])
def way(request, monkeypatch):
    if request.param == "syscall":
        find = links._find_libc_function
        monkeypatch.setattr(links, "_find_libc_function", lambda name: None if name == "renameat2" else find(name))
    return request.param


def test_link_and_directory_are_exchanged(root, way):
    swap_link(str(root / "app"), "releases/1")
    (root / "old").mkdir()
    exchange_names(str(root / "app"), str(root / "old"))
    assert (root / "app").is_dir() and not (root / "app").is_symlink()
    assert os.readlink(root / "old") == "releases/1"


def test_exchange_names_the_missing_path(root, way):
    with pytest.raises(SymlinkError) as refused:
        exchange_names(str(root / "releases"), str(root / "gone"))
    assert str(refused.value) == (f"{root}/releases and {root}/gone cannot be exchanged: {root}/gone does not exist.")


def test_exchange_with_a_nested_directory_is_refused(root, way):
    with pytest.raises(SymlinkError, match="cannot be exchanged: one of them is inside the other"):
        exchange_names(str(root), str(root / "releases"))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ENOSYS", "this kernel or Python has no renameat2."),
        ("EINVAL", "their file system does not support RENAME_EXCHANGE."),
        ("EXDEV", "they are on different file systems."),
        ("EACCES", "Permission denied."),
    ],
)
def test_exchange_errors_are_explained(root, monkeypatch, code, message):
    monkeypatch.setattr(links, "_renameat2", lambda *_arguments: getattr(links.errno, code))
    with pytest.raises(SymlinkError) as refused:
        exchange_names(str(root / "releases/1"), str(root / "releases/2"))
    assert str(refused.value).endswith(message)


def test_exchange_on_an_unknown_machine_is_refused(root, monkeypatch):
    monkeypatch.setattr(links.platform, "machine", lambda: "pdp11")
    monkeypatch.setattr(links, "_find_libc_function", lambda name: None)
    with pytest.raises(SymlinkError, match="has no renameat2"):
        exchange_names(str(root / "releases/1"), str(root / "releases/2"))


def test_missing_ctypes_disables_exchange_and_flushes_all(root, monkeypatch):
    monkeypatch.setattr(links, "ctypes", None)
    swap_link(str(root / "app"), "releases/1")
    assert read_link(str(root / "app")) == "releases/1"
    with pytest.raises(SymlinkError, match="has no renameat2"):
        exchange_names(str(root / "releases/1"), str(root / "releases/2"))


def test_temporary_names_fit_the_maximum_length(root):
    longest = str(root / ("a" * 255))
    swap_link(longest, "releases/1")
    assert read_link(longest) == "releases/1"
    assert make_temporary_name(TEMPORARY_PREFIX) != make_temporary_name(TEMPORARY_PREFIX)
