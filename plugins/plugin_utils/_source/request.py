# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a source, and the checks that need no access to the source."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

from ansible_collections.flaskops.production.plugins.module_utils._releases.source_options import EXCLUDE
from ansible_collections.flaskops.production.plugins.plugin_utils._source import archive as archive_module
from ansible_collections.flaskops.production.plugins.plugin_utils._source import git, sensitive, signature
from ansible_collections.flaskops.production.plugins.plugin_utils._source.location import (
    has_credentials,
    is_url,
    parse_credentials,
    redact_location,
)
from ansible_collections.flaskops.production.plugins.plugin_utils._source.tree import SourceError, quote

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME_ACCEPTED = "1 to 64 letters, digits, dots, underscores and hyphens, the first a letter or digit"
ONE_SOURCE = "set exactly one of release_directory, release_archive and release_git_repo"
# The release's link to its virtual environment.
VENV_LINK = ".venv"


@dataclasses.dataclass(frozen=True)
class SourceRequest:
    """The settings for the source of a release. Paths on the controller are absolute.

    `tried_paths` holds pairs of an argument and another path at which it was looked up.
    """

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
    only_binary: bool = False
    index: str = ""
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    installer: str = "pip"
    python: str = ""
    static_paths: tuple[str, ...] = ()
    shared_paths: tuple[str, ...] = ()
    wsgi: str = ""
    sensitive_files: str = "warn"
    tried_paths: tuple[tuple[str, str], ...] = ()


def check_request(request: SourceRequest) -> None:
    """Raise SourceError if the settings are wrong, without reading the source."""
    sources = {
        "release_directory": request.directory,
        "release_archive": request.archive,
        "release_git_repo": request.git_repo,
    }
    given = [variable for variable, value in sources.items() if value]
    if not given:
        raise SourceError(f"release_directory, release_archive, release_git_repo: no source is set; {ONE_SOURCE}.")
    if len(given) > 1:
        settings = ", ".join(f"{variable} ({redact_location(sources[variable])})" for variable in given)
        raise SourceError(f"{settings}: {len(given)} sources are set; {ONE_SOURCE}.")
    if request.name and not NAME.fullmatch(request.name):
        raise SourceError(f"release_name: {quote(request.name)} is not accepted; accepted are {NAME_ACCEPTED}.")
    _check_archive(request)
    _check_signature(request)
    if request.git_repo:
        if request.git_repo.startswith("-"):
            raise SourceError(f"release_git_repo: {quote(request.git_repo)} is not accepted; name a path or a URL.")
        if has_credentials(request.git_repo) and not "".join(parse_credentials(request.git_repo)).isprintable():
            raise SourceError(
                f"release_git_repo: {redact_location(request.git_repo)} has a user or a password with a line break or "
                "another control character; correct them."
            )
        git.check_ref(request.git_ref)
    _check_git_verify(request)
    if request.subdirectory:
        _check_relative("release_subdirectory", request.subdirectory, "a directory inside the source")
    for name in request.requirements:
        _check_relative("venv_requirements", name, "file names inside the release")
    for name in request.static_paths:
        _check_relative("release_static_paths", name, "directories inside the release")
    check_shared_paths(request.shared_paths)
    if request.sensitive_files not in sensitive.CHOICES:
        raise SourceError(
            f"release_sensitive_files: {quote(request.sensitive_files)} is not accepted; set warn, drop, refuse or "
            "ignore."
        )


def _check_archive(request: SourceRequest) -> None:
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
        archive_module.parse_checksum(request.archive_checksum)
    if not is_url(request.archive):
        return
    _check_scheme("release_archive", request.archive)
    if not request.archive_checksum and not request.archive_signature:
        raise SourceError(
            f"release_archive_checksum: not set, and {redact_location(request.archive)} is a URL; "
            "write sha256:<64 hexadecimal digits> of the archive, or set release_archive_signature."
        )


def _check_scheme(variable: str, url: str) -> None:
    if url.split("://")[0].lower() not in ("https", "http"):
        raise SourceError(
            f"{variable}: {redact_location(url)} is not accepted; give a path on the controller or an https URL."
        )


def _check_signature(request: SourceRequest) -> None:
    """Raise SourceError unless a signature comes with an archive and exactly one key, and a key with a signature."""
    shown = redact_location(request.archive_signature)
    keys = [name for name in ("archive_minisign_key", "archive_gpg_keyring") if getattr(request, name)]
    if not request.archive_signature:
        if keys and request.archive:
            raise SourceError(
                f"release_archive_signature: not set, but release_{keys[0]} is, which requires a signature; "
                f"name its file or URL, such as {redact_location(request.archive)}"
                f"{'.minisig' if 'minisign' in keys[0] else '.asc'}."
            )
        return
    if not request.archive:
        raise SourceError(
            f"release_archive_signature: {shown} is set, but only release_archive has a signature; for "
            "release_git_repo set release_git_verify."
        )
    if len(keys) != 1:
        state = "both of them are set" if keys else "neither of them is set"
        raise SourceError(
            f"release_archive_signature: {shown} is checked with release_archive_minisign_key or "
            f"release_archive_gpg_keyring, but {state}; set exactly one."
        )
    if is_url(request.archive_signature):
        _check_scheme("release_archive_signature", request.archive_signature)
    else:
        _check_file(request, "archive_signature", "a detached signature on the controller, or an https URL")
    if request.archive_gpg_keyring:
        _check_file(request, "archive_gpg_keyring", signature.KEYRING_ACCEPTED)
    elif not signature.MINISIGN_KEY.fullmatch(request.archive_minisign_key):
        _check_file(request, "archive_minisign_key", signature.MINISIGN_ACCEPTED)


def _check_git_verify(request: SourceRequest) -> None:
    """Raise SourceError for keys without release_git_verify, and for release_git_verify without keys or a repository.

    Otherwise users would rely on a verification that does not take place.
    """
    keys = [name for name in ("git_gpg_keyring", "git_allowed_signers") if getattr(request, name)]
    if not request.git_verify:
        if keys and request.git_repo:
            raise SourceError(
                f"release_git_verify: not set, but release_{keys[0]} is, which names the accepted keys; set "
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
            f"release_git_verify: {request.git_verify} is set, but no accepted keys are; set "
            "release_git_gpg_keyring or release_git_allowed_signers."
        )
    if request.git_gpg_keyring:
        _check_file(request, "git_gpg_keyring", signature.KEYRING_ACCEPTED)
    if request.git_allowed_signers:
        _check_file(request, "git_allowed_signers", signature.SIGNERS_ACCEPTED)


def _check_file(request: SourceRequest, argument: str, accepted: str) -> None:
    path = Path(getattr(request, argument))
    error = ""
    if not path.exists():
        error = f"does not exist{format_tried_paths(request, argument)}"
    elif not path.is_file():
        error = "is not a file"
    elif not os.access(path, os.R_OK):
        error = "cannot be read by the user who runs Ansible"
    if error:
        raise SourceError(f"release_{argument}: {path} {error}; accepted is {accepted}.")


def _check_relative(variable: str, name: str, accepted: str) -> None:
    parts = name.rstrip("/").split("/")
    if not name.strip("/. ") or name.startswith(("/", "~")) or any(part in ("", ".", "..") for part in parts):
        raise SourceError(
            f"{variable}: {quote(name)} is not accepted; accepted are {accepted}, relative, without '.' and '..'."
        )


def check_shared_paths(paths: tuple[str, ...]) -> None:
    """Raise SourceError if a shared path occurs twice, as a file and as a directory, or lies inside another one."""
    seen: dict[str, str] = {}
    for path in paths:
        _check_relative("release_shared_paths", path, "paths inside the release (a trailing slash means a directory)")
        bare = path.rstrip("/")
        if bare.split("/")[0] == VENV_LINK:
            raise SourceError(
                f"release_shared_paths: {quote(path)} is not accepted; {VENV_LINK} is the link to the venv."
            )
        for other, spelled in seen.items():
            if bare == other:
                raise SourceError(
                    f"release_shared_paths: {quote(spelled)} and {quote(path)} are the same path; name it once, with a "
                    "trailing slash if it is a directory."
                )
            if bare.startswith(other + "/") or other.startswith(bare + "/"):
                raise SourceError(
                    f"release_shared_paths: one of {quote(spelled)} and {quote(path)} lies inside the other; "
                    "name the outer one only."
                )
        seen[bare] = path


def format_tried_paths(request: SourceRequest, argument: str) -> str:
    others = [path for name, path in request.tried_paths if name == argument]
    return f" (nor does {', '.join(others)})" if others else ""
