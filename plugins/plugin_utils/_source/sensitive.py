# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find files that must not be in a release: secrets and histories."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from ansible_collections.flaskops.production.plugins.plugin_utils._source.tree import (
    SourceEntry,
    SourceError,
    SourceTree,
    format_list,
)

CHOICES = ("warn", "drop", "refuse", "ignore")
# Histories hold files that were removed long ago. Their configuration may hold passwords of remotes.
DIRECTORIES = (".git", ".hg", ".svn", ".ssh", ".gnupg", ".aws")
FILES = (
    ".env",
    ".env.*",
    ".netrc",
    ".pgpass",
    ".my.cnf",
    ".pypirc",
    ".git-credentials",
    ".vault_pass",
    "*.p12",
    "*.pfx",
)
# Published examples of files that hold secrets.
TEMPLATES = ("*.example", "*.sample", "*.template", "*.dist")
# Names of files with private keys. Certificates and public keys have such names, too, so the content decides.
KEY_NAMES = ("*.pem", "*.key", "*.p8", "*.ppk", "*.crt", "id_*", "*_rsa", "*_ecdsa", "*_ed25519")
PRIVATE_KEY = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|^PuTTY-User-Key-File-")
# Bytes to search for a key, enough for a chain of certificates before it.
READ_BYTES = 256 * 1024


def find_sensitive(tree: SourceTree) -> list[str]:
    """Return the sorted paths of sensitive files and directories. The path of a directory ends with a slash."""
    found: list[str] = []
    for entry in tree.entries.values():
        if found and found[-1].endswith("/") and entry.path.startswith(found[-1]):
            continue
        if _is_sensitive(tree.label, entry):
            found.append(entry.path + ("/" if entry.kind == "directory" else ""))
    return found


def _is_sensitive(label: str, entry: SourceEntry) -> bool:
    name = entry.path.rpartition("/")[2].lower()
    if entry.kind == "directory":
        return name in DIRECTORIES
    if entry.kind != "file" or _matches_any(name, TEMPLATES):
        return False
    # A small file without an extension may be a key, too.
    maybe_key = _matches_any(name, KEY_NAMES) or ("." not in name.lstrip(".") and entry.size <= READ_BYTES)
    return _matches_any(name, FILES) or (maybe_key and bool(PRIVATE_KEY.search(_read_start(label, entry))))


def _matches_any(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _read_start(label: str, entry: SourceEntry) -> bytes:
    try:
        with entry.open_file() as stream:
            return stream.read(READ_BYTES)
    except OSError as error:
        raise SourceError(f"{label}: cannot read {entry.path} ({error.strerror or error}).") from error


def remove_paths(tree: SourceTree, paths: list[str]) -> SourceTree:
    """Return the tree without these paths and everything below them."""
    directories = tuple(path for path in paths if path.endswith("/"))
    removed = {path.rstrip("/") for path in paths}
    kept = {
        path: entry
        for path, entry in tree.entries.items()
        if path not in removed and not (directories and path.startswith(directories))
    }
    return SourceTree(tree.label, kept)


def apply_policy(tree: SourceTree, choice: str) -> tuple[SourceTree, list[str], str]:
    """Apply release_sensitive_files. Return (the tree to release, the paths that were dropped, a warning).

    Raises SourceError if the choice is "refuse" and sensitive files are found.
    """
    found = find_sensitive(tree) if choice != "ignore" else []
    if not found:
        return tree, [], ""
    cause = f"{tree.label} holds files that look like secrets or a history ({format_list(found, 5)})"
    if choice == "refuse":
        raise SourceError(
            f"release_sensitive_files: refuse is set, and {cause}; remove them from the source, or set drop to remove "
            "them from the release."
        )
    if choice == "drop":
        return remove_paths(tree, found), found, ""
    return tree, [], f"{cause}, which every host receives; set release_sensitive_files to drop, refuse or ignore."
