# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build a release in a copy, so that it stays as it came until the build has succeeded. Private."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import time
from typing import Callable

from ansible_collections.flaskops.production.plugins.module_utils import _build_unit, _symlink
from ansible_collections.flaskops.production.plugins.module_utils._build_space import Workspace
from ansible_collections.flaskops.production.plugins.module_utils._files.ownership import (
    OwnershipError,
    chown_tree,
    is_link_within,
    remove_tree,
    secure_tree,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases import STAGING, Home, ReleaseError

# Swept by the next run, as all that is staged.
WORK_DIRECTORY = STAGING + "build"


def build_in_copy(
    home: Home,
    release: str,
    owner: str,
    timeout: float,
    command: Callable[[Workspace, _build_unit.Mounts], bool],
) -> None:
    """Run a command in a fresh copy of a release, and let the copy take its place if the command succeeds.

    The command sees the copy under the release's own path, so that paths that it writes down are right.
    """
    _build_unit.check_host()
    try:
        account = pwd.getpwnam(owner)
    except KeyError:
        raise ReleaseError(f"The user {owner} (flask_app_owner), whose a build is, does not exist.") from None
    with _build_unit.hold_build_lock(time.monotonic() + timeout):
        work = Workspace(home.releases, *_build_unit.ensure_build_user(), name=WORK_DIRECTORY)
        try:
            work.create()
            tree, place = os.path.join(work.path, "tree"), os.path.realpath(home.release(release))
            _copy_release(place, tree)
            chown_tree(tree, work.uid, work.gid)
            if command(work, work.build_mounts({place: tree}, _list_readable_paths(home, release), {})):
                _replace_release(tree, place, account)
        finally:
            work.remove()


def _copy_release(source: str, destination: str) -> None:
    command = ["cp", "--archive", "--no-preserve=links", "--reflink=auto", "--", source, destination]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ReleaseError(f"{source} could not be copied to be built in: {' '.join(said)}")


def _list_readable_paths(home: Home, release: str) -> list[str]:
    """What a build needs of the application's directory: the release's packages, with their interpreter."""
    environment = os.path.realpath(os.path.join(home.venvs, home.environment(release) or ""))
    interpreter = os.path.realpath(os.path.join(environment, "bin", "python"))
    return [environment, os.path.dirname(os.path.dirname(interpreter))]


def _replace_release(tree: str, place: str, account: pwd.struct_passwd) -> None:
    def may_stay(path: str, text: str) -> bool:
        with contextlib.suppress(OSError):
            return is_link_within(path, text) or os.readlink(os.path.join(place, path)) == text
        return False

    try:
        secure_tree(tree, account.pw_uid, account.pw_gid, may_stay)
    except OwnershipError as error:
        raise ReleaseError(f"release_build_command has left in {place} what can't stay there: {error}") from None
    _symlink.sync_filesystem(tree)
    try:
        _symlink.exchange_names(tree, place)
    except _symlink.SymlinkError:
        # A file system that can't do it in one step: the release is not there for a moment.
        aside = tree + ".before"
        os.rename(place, aside)
        os.rename(tree, place)
        remove_tree(aside)
