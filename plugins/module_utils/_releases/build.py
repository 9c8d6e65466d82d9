# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build a release in a copy, so that the release stays unchanged until the build succeeds."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import time
from typing import Callable

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import STAGING, Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._files import links
from ansible_collections.flaskops.production.plugins.module_utils._files.ownership import (
    OwnershipError,
    chown_tree,
    is_link_within,
    remove_tree,
    secure_tree,
)
from ansible_collections.flaskops.production.plugins.module_utils._python.workspace import Workspace
from ansible_collections.flaskops.production.plugins.module_utils._systemd import transient_unit

# The next run removes it if it remains, like any staged release.
WORK_DIRECTORY = STAGING + "build"


def build_in_copy(
    layout: Layout,
    release: str,
    owner: str,
    timeout: float,
    command: Callable[[Workspace, transient_unit.Mounts], bool],
) -> None:
    """Run a command in a new copy of a release. If the command succeeds, the copy replaces the release.

    The copy is mounted at the path of the release, so that paths which the command writes to files are correct.
    """
    transient_unit.check_host()
    try:
        account = pwd.getpwnam(owner)
    except KeyError:
        raise ReleaseError(f"The user {owner} (flask_app_owner), the owner of releases, does not exist.") from None
    with transient_unit.hold_build_lock(time.monotonic() + timeout):
        work = Workspace(layout.releases, *transient_unit.ensure_build_user(), name=WORK_DIRECTORY)
        try:
            work.create()
            copy, directory = os.path.join(work.path, "tree"), os.path.realpath(layout.release(release))
            _copy_release(directory, copy)
            chown_tree(copy, work.uid, work.gid)
            if command(work, work.build_mounts({directory: copy}, _list_readable_paths(layout, release), {})):
                _replace_release(copy, directory, account)
        finally:
            work.remove()


def _copy_release(source: str, destination: str) -> None:
    command = ["cp", "--archive", "--no-preserve=links", "--reflink=auto", "--", source, destination]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        stderr = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ReleaseError(f"{source} could not be copied for the build: {' '.join(stderr)}")


def _list_readable_paths(layout: Layout, release: str) -> list[str]:
    """Return the paths that a build needs to read: the virtual environment of the release, and its interpreter."""
    venv = os.path.realpath(os.path.join(layout.venvs, ReleaseStore(layout).find_venv(release) or ""))
    interpreter = os.path.realpath(os.path.join(venv, "bin", "python"))
    return [venv, os.path.dirname(os.path.dirname(interpreter))]


def _replace_release(copy: str, directory: str, account: pwd.struct_passwd) -> None:
    def is_link_allowed(path: str, text: str) -> bool:
        with contextlib.suppress(OSError):
            return is_link_within(path, text) or os.readlink(os.path.join(directory, path)) == text
        return False

    try:
        secure_tree(copy, account.pw_uid, account.pw_gid, is_link_allowed)
    except OwnershipError as error:
        raise ReleaseError(f"release_build_command left a file in {directory} that is not allowed: {error}") from None
    links.sync_filesystem(copy)
    try:
        links.exchange_names(copy, directory)
    except links.SymlinkError:
        # The file system does not support an exchange, so the release is missing for a moment.
        previous = copy + ".before"
        os.rename(directory, previous)
        os.rename(copy, directory)
        remove_tree(previous)
