# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve the one source of a release to one verified, normalised archive and a name that follows from its content."""

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
from ansible_collections.flaskops.production.plugins.plugin_utils import _archive, _git, _sensitive, _signature, _tree
from ansible_collections.flaskops.production.plugins.plugin_utils._directory import (
    excluded_within,
    read_directory,
)
from ansible_collections.flaskops.production.plugins.plugin_utils._location import is_remote, is_url, public
from ansible_collections.flaskops.production.plugins.plugin_utils._once import once
from ansible_collections.flaskops.production.plugins.plugin_utils._source_content import check_found, check_tree
from ansible_collections.flaskops.production.plugins.plugin_utils._source_request import (
    Request,
    check_request,
    sought,
)
from ansible_collections.flaskops.production.plugins.plugin_utils._tree import (
    Entry,
    SourceError,
    Tree,
    limited,
    listing,
    pack,
    plant,
    quote,
    rebase,
)

# A copy of an archive that is verified.
COPY = "archive"
# Far above any detached signature.
SIGNATURE_BYTES = 1024**2


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a tree came from: what the result tells about it, and its time where the content has none of its own."""

    kind: str
    location: str
    revision: str | None = None
    ref: str | None = None
    time: int | None = None
    warnings: tuple[str, ...] = ()


def resolve(request: Request, base: Path) -> dict[str, Any]:
    """The release that a request asks for, resolved once for everyone who shares `base`."""
    check_request(request)
    return once(base, {"release": dataclasses.asdict(request)}, lambda work: _resolve(request, base, work))


def _resolve(request: Request, base: Path, work: Path) -> dict[str, Any]:
    with _tree_of(request, base, work) as (found, origin):
        tree, dropped, warning = _sensitive.treat(found, request.sensitive_files)
        check_tree(tree, request)
        moment = tree.newest() if origin.time is None else origin.time
        packed_in = work / "release.tar.gz"
        packed = pack(tree, packed_in, moment)
    warnings = [*origin.warnings, *([warning] if warning else [])]
    if packed.pointers:
        warnings.append(
            f"{tree.label} holds Git LFS pointers instead of files ({listing(packed.pointers)}): LFS objects are not "
            "fetched. Build an archive that holds them if the application needs them."
        )
    if packed.encrypted:
        warnings.append(
            f"{tree.label} holds files that git-crypt has encrypted ({listing(packed.encrypted)}): the hosts get them "
            "encrypted. Set release_directory to a work tree that is unlocked if the application needs them."
        )
    return {
        "name": request.name or release_name(moment, packed.digest),
        "named": bool(request.name),
        "digest": packed.digest,
        "archive": str(packed_in),
        "sha256": packed.sha256,
        "size": packed.size,
        "files": packed.files,
        "dropped": dropped,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment)),
        "source": {
            "kind": origin.kind,
            "location": origin.location,
            "revision": origin.revision,
            "ref": origin.ref,
        },
        "warnings": warnings,
    }


def release_name(moment: int, digest: str) -> str:
    return f"{time.strftime('%Y-%m-%d-%H%M%S', time.gmtime(moment))}-{digest[:7]}"


@contextlib.contextmanager
def _tree_of(request: Request, base: Path, work: Path) -> Iterator[tuple[Tree, Origin]]:
    """The tree of the request's source, readable while the context lasts."""
    if request.directory:
        yield _directory(request)
        return
    if request.archive:
        label, path, location = _local_archive(request, base, work)
        with _archive.read_archive(label, path, work) as entries:
            found = list(limited(label, entries))
            warnings = _strip_warnings(request, found)
            tree = plant(label, rebase(found, request.strip_components, request.subdirectory.strip("/")))
            check_found(tree, request, found)
            yield tree, Origin("archive", location, warnings=warnings)
        (work / COPY).unlink(missing_ok=True)
        return
    origin, plain, label = _commit(request, base, work)
    with _archive.read_archive(label, plain, work) as entries:
        yield plant(label, rebase(limited(label, entries), 0, request.subdirectory.strip("/"))), origin
    plain.unlink()


def _directory(request: Request) -> tuple[Tree, Origin]:
    root = Path(request.directory, request.subdirectory.strip("/"))
    if not os.path.lexists(request.directory):
        raise SourceError(
            f"release_directory: {request.directory} does not exist{sought(request, 'directory')}; "
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
    tree = plant(label, limited(label, read_directory(label, root, request.exclude)))
    state = _git.work_tree(root, lambda path: excluded_within(path, request.exclude))
    warnings = ()
    if state.fault:
        warnings = (
            f"{label}: git does not read this work tree ({state.fault}), "
            "so the release is named after its newest file.",
        )
    return tree, Origin("directory", str(root), state.commit, time=state.time, warnings=warnings)


def _local_archive(request: Request, base: Path, work: Path) -> tuple[str, Path, str]:
    """(how refusals begin, the verified file, where it came from)."""
    shown = public(request.archive)
    path = _downloaded(request, base) if is_url(request.archive) else _copied(request, work)
    if request.archive_signature:
        _check_signed(request, path, work)
    return f"release_archive: {shown}", path, shown


def _downloaded(request: Request, base: Path) -> Path:
    wanted = _archive.wanted_checksum(request.archive_checksum) if request.archive_checksum else ""

    def get(inside: Path) -> dict[str, Any]:
        found = _archive.download("release_archive", request.archive, inside / "download", _tree.MAX_BYTES)
        if wanted:
            _archive.check_sum(public(request.archive), found, wanted)
        return {"path": str(inside / "download")}

    return Path(once(base, {"download": request.archive, "sha256": wanted}, get)["path"])


def _copied(request: Request, work: Path) -> Path:
    """The archive itself, or a copy where it is verified, so that nobody changes it between the check and its use."""
    path = Path(request.archive)
    label = f"release_archive: {path}"
    if not path.exists():
        raise SourceError(
            f"{label} does not exist{sought(request, 'archive')}; name {_archive.ACCEPTED} on the controller."
        )
    if not path.is_file():
        told = "set release_directory instead" if path.is_dir() else "it is not a file"
        raise SourceError(f"{label} is not an archive; accepted is {_archive.ACCEPTED} ({told}).")
    if not os.access(path, os.R_OK):
        raise SourceError(f"{label} cannot be read by the user who runs Ansible; correct its mode.")
    if not request.archive_checksum and not request.archive_signature:
        return path
    copy = work / COPY
    shutil.copyfile(path, copy)
    if request.archive_checksum:
        _archive.check_sum(str(path), hash_file(copy), _archive.wanted_checksum(request.archive_checksum))
    return copy


def _check_signed(request: Request, archive: Path, work: Path) -> None:
    """Refuse an archive that is not what the owner of the key has signed."""
    signature = Path(request.archive_signature)
    if is_url(request.archive_signature):
        signature = work / "signature"
        _archive.download("release_archive_signature", request.archive_signature, signature, SIGNATURE_BYTES)
    if request.archive_minisign_key:
        variable, key = "release_archive_minisign_key", request.archive_minisign_key
        why = _signature.check_minisign(archive, signature, key)
    else:
        variable, key = "release_archive_gpg_keyring", request.archive_gpg_keyring
        why = _signature.check_openpgp(archive, signature, key, work)
    if why:
        raise SourceError(
            f"release_archive_signature: {public(request.archive_signature)} is no signature of "
            f"{public(request.archive)} that {variable} ({key}) accepts ({why}); name the archive and the signature "
            "that belong together, or correct the key."
        )


def _strip_warnings(request: Request, entries: list[Entry]) -> tuple[str, ...]:
    """Stripping is meant for one enclosing folder; several are merged, which nobody should learn from a broken site."""
    strip = request.strip_components
    stripped = sorted({"/".join(entry.path.split("/")[:strip]) for entry in entries if entry.path.count("/") >= strip})
    if not strip or len(stripped) < 2:
        return ()
    return (
        f"release_strip_components: {strip} merges {len(stripped)} different folders into one ({listing(stripped)}).",
    )


def _commit(request: Request, base: Path, work: Path) -> tuple[Origin, Path, str]:
    """(origin, the commit as a plain tar, how refusals begin). Apps of one run that share a ref share its commit."""
    shown = public(request.git_repo)
    if not is_remote(request.git_repo) and not os.path.lexists(request.git_repo):
        raise SourceError(
            f"release_git_repo: {shown} does not exist{sought(request, 'git_repo')}; name a repository on the "
            "controller, or an https or ssh address."
        )

    def get(inside: Path) -> dict[str, Any]:
        return {"bare": str(inside / "git"), **_git.fetch(request.git_repo, request.git_ref, inside / "git")}

    fetched = once(base, {"git": request.git_repo, "ref": request.git_ref}, get)
    bare, commit, below = Path(fetched["bare"]), fetched["commit"], request.subdirectory.strip("/")
    label = f"release_git_repo: {shown} at {request.git_ref} ({commit[:7]})"
    if request.git_verify:
        keys = _signature.GitKeys(request.git_gpg_keyring, request.git_allowed_signers)
        _signature.verify_git(bare, fetched, request.git_verify, (shown, request.git_ref), keys, work)
    if below and not _git.has_directory(bare, commit, below):
        raise SourceError(f"release_subdirectory: {quote(below)} is not a directory in {shown} at {request.git_ref}.")
    _git.archive(bare, commit, below, work / "commit.tar")
    missing = _git.submodules(bare, commit, below)
    warnings = ()
    if missing:
        warnings = (f"{label} has submodules, which are not included in a release: {listing(missing)}.",)
    origin = Origin("git", shown, commit, request.git_ref, fetched["time"], warnings)
    return origin, work / "commit.tar", label
