# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage a release: verify and unpack its archive beside the other releases, record it, and rename it."""

from __future__ import annotations

import base64
import contextlib
import filecmp
import os
import pwd
import shutil
import tarfile
from typing import Any, Iterator, Mapping

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import (
    STAGING,
    Layout,
    format_archive_name,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.record import ReleaseRecord
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._core.clock import format_now
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import hash_file
from ansible_collections.flaskops.production.plugins.module_utils._files.links import sync_filesystem
from ansible_collections.flaskops.production.plugins.module_utils._releases.host_code import copy_code
from ansible_collections.flaskops.production.plugins.module_utils._releases.options import (
    ArchiveOptions,
    ReleaseOptions,
    Run,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.shared_paths import link_shared_paths


def stage_release(store: ReleaseStore, options: ReleaseOptions, archive: ArchiveOptions, run: Run) -> None:
    """Unpack a release beside the others, and rename it to its path. Raises ReleaseError if the path is in use."""
    layout, source = store.layout, options.source
    name = source["name"]
    path, staging = layout.release(name), os.path.join(layout.releases, STAGING + name)
    exists = os.path.lexists(path)
    if exists and (store.read_record(name) or not os.path.isdir(path)):
        raise ReleaseError(
            _format_conflict(layout, name, f"holds other content than this release ({source['digest'][:12]})")
        )
    try:
        _create_tree(staging, options, archive)
        link_shared_paths(layout, staging, options)
        if exists:
            _restore_record(store, staging, options, run)
            return
        sync_filesystem(staging)
        store.write_record(name, build_record(name, source, options.format_settings(), run))
        os.rename(staging, path)
        sync_filesystem(layout.releases)
    except tarfile.TarError as error:
        raise ReleaseError(f"The archive of {name} cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _create_tree(staging: str, options: ReleaseOptions, archive: ArchiveOptions) -> None:
    if options.is_on_host:
        copy_code(options.source, staging)
    else:
        with open_archive(archive, options.source, staging + ".tar.gz") as path:
            unpack_archive(path, staging)
    chown_release(staging, options.owner)


def _restore_record(store: ReleaseStore, staging: str, options: ReleaseOptions, run: Run) -> None:
    """Record an existing directory whose record is lost. Raises ReleaseError if it differs from the staged release."""
    layout, name = store.layout, options.source["name"]
    differing = find_first_difference(staging, layout.release(name))
    if differing:
        raise ReleaseError(
            _format_conflict(layout, name, f"has no record and holds another {differing} than this release")
        )
    record = build_record(name, options.source, options.format_settings(), run)
    record["state"] = _find_state(store, name)
    store.write_record(name, record)


def _find_state(store: ReleaseStore, name: str) -> str:
    """Return the state of a release whose record is lost, by the link app and the log of activations."""
    activated = [entry["release"] for entry in store.read_activations()]
    if name == store.find_live() and name in (activated or [name])[-1:]:
        return "active"
    return "superseded" if name in activated else "staged"


def _format_conflict(layout: Layout, name: str, problem: str) -> str:
    remedy = "it is live, so leave it" if name == layout.find_live() else "or move it away"
    return f"{layout.release(name)} {problem}: choose another release_name; {remedy}."


def build_record(name: str, source: Mapping[str, Any], settings: Mapping[str, Any], run: Run) -> ReleaseRecord:
    """Return the record of a release that is being staged."""
    record: ReleaseRecord = {
        "release": name,
        "digest": source["digest"],
        "time": source["time"],
        "source": source.get("source"),
        "shared_paths": settings["shared_paths"],
        "static_paths": settings["static_paths"],
        "build": settings["build"],
        "built": False,
        "staged": format_now(),
        "by": run["by"],
        "state": "staged",
    }
    return record


@contextlib.contextmanager
def open_archive(archive: ArchiveOptions, source: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield the path of the verified archive. One that is not on the host is written to path, and removed later."""
    if archive.path:
        _verify_archive(archive.path, source["sha256"])
        yield archive.path
        return
    try:
        if archive.content:
            with open(path, "wb") as file:
                file.write(base64.b64decode(archive.content))
            _verify_archive(path, source["sha256"])
        else:
            # This import takes as long as all others together, and most runs do not need it.
            from ansible_collections.flaskops.production.plugins.module_utils._releases.download import fetch_archive

            url = f"{archive.url.rstrip('/')}/{format_archive_name(source)}"
            fetch_archive(url, archive.credentials, path, source["sha256"], int(source["size"]))
        yield path
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _verify_archive(path: str, sha256: str) -> None:
    found = hash_file(path)
    if found != sha256:
        raise ReleaseError(f"{path} has SHA-256 {found}, but {sha256} was sent: it was damaged in transit.")


def unpack_archive(archive: str, directory: str) -> None:
    """Unpack an archive of the controller: plain names, links inside the tree, modes 0644 and 0755."""
    os.mkdir(directory, 0o700)
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(directory, filter="data")
        else:
            tar.extractall(directory)
    for path, directories, files in os.walk(directory):
        for name in directories + files:
            below = os.path.join(path, name)
            if not os.path.islink(below):
                os.chmod(below, 0o755 if name in directories else os.stat(below).st_mode & 0o755 | 0o644)
    os.chmod(directory, 0o755)


def chown_release(directory: str, owner: str) -> None:
    """Change the owner of a directory and all files in it."""
    try:
        account = pwd.getpwnam(owner)
    except KeyError:
        raise ReleaseError(f"The user {owner} (flask_app_owner), the owner of releases, does not exist.") from None
    if (account.pw_uid, account.pw_gid) == (os.geteuid(), os.getegid()):
        return
    os.chown(directory, account.pw_uid, account.pw_gid)
    for path, directories, files in os.walk(directory):
        for name in directories + files:
            os.chown(os.path.join(path, name), account.pw_uid, account.pw_gid, follow_symlinks=False)


def find_first_difference(wanted: str, found: str) -> str:
    """Return the first path in a directory that is missing or different in another one, or an empty string.

    Additional files, as of a build or an import, are ignored.
    """
    for path, directories, files in os.walk(wanted):
        below = os.path.relpath(path, wanted)
        for name in sorted([*directories, *files]):
            inside = os.path.normpath(os.path.join(below, name))
            if not _is_equal(os.path.join(wanted, inside), os.path.join(found, inside)):
                return inside
    return ""


def _is_equal(first: str, second: str) -> bool:
    if os.path.islink(first) or os.path.islink(second):
        return os.path.islink(first) and os.path.islink(second) and os.readlink(first) == os.readlink(second)
    if os.path.isdir(first):
        return os.path.isdir(second)
    return os.path.isfile(second) and filecmp.cmp(first, second, shallow=False)
