# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures for the tests of modules."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path

import pytest
from ansible.module_utils import basic

# ansible-test does not read pyproject.toml, which says the same.
sys.path += [str(Path(__file__).resolve().parents[2] / name) for name in ("tools", "benchmarks")]
# The Ansible of this environment; that of ansible-test is in the path already.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

try:  # ansible-core 2.19 and newer
    from ansible.module_utils.testing import patch_module_args
except ImportError:

    @contextlib.contextmanager
    def patch_module_args(args=None):
        before = basic._ANSIBLE_ARGS
        basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": args or {}}).encode()
        try:
            yield
        finally:
            basic._ANSIBLE_ARGS = before


# ansible-test keeps its copy of Ansible where only root may read, and a test may become another user: what a module
# loads when it ends is loaded now.
with patch_module_args(), contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    basic.AnsibleModule({}).exit_json()


@pytest.fixture(scope="session")
def os_release():
    """Create an os-release file of Debian 12. Other users, as which tests run, cannot read pytest's directories."""
    with tempfile.NamedTemporaryFile("w", prefix="os-release-") as file:
        file.write("ID=debian\nVERSION_ID=12\n")
        file.flush()
        os.chmod(file.name, 0o644)
        yield file.name


@pytest.fixture
def run_module(os_release, monkeypatch):
    """Return a function that runs a module's main() as a task does, and returns its printed result.

    `run_module(tree, {"entries": […]}, check=True, diff=True)`; a failed module has `failed` in its result.
    """

    # ansible-test can import the collection only after it has loaded this file.
    from ansible_collections.flaskops.production.plugins.module_utils._core import platforms

    # Modules detect a supported system on all machines.
    monkeypatch.setattr(platforms, "FILES", (os_release,))

    def run(module, args, check=False, diff=False):
        internal = {"_ansible_check_mode": check, "_ansible_diff": diff, "_ansible_remote_tmp": "/tmp"}
        printed = io.StringIO()
        redirected = contextlib.redirect_stdout(printed)
        with patch_module_args({**args, **internal}), redirected, pytest.raises(SystemExit) as ended:
            module.main()
        result = json.loads(printed.getvalue())
        assert (ended.value.code != 0) == bool(result.get("failed")), result
        return result

    return run


@pytest.fixture
def as_root():
    if os.geteuid() != 0:
        pytest.skip("changes owners, which only root may do")
