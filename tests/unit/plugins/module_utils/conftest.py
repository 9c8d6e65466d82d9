# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attacks of another user of the host during operations of root."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

import pytest

ADA = 4711
SECONDS = 60


@pytest.fixture
def open_path(as_root):
    """Create a directory that all users can enter, unlike tmp_path."""
    directory = Path(tempfile.mkdtemp(prefix="attack-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def private(open_path):
    """Create a directory of root with a secret file."""
    directory = open_path / "private"
    directory.mkdir(mode=0o700)
    (directory / "secret").write_text("the secret of root")
    (directory / "secret").chmod(0o600)
    return directory


def snapshot(directory):
    """Return owners, modes and contents of a directory and everything below it, by path."""
    found = {}
    for path in [directory, *sorted(directory.rglob("*"))]:
        info = os.lstat(path)
        content = path.read_bytes() if stat.S_ISREG(info.st_mode) else None
        found[str(path)] = (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode), content)
    return found


@pytest.fixture
def untouched(private):
    """Assert that nothing below the private directory changes during the test."""
    before = snapshot(private)
    yield private
    assert snapshot(private) == before


def _attack(uid, step, started, stop):
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    end = time.monotonic() + SECONDS
    while not stop.is_set() and time.monotonic() < end:
        # The attacked file may be missing, owned by root or in use at this moment.
        with contextlib.suppress(OSError):
            step()
        started.set()


@contextlib.contextmanager
def attacking(step, uid=ADA):
    """Repeat a step in a process of another user as fast as possible, for at most a minute."""
    context = multiprocessing.get_context("fork")
    started, stop = context.Event(), context.Event()
    process = context.Process(target=_attack, args=(uid, step, started, stop))
    process.start()
    try:
        assert started.wait(30)
        yield
    finally:
        stop.set()
        process.join(30)
    assert process.exitcode == 0


@pytest.fixture
def attack():
    return attacking


def flip(path, link, text):
    """Return a step that exchanges a file or directory with a link, so that the name exists nearly always."""

    def step():
        aside = f"{path}.aside"
        if os.path.islink(path):
            os.rename(path, link)
            os.rename(aside, path)
        else:
            os.rename(path, aside)
            if not os.path.lexists(link):
                os.symlink(text, link)
            os.rename(link, path)

    return step


@pytest.fixture
def flipping():
    return flip


def rounds(enough, least=40, seconds=30):
    """Yield rounds until a condition holds, between a minimum number and a time limit in seconds."""
    end = time.monotonic() + seconds
    number = 0
    while number < least or (not enough() and time.monotonic() < end):
        yield number
        number += 1


@pytest.fixture(name="rounds")
def rounds_of_an_attack():
    return rounds


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Install programs at the front of PATH."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)

    def install(name, script):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)

    return install
