# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Another user of the host, who attacks while root works."""

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
    """A directory that every user can pass, unlike tmp_path."""
    directory = Path(tempfile.mkdtemp(prefix="attack-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def private(open_path):
    """A directory of root with a secret file, and a function that says what is in it."""
    directory = open_path / "private"
    directory.mkdir(mode=0o700)
    (directory / "secret").write_text("the secret of root")
    (directory / "secret").chmod(0o600)
    return directory


def snapshot(directory):
    """Everything below a directory, itself too: names, owners, modes and bytes."""
    found = {}
    for path in [directory, *sorted(directory.rglob("*"))]:
        info = os.lstat(path)
        content = path.read_bytes() if stat.S_ISREG(info.st_mode) else None
        found[str(path)] = (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode), content)
    return found


@pytest.fixture
def untouched(private):
    """Nothing below the private directory changes while the test runs."""
    before = snapshot(private)
    yield private
    assert snapshot(private) == before


def _attack(uid, step, started, stop):
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    end = time.monotonic() + SECONDS
    while not stop.is_set() and time.monotonic() < end:
        # What it attacks may be gone, root's or busy at this moment.
        with contextlib.suppress(OSError):
            step()
        started.set()


@contextlib.contextmanager
def attacking(step, uid=ADA):
    """A process of another user that repeats a step as fast as it can, at most for a minute."""
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
    """A step that lets a file or directory and a link change places, so that the name is there nearly always."""

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
    """Rounds against an attacker: so many at least, and on until both of them have been first."""
    end = time.monotonic() + seconds
    number = 0
    while number < least or (not enough() and time.monotonic() < end):
        yield number
        number += 1


@pytest.fixture(name="rounds")
def rounds_of_an_attack():
    return rounds
