# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn code and a virtual environment in place of the links app and venv into the first release."""

from __future__ import annotations

import contextlib
import grp
import hashlib
import os
import pwd
import re
import shutil
import stat
import time

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._core.clock import format_now
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._files.directory import (
    UnsafePathError,
    set_owner_and_mode,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.links import (
    SymlinkError,
    exchange_names_at,
    swap_link,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import (
    make_directories,
    open_directory_safely,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.former_user import (
    plan_transfer,
    start_transfer,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.options import ReleaseOptions, Run
from ansible_collections.flaskops.production.plugins.module_utils._releases.shared_paths import (
    is_not_link,
    replace_by_link,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.staging import build_record

# The prefixes of temporary names in shared/, and in the scripts of an adopted virtual environment.
SHARED_PREFIX = ".flaskops-sharing-"
SCRIPT_PREFIX = ".flaskops-naming-"
# The number of bytes at the beginning of a script that contain its interpreter.
SCRIPT_HEAD_BYTES = 1024


def adopt_existing_code(store: ReleaseStore, options: ReleaseOptions, run: Run) -> None:
    """Keep the code in app as the first release, and the virtual environment in venv, each by one atomic exchange.

    Processes that run in these directories are not interrupted: links with absolute paths replace the directories.
    """
    layout = store.layout
    name = f"adopted-{time.strftime('%Y-%m-%d-%H%M%S', time.gmtime())}"
    if is_not_link(layout.venv):
        venv = os.path.join(layout.venvs, hashlib.sha256(name.encode()).hexdigest()[:12])
        replace_by_link(layout.venv, venv, venv)
        if os.path.isdir(layout.app) and not os.path.lexists(os.path.join(layout.app, ".venv")):
            os.symlink(venv, os.path.join(layout.app, ".venv"))
    if os.path.islink(layout.venv):
        # Without safe access the scripts are not corrected, and a rollback to this release reports them.
        with contextlib.suppress(FileNotFoundError, UnsafePathError):
            _correct_interpreters(layout.venv, os.path.realpath(layout.venv))
    if not is_not_link(layout.app):
        return
    for path in (path.rstrip("/") for path in options.shared_paths):
        inside, shared = os.path.join(layout.app, path), os.path.join(layout.shared, path)
        if is_not_link(inside) and not os.path.lexists(shared):
            _move_to_shared(layout, path)
    settings = {**options.format_settings(), "static_paths": [], "build": ""}
    record = build_record(name, {"digest": "", "time": format_now()}, settings, run)
    record["source"] = {"kind": "adopted", "location": layout.app, "revision": None, "ref": None}
    store.write_record(name, record)
    replace_by_link(layout.app, layout.release(name), os.path.join("releases", name))
    if os.path.lexists(os.path.join(layout.app, ".venv")):
        swap_link(layout.venv, os.path.join("app", ".venv"))
    store.record_activation(name, "deploy", run)


def _correct_interpreters(former: str, venv: str) -> None:
    """Replace the former path of a virtual environment in its scripts. That path becomes the live release's."""
    pattern = re.compile(b"(#!|[\"' ])" + re.escape(os.fsencode(former)) + b"(?=/bin/)")
    with open_directory_safely(os.path.join(venv, "bin")) as directory:
        for name in directory.list_names():
            info = directory.lstat(name)
            if not stat.S_ISREG(info.st_mode):
                continue
            with directory.open_stream(name) as read:
                head = read.read(SCRIPT_HEAD_BYTES)
                corrected = pattern.sub(lambda match: match[1] + os.fsencode(venv), head)
                if not head.startswith(b"#!") or corrected == head:
                    continue
                with directory.open_replacement(name, SCRIPT_PREFIX) as write:
                    write.write(corrected)
                    shutil.copyfileobj(read, write)
                    set_owner_and_mode(write.fileno(), info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode))


def _move_to_shared(layout: Layout, path: str) -> None:
    """Move data of the code in app to shared/, and leave a link. The application may be able to write to both."""
    above, name = os.path.split(path)
    text = os.path.join(layout.shared, path)
    with contextlib.ExitStack() as stack:
        old = stack.enter_context(open_directory_safely(os.path.join(layout.app, above), reading=True, links=False))
        shared = stack.enter_context(open_directory_safely(layout.shared, {os.stat(layout.shared).st_uid}))
        new = stack.enter_context(make_directories(shared, above, os.geteuid(), os.getegid(), 0o755, SHARED_PREFIX))
        os.symlink(text, name, dir_fd=new.fd)
        try:
            exchange_names_at(old.fd, name, new.fd, name)
        except SymlinkError:
            os.unlink(name, dir_fd=new.fd)
            os.rename(name, name, src_dir_fd=old.fd, dst_dir_fd=new.fd)
            os.symlink(text, name, dir_fd=old.fd)


def transfer_shared_data(layout: Layout, options: ReleaseOptions) -> None:
    """Change the owner of adopted shared data. A running process of the former owner keeps its access."""
    try:
        uid, gid = pwd.getpwnam(options.user).pw_uid, grp.getgrnam(options.group).gr_gid
    except KeyError as error:
        raise ReleaseError(f"An account of the application does not exist: {error}. Create it first.") from None
    media = os.path.join(layout.shared, "media")
    web_gid = os.lstat(media).st_gid if os.path.lexists(media) else gid
    for name in options.shared_paths:
        path = os.path.join(layout.shared, name.rstrip("/"))
        if os.path.lexists(path) and os.lstat(path).st_uid not in (0, uid):
            start_transfer(layout, plan_transfer(layout, os.lstat(path), uid, gid, web_gid))
