# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths are resolved name by name, as the kernel does it."""

from __future__ import annotations

import os

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._files.paths import PathWalk


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "a/relative").symlink_to("b/../b")
    (tmp_path / "absolute").symlink_to(tmp_path / "a/relative")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "links"), [("a/b/c", 0), ("a/./b//c", 0), ("a/b/../b/c", 0), ("a/relative/c", 1), ("absolute/c", 2)]
)
def test_links_and_dots_are_resolved(tree, path, links):
    walk = PathWalk(str(tree / "x").split("/")[:-1] + path.split("/"))
    steps = [step.path for step in walk]
    assert (walk.directory, walk.links) == (os.path.realpath(tree / path), links)
    assert str(tree / "a/b") in steps


def test_walk_ends_at_a_missing_name(tree):
    walk = PathWalk(["absolute", "missing", "below"], str(tree))
    steps = list(walk)
    assert (steps[-1].path, steps[-1].info, walk.pending) == (str(tree / "a/b/missing"), None, ["below"])


def test_caller_can_end_the_walk_of_a_loop(tree):
    (tree / "loop").symlink_to("loop")
    walk = PathWalk(["loop"], str(tree))
    for step in walk:
        assert step.is_link()
        if walk.links > 3:
            break
    assert walk.links == 4


def test_file_above_a_name_is_an_error(tree):
    (tree / "file").touch()
    with pytest.raises(NotADirectoryError):
        list(PathWalk(["file", "below"], str(tree)))
