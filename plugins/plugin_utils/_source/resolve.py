# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve the source of a release to one verified, normalised archive, and a name derived from its content."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import hash_file
from ansible_collections.flaskops.production.plugins.plugin_utils._source import archive as archive_module
from ansible_collections.flaskops.production.plugins.plugin_utils._source import git, sensitive
from ansible_collections.flaskops.production.plugins.plugin_utils._source import signature as signature_module
from ansible_collections.flaskops.production.plugins.plugin_utils._source import tree as tree_module
from ansible_collections.flaskops.production.plugins.plugin_utils._source.content import check_selection, check_tree
from ansible_collections.flaskops.production.plugins.plugin_utils._source.directory import (
    is_excluded,
    read_directory,
)
from ansible_collections.flaskops.production.plugins.plugin_utils._source.location import (
    is_remote,
    is_url,
    redact_location,
)
from ansible_collections.flaskops.production.plugins.plugin_utils._source.once import run_once
from ansible_collections.flaskops.production.plugins.plugin_utils._source.request import (
    SourceRequest,
    check_request,
    format_tried_paths,
)
from ansible_collections.flaskops.production.plugins.plugin_utils._source.tree import (
    SourceEntry,
    SourceError,
    SourceTree,
    build_tree,
    check_limits,
    format_list,
    pack_tree,
    quote,
    rebase_entries,
)

# The name of the copy of an archive that is verified.
COPY = "archive"
# Bytes that a detached signature may have.
SIGNATURE_BYTES = 1024**2


@dataclasses.dataclass(frozen=True)
class SourceOrigin:
    """The origin of a tree, as the result reports it. `time` overrides the time of the newest file."""

    kind: str
    location: str
    revision: str | None = None
    ref: str | None = None
    time: int | None = None
    warnings: tuple[str, ...] = ()


def resolve_source(request: SourceRequest, base: Path) -> dict[str, Any]:
    """Resolve a request to a release, once for all processes that share `base`. Raises SourceError."""
    check_request(request)
    return run_once(base, {"release": dataclasses.asdict(request)}, lambda work: _build_release(request, base, work))


def _build_release(request: SourceRequest, base: Path, work: Path) -> dict[str, Any]:
    with _open_source(request, base, work) as (found, origin):
        tree, dropped, warning = sensitive.apply_policy(found, request.sensitive_files)
        check_tree(tree, request)
        seconds = tree.find_newest_time() if origin.time is None else origin.time
        archive = work / "release.tar.gz"
        packed = pack_tree(tree, archive, seconds)
    warnings = [*origin.warnings, *([warning] if warning else [])]
    if packed.pointers:
        warnings.append(
            f"{tree.label} holds Git LFS pointers instead of files ({format_list(packed.pointers)}): LFS objects are "
            "not fetched. If the application needs them, build an archive that holds them."
        )
    if packed.encrypted:
        warnings.append(
            f"{tree.label} holds files that git-crypt has encrypted ({format_list(packed.encrypted)}): the hosts get "
            "them encrypted. If the application needs them, set release_directory to an unlocked work tree."
        )
    return {
        "name": request.name or format_release_name(seconds, packed.digest),
        "named": bool(request.name),
        "digest": packed.digest,
        "archive": str(archive),
        "sha256": packed.sha256,
        "size": packed.size,
        "files": packed.files,
        "dropped": dropped,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)),
        "source": {
            "kind": origin.kind,
            "location": origin.location,
            "revision": origin.revision,
            "ref": origin.ref,
        },
        "warnings": warnings,
    }


def format_release_name(seconds: int, digest: str) -> str:
    return f"{time.strftime('%Y-%m-%d-%H%M%S', time.gmtime(seconds))}-{digest[:7]}"


@contextlib.contextmanager
def _open_source(request: SourceRequest, base: Path, work: Path) -> Iterator[tuple[SourceTree, SourceOrigin]]:
    """Open the source of a request. Its tree is readable within the context."""
    if request.directory:
        yield _read_directory_source(request)
        return
    if request.archive:
        label, path, location = _fetch_archive(request, base, work)
        with archive_module.read_archive(label, path, work) as entries:
            found = list(check_limits(label, entries))
            warnings = _warn_about_merged_folders(request, found)
            tree = build_tree(label, rebase_entries(found, request.strip_components, request.subdirectory.strip("/")))
            check_selection(tree, request, found)
            yield tree, SourceOrigin("archive", location, warnings=warnings)
        (work / COPY).unlink(missing_ok=True)
        return
    origin, plain, label = _export_commit(request, base, work)
    with archive_module.read_archive(label, plain, work) as entries:
        selected = rebase_entries(check_limits(label, entries), 0, request.subdirectory.strip("/"))
        yield build_tree(label, selected), origin
    plain.unlink()


def _read_directory_source(request: SourceRequest) -> tuple[SourceTree, SourceOrigin]:
    root = Path(request.directory, request.subdirectory.strip("/"))
    if not os.path.lexists(request.directory):
        raise SourceError(
            f"release_directory: {request.directory} does not exist{format_tried_paths(request, 'directory')}; "
            "name a directory on the controller."
        )
    if not Path(request.directory).is_dir():
        raise SourceError(
            f"release_directory: {request.directory} is not a directory; name a directory on the controller "
            "(for an archive, set release_archive instead)."
        )
    if not root.is_dir():
        raise SourceError(
            f"release_subdirectory: {quote(request.subdirectory)} is not a directory in {request.directory}."
        )
    label = f"release_directory: {root}"
    tree = build_tree(label, check_limits(label, read_directory(label, root, request.exclude)))
    state = git.read_work_tree(root, lambda path: is_excluded(path, request.exclude))
    warnings: tuple[str, ...] = ()
    if state.error:
        warnings = (
            f"{label}: git cannot read this work tree ({state.error}), so the release is named after its newest file.",
        )
    return tree, SourceOrigin("directory", str(root), state.commit, time=state.time, warnings=warnings)


def _fetch_archive(request: SourceRequest, base: Path, work: Path) -> tuple[str, Path, str]:
    """Return (the label for messages, the verified file, the location to show)."""
    shown = redact_location(request.archive)
    path = _download_archive(request, base) if is_url(request.archive) else _copy_archive(request, work)
    if request.archive_signature:
        _verify_signature(request, path, work)
    return f"release_archive: {shown}", path, shown


def _download_archive(request: SourceRequest, base: Path) -> Path:
    wanted = archive_module.parse_checksum(request.archive_checksum) if request.archive_checksum else ""

    def get(inside: Path) -> dict[str, Any]:
        found = archive_module.download_file(
            "release_archive", request.archive, inside / "download", tree_module.MAX_BYTES
        )
        if wanted:
            archive_module.verify_checksum(redact_location(request.archive), found, wanted)
        return {"path": str(inside / "download")}

    return Path(run_once(base, {"download": request.archive, "sha256": wanted}, get)["path"])


def _copy_archive(request: SourceRequest, work: Path) -> Path:
    """Return the archive, or a copy if it is verified, because other users may replace the archive after the check."""
    path = Path(request.archive)
    label = f"release_archive: {path}"
    if not path.exists():
        raise SourceError(
            f"{label} does not exist{format_tried_paths(request, 'archive')}; name "
            f"{archive_module.ACCEPTED_FORMATS} on the controller."
        )
    if not path.is_file():
        advice = "set release_directory instead" if path.is_dir() else "it is not a file"
        raise SourceError(f"{label} is not an archive; accepted is {archive_module.ACCEPTED_FORMATS} ({advice}).")
    if not os.access(path, os.R_OK):
        raise SourceError(f"{label} cannot be read by the user who runs Ansible; correct its mode.")
    if not request.archive_checksum and not request.archive_signature:
        return path
    copy = work / COPY
    shutil.copyfile(path, copy)
    if request.archive_checksum:
        archive_module.verify_checksum(
            str(path), hash_file(copy), archive_module.parse_checksum(request.archive_checksum)
        )
    return copy


def _verify_signature(request: SourceRequest, archive: Path, work: Path) -> None:
    """Raise SourceError unless the key accepts the signature of the archive."""
    signature = Path(request.archive_signature)
    if is_url(request.archive_signature):
        signature = work / "signature"
        archive_module.download_file("release_archive_signature", request.archive_signature, signature, SIGNATURE_BYTES)
    if request.archive_minisign_key:
        variable, key = "release_archive_minisign_key", request.archive_minisign_key
        reason = signature_module.verify_minisign(archive, signature, key)
    else:
        variable, key = "release_archive_gpg_keyring", request.archive_gpg_keyring
        reason = signature_module.verify_openpgp(archive, signature, key, work)
    if reason:
        raise SourceError(
            f"release_archive_signature: {redact_location(request.archive_signature)} is not a signature of "
            f"{redact_location(request.archive)} that {variable} ({key}) accepts ({reason}); name the signature of "
            "this archive, or correct the key."
        )


def _warn_about_merged_folders(request: SourceRequest, entries: list[SourceEntry]) -> tuple[str, ...]:
    """Return a warning if stripping merges several folders. It is meant for one enclosing folder."""
    strip = request.strip_components
    stripped = sorted({"/".join(entry.path.split("/")[:strip]) for entry in entries if entry.path.count("/") >= strip})
    if not strip or len(stripped) < 2:
        return ()
    return (
        f"release_strip_components: {strip} merges {len(stripped)} different folders into one "
        f"({format_list(stripped)}).",
    )


def _export_commit(request: SourceRequest, base: Path, work: Path) -> tuple[SourceOrigin, Path, str]:
    """Fetch the commit of a request. Return (its origin, its files as a plain tar, the label for messages).

    Within a run, all applications with the same repository and ref get the same commit.
    """
    shown = redact_location(request.git_repo)
    if not is_remote(request.git_repo) and not os.path.lexists(request.git_repo):
        raise SourceError(
            f"release_git_repo: {shown} does not exist{format_tried_paths(request, 'git_repo')}; name a repository on "
            "the controller, or an https or ssh address."
        )

    def get(inside: Path) -> dict[str, Any]:
        return {"bare": str(inside / "git"), **git.fetch_commit(request.git_repo, request.git_ref, inside / "git")}

    fetched = run_once(base, {"git": request.git_repo, "ref": request.git_ref}, get)
    bare, commit, below = Path(fetched["bare"]), fetched["commit"], request.subdirectory.strip("/")
    label = f"release_git_repo: {shown} at {request.git_ref} ({commit[:7]})"
    if request.git_verify:
        keys = signature_module.GitKeys(request.git_gpg_keyring, request.git_allowed_signers)
        signature_module.verify_git(bare, fetched, request.git_verify, (shown, request.git_ref), keys, work)
    if below and not git.has_directory(bare, commit, below):
        raise SourceError(f"release_subdirectory: {quote(below)} is not a directory in {shown} at {request.git_ref}.")
    git.export_commit(bare, commit, below, work / "commit.tar")
    missing = git.list_submodules(bare, commit, below)
    warnings: tuple[str, ...] = ()
    if missing:
        warnings = (f"{label} has submodules, which are not included in a release: {format_list(missing)}.",)
    origin = SourceOrigin("git", shown, commit, request.git_ref, fetched["time"], warnings)
    return origin, work / "commit.tar", label
