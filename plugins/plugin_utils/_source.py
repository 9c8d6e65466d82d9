# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve the one source of a release to one verified, normalised archive and a name that follows from its content."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import posixpath
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.flaskops.production.plugins.module_utils import _dependencies
from ansible_collections.flaskops.production.plugins.module_utils._files import file_sha256
from ansible_collections.flaskops.production.plugins.module_utils._source_spec import EXCLUDE
from ansible_collections.flaskops.production.plugins.plugin_utils import _archive, _git, _sensitive, _signature, _tree
from ansible_collections.flaskops.production.plugins.plugin_utils._directory import (
    excluded_within,
    read_directory,
)
from ansible_collections.flaskops.production.plugins.plugin_utils._location import (
    has_secret_user,
    is_remote,
    is_url,
    public,
    user_and_password,
)
from ansible_collections.flaskops.production.plugins.plugin_utils._once import once
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

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME_ACCEPTED = "1 to 64 letters, digits, dots, underscores and hyphens, the first a letter or digit"
ONE_SOURCE = "set exactly one of release_directory, release_archive and release_git_repo"
# A copy of an archive that is verified.
COPY = "archive"
# Far above any detached signature.
SIGNATURE_BYTES = 1024**2
# The release's own link to its environment.
RESERVED = ".venv"


@dataclasses.dataclass(frozen=True)
class Request:
    """What a release is made of, as its user said it. Paths of this machine are absolute; `sought` is, for each of the
    arguments, where else it was looked for."""

    directory: str = ""
    archive: str = ""
    archive_checksum: str = ""
    archive_signature: str = ""
    archive_minisign_key: str = ""
    archive_gpg_keyring: str = ""
    git_repo: str = ""
    git_ref: str = "HEAD"
    git_verify: str = ""
    git_gpg_keyring: str = ""
    git_allowed_signers: str = ""
    name: str = ""
    strip_components: int = 0
    subdirectory: str = ""
    exclude: tuple[str, ...] = EXCLUDE
    requirements: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    require_hashes: bool = False
    static_paths: tuple[str, ...] = ()
    shared_paths: tuple[str, ...] = ()
    sensitive_files: str = "warn"
    sought: tuple[tuple[str, str], ...] = ()


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
    return {
        "name": request.name or release_name(moment, packed.digest),
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


# The request, before anything is read


def check_request(request: Request) -> None:
    """Refuse what can be refused without a look at the source."""
    sources = {
        "release_directory": request.directory,
        "release_archive": request.archive,
        "release_git_repo": request.git_repo,
    }
    given = [variable for variable, value in sources.items() if value]
    if not given:
        raise SourceError(f"release_directory, release_archive, release_git_repo: no source is set; {ONE_SOURCE}.")
    if len(given) > 1:
        told = ", ".join(f"{variable} ({public(sources[variable])})" for variable in given)
        raise SourceError(f"{told}: {len(given)} sources are set; {ONE_SOURCE}.")
    if request.name and not NAME.fullmatch(request.name):
        raise SourceError(f"release_name: {quote(request.name)} is not accepted; accepted are {NAME_ACCEPTED}.")
    _check_archive(request)
    _check_signature(request)
    if request.git_repo:
        if request.git_repo.startswith("-"):
            raise SourceError(f"release_git_repo: {quote(request.git_repo)} is not accepted; name a path or a URL.")
        if has_secret_user(request.git_repo) and not "".join(user_and_password(request.git_repo)).isprintable():
            raise SourceError(
                f"release_git_repo: {public(request.git_repo)} is given with a user or a password that holds a line "
                "break or another control character; correct them."
            )
        _git.check_ref(request.git_ref)
    _check_git_verify(request)
    if request.subdirectory:
        _check_relative("release_subdirectory", request.subdirectory, "a directory inside the source")
    for name in request.requirements:
        _check_relative("venv_requirements", name, "file names inside the release")
    for name in request.static_paths:
        _check_relative("release_static_paths", name, "directories inside the release")
    check_shared(request.shared_paths)
    if request.sensitive_files not in _sensitive.CHOICES:
        raise SourceError(
            f"release_sensitive_files: {quote(request.sensitive_files)} is not accepted; set warn, drop, refuse or "
            "ignore."
        )


def _check_archive(request: Request) -> None:
    if request.strip_components < 0:
        raise SourceError(f"release_strip_components: {request.strip_components} is not accepted; set 0 or more.")
    if request.strip_components and not request.archive:
        raise SourceError(
            f"release_strip_components: {request.strip_components} is set, but only release_archive has components to "
            "strip; for other sources set release_subdirectory."
        )
    if not request.archive:
        return
    if request.archive_checksum:
        _archive.wanted_checksum(request.archive_checksum)
    if not is_url(request.archive):
        return
    _check_scheme("release_archive", request.archive)
    if not request.archive_checksum and not request.archive_signature:
        raise SourceError(
            f"release_archive_checksum: not set, and {public(request.archive)} is a URL; "
            "write sha256:<64 hexadecimal digits> of the archive, or set release_archive_signature."
        )


def _check_scheme(variable: str, url: str) -> None:
    if url.split("://")[0].lower() not in ("https", "http"):
        raise SourceError(f"{variable}: {public(url)} is not accepted; give a path on the controller or an https URL.")


def _check_signature(request: Request) -> None:
    """A signature needs an archive and exactly one key, and a key that nothing is checked with is a false promise."""
    shown = public(request.archive_signature)
    keys = [name for name in ("archive_minisign_key", "archive_gpg_keyring") if getattr(request, name)]
    if not request.archive_signature:
        if keys and request.archive:
            raise SourceError(
                f"release_archive_signature: not set, but release_{keys[0]} is, so that no archive is accepted without "
                f"a signature; name its file or URL, such as {public(request.archive)}"
                f"{'.minisig' if 'minisign' in keys[0] else '.asc'}."
            )
        return
    if not request.archive:
        raise SourceError(
            f"release_archive_signature: {shown} is set, but only release_archive has a signature of its own; for "
            "release_git_repo set release_git_verify."
        )
    if len(keys) != 1:
        told = "both of them are set" if keys else "none of them is set"
        raise SourceError(
            f"release_archive_signature: {shown} is checked with release_archive_minisign_key or "
            f"release_archive_gpg_keyring, but {told}; set exactly one."
        )
    if is_url(request.archive_signature):
        _check_scheme("release_archive_signature", request.archive_signature)
    else:
        _check_file(request, "archive_signature", "a detached signature on the controller, or an https URL")
    if request.archive_gpg_keyring:
        _check_file(request, "archive_gpg_keyring", _signature.KEYRING_ACCEPTED)
    elif not _signature.MINISIGN_KEY.fullmatch(request.archive_minisign_key):
        _check_file(request, "archive_minisign_key", _signature.MINISIGN_ACCEPTED)


def _check_git_verify(request: Request) -> None:
    """Keys without a demand, or a demand without keys or a repository, would leave everybody thinking of a check."""
    keys = [name for name in ("git_gpg_keyring", "git_allowed_signers") if getattr(request, name)]
    if not request.git_verify:
        if keys and request.git_repo:
            raise SourceError(
                f"release_git_verify: not set, but release_{keys[0]} is, which says whose signatures count; set "
                "release_git_verify to commit or tag."
            )
        return
    if not request.git_repo:
        source = "release_archive" if request.archive else "release_directory"
        raise SourceError(
            f"release_git_verify: {request.git_verify} is set, but the source is {source}, and only release_git_repo "
            "has signed commits and tags"
            + ("; for an archive set release_archive_signature." if request.archive else "; leave it empty here.")
        )
    if not keys:
        raise SourceError(
            f"release_git_verify: {request.git_verify} is set, but nothing says whose signatures count; set "
            "release_git_gpg_keyring or release_git_allowed_signers."
        )
    if request.git_gpg_keyring:
        _check_file(request, "git_gpg_keyring", _signature.KEYRING_ACCEPTED)
    if request.git_allowed_signers:
        _check_file(request, "git_allowed_signers", _signature.SIGNERS_ACCEPTED)


def _check_file(request: Request, argument: str, accepted: str) -> None:
    path = Path(getattr(request, argument))
    fault = ""
    if not path.exists():
        fault = f"does not exist{_sought(request, argument)}"
    elif not path.is_file():
        fault = "is not a file"
    elif not os.access(path, os.R_OK):
        fault = "cannot be read by the user who runs Ansible"
    if fault:
        raise SourceError(f"release_{argument}: {path} {fault}; accepted is {accepted}.")


def _check_relative(variable: str, name: str, accepted: str) -> None:
    parts = name.rstrip("/").split("/")
    if not name.strip("/. ") or name.startswith(("/", "~")) or any(part in ("", ".", "..") for part in parts):
        raise SourceError(
            f"{variable}: {quote(name)} is not accepted; accepted are {accepted}, relative, without '.' and '..'."
        )


def check_shared(paths: tuple[str, ...]) -> None:
    """Shared paths are links of their own: none may be named twice, as file and directory, or lie below another."""
    seen: dict[str, str] = {}
    for path in paths:
        _check_relative("release_shared_paths", path, "paths inside the release (a trailing slash means a directory)")
        bare = path.rstrip("/")
        if bare.split("/")[0] == RESERVED:
            raise SourceError(
                f"release_shared_paths: {quote(path)} is not accepted; {RESERVED} belongs to the environment."
            )
        for other, spelled in seen.items():
            if bare == other:
                raise SourceError(
                    f"release_shared_paths: {quote(spelled)} and {quote(path)} are one path; name it once, with a "
                    "trailing slash for a directory and without for a file."
                )
            if bare.startswith(other + "/") or other.startswith(bare + "/"):
                raise SourceError(
                    f"release_shared_paths: {quote(spelled)} and {quote(path)} lie inside each other; "
                    "name the outer one only."
                )
        seen[bare] = path


# The source


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
            _check_found(tree, request, found)
            yield tree, Origin("archive", location, warnings=warnings)
        (work / COPY).unlink(missing_ok=True)
        return
    origin, plain, label = _commit(request, base, work)
    with _archive.read_archive(label, plain, work) as entries:
        yield plant(label, rebase(limited(label, entries), 0, request.subdirectory.strip("/"))), origin
    plain.unlink()


def _sought(request: Request, argument: str) -> str:
    others = [path for name, path in request.sought if name == argument]
    return f" (nor does {', '.join(others)})" if others else ""


def _directory(request: Request) -> tuple[Tree, Origin]:
    root = Path(request.directory, request.subdirectory.strip("/"))
    if not os.path.lexists(request.directory):
        raise SourceError(
            f"release_directory: {request.directory} does not exist{_sought(request, 'directory')}; "
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
            f"{label} does not exist{_sought(request, 'archive')}; name {_archive.ACCEPTED} on the controller."
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
        _archive.check_sum(str(path), file_sha256(copy), _archive.wanted_checksum(request.archive_checksum))
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
            f"release_git_repo: {shown} does not exist{_sought(request, 'git_repo')}; name a repository on the "
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


# The tree, before it is packed


def _check_found(tree: Tree, request: Request, found: list[Entry]) -> None:
    """An archive with files of which strip_components or subdirectory leave none: say what to set instead."""
    if tree.entries or not found:
        return
    top = sorted({entry.path.split("/")[0] for entry in found})
    variable, value = "release_strip_components", str(request.strip_components)
    if request.subdirectory:
        variable, value = "release_subdirectory", quote(request.subdirectory)
    raise SourceError(
        f"{variable}: {value} leaves nothing of {tree.label.split(': ', 1)[1]}; at its top are {listing(top)}."
    )


def check_tree(tree: Tree, request: Request) -> None:
    """Refuse a source that can't become a release of this application."""
    if not any(entry.kind != "directory" for entry in tree.entries.values()):
        raise SourceError(f"{tree.label} is empty; a release needs at least one file.")
    if RESERVED in tree.entries:
        raise SourceError(
            f"{tree.label} holds {quote(RESERVED)} at its top, where the release's link to its environment goes; "
            "leave it out of the source."
        )
    texts = required_texts(tree, request.requirements)
    if request.require_hashes:
        faults = _dependencies.check_hashes(texts, request.packages)
        if faults:
            raise SourceError(
                f"venv_require_hashes: true, but {tree.label} has requirements without one: {' '.join(faults[:5])} "
                "Accepted are requirements pinned with == and --hash (pip-compile --generate-hashes writes them)."
            )
    for path in request.static_paths:
        entry = tree.find(path)
        if entry is not None and entry.kind != "directory":
            raise SourceError(
                f"release_static_paths: {quote(path)} is a {entry.kind} in the release; name a directory."
            )
    for path in request.shared_paths:
        _check_shared_in(tree, path)


def _check_shared_in(tree: Tree, path: str) -> None:
    bare = path.rstrip("/")
    parents = [bare[: match.start()] for match in re.finditer("/", bare)]
    for parent in parents:
        kind = tree.entries[parent].kind if parent in tree.entries else "directory"
        if kind != "directory":
            raise SourceError(
                f"release_shared_paths: {quote(path)} lies below {quote(parent)}, which is a {kind} in the release."
            )
    entry = tree.entries.get(bare)
    if entry is None or entry.kind == "link":
        return
    if path.endswith("/") and entry.kind == "file":
        raise SourceError(
            f"release_shared_paths: {quote(path)} is a file in the release, and a trailing slash means a directory; "
            f"write {quote(bare)}."
        )
    if not path.endswith("/") and entry.kind == "directory":
        raise SourceError(
            f"release_shared_paths: {quote(path)} is a directory in the release; write {quote(bare + '/')}."
        )


def required_texts(tree: Tree, names: tuple[str, ...]) -> dict[str, str]:
    """The requirement files that were named and all that they include, by name; refuses one that is not there."""
    texts: dict[str, str] = {}
    waiting = [(posixpath.normpath(name), "") for name in names]
    while waiting:
        name, includer = waiting.pop(0)
        if name in texts:
            continue
        if name.startswith(("/", "../")) or name == "..":
            raise SourceError(
                f"venv_requirements: {includer} of {tree.label} includes {quote(name)}, which lies outside "
                "the release; only files inside it are accepted."
            )
        content = tree.read(name)
        if content is None:
            raise _missing(tree, name, includer)
        texts[name] = content.decode("utf-8", "replace")
        if _dependencies.kind(name) == _dependencies.REQUIREMENTS:
            # pip puts environment variables in; what they say is known on the host only.
            found = [other for other in _dependencies.includes(texts[name]) if "${" not in other]
            waiting += [(_dependencies.include_name(name, other), name) for other in found]
    return texts


def _missing(tree: Tree, name: str, includer: str) -> SourceError:
    top = tree.top()
    why = f"which {includer} includes, " if includer else ""
    told = f"venv_requirements: {quote(name)}, {why}is not in {tree.label.partition(': ')[2]}"
    hint = f"at its top are {listing(top)}."
    folders = [item for item in top if item.endswith("/")]
    if len(top) == 1 and folders and tree.find(folders[0] + name):
        option = f"release_subdirectory: {folders[0].rstrip('/')}"
        if tree.label.startswith("release_archive"):
            option = "release_strip_components: 1"
        hint = f"everything lies under {folders[0]}: set {option}."
    elif elsewhere := [e.path for e in tree.files() if e.path.endswith("/" + posixpath.basename(name))]:
        hint = f"{hint[:-1]}; it holds {listing(elsewhere, 3)}."
    return SourceError(f"{told}; {hint}")
