# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The harness returns the result of a module's work, and reports expected errors as failures."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ModuleError, ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._core.module import run_module as run_harness

SPEC = {"root": {"type": "path", "required": True}, "place": {"type": "path"}}
DIFF = {"before": "a\n", "after": "b\n"}


@pytest.fixture
def run(run_module):
    """Run the harness with a function as the work of a module."""

    def run(work, check=False, diff=False, **options):
        module = SimpleNamespace(main=lambda: run_harness(work, SPEC, **options))
        return run_module(module, {"root": "/srv/myapp"}, check=check, diff=diff)

    return run


def fail_with(error):
    def work(_module):
        raise error

    return work


@pytest.mark.parametrize("check", [False, True])
def test_result_of_the_work_is_returned(run, check):
    result = run(lambda module: {"changed": not module.check_mode, "root": module.params["root"]}, check=check)
    assert (result["changed"], result["root"]) == (not check, "/srv/myapp")


@pytest.mark.parametrize("diff", [False, True])
def test_diff_is_returned_if_it_is_requested(run, diff):
    result = run(lambda _module: {"changed": True, "diff": DIFF}, diff=diff)
    assert result.get("diff") == (DIFF if diff else None)


@pytest.mark.parametrize("error", [ModuleError, ReleaseError])
def test_expected_error_is_a_failure_with_its_details(run, error):
    result = run(fail_with(error("The disk is full.", phase="socket")))
    assert (result["failed"], result["msg"], result["phase"]) == (True, "The disk is full.", "socket")


@pytest.mark.parametrize(
    ("path", "filename", "message"),
    [
        ("root", None, "/srv/myapp: No space left on device. Make room on its file system, and run again."),
        ("root", "/else", "/else: No space left on device. Make room on its file system, and run again."),
        ("place", None, "No space left on device. Make room on its file system, and run again."),
    ],
)
def test_system_error_names_its_path_or_the_option(run, path, filename, message):
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), filename)
    assert run(fail_with(error), path=path)["msg"] == message


def test_unexpected_error_is_not_hidden(run):
    with pytest.raises(ZeroDivisionError):
        run(lambda _module: 1 / 0)


def test_new_files_have_the_default_mode(run):
    before = os.umask(0o077)
    try:
        result = run(lambda _module: {"changed": False, "umask": os.umask(0o022)})
    finally:
        os.umask(before)
    assert result["umask"] == 0o022
