# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find what has no place in a release, because whoever reads the release would read it: secrets and histories."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from ansible_collections.flaskops.production.plugins.plugin_utils._tree import Entry, SourceError, Tree, listing

CHOICES = ("warn", "drop", "refuse", "ignore")
# Histories hold what was removed long ago, and their configuration the passwords of remotes.
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
# What is written to be shown, beside a file of the same beginning.
SHOWN = ("*.example", "*.sample", "*.template", "*.dist")
# Where private keys are kept. Certificates and public keys have such names too, so that the content decides.
KEYS = ("*.pem", "*.key", "*.p8", "*.ppk", "*.crt", "id_*", "*_rsa", "*_ecdsa", "*_ed25519")
PRIVATE = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|^PuTTY-User-Key-File-")
# Enough for a chain of certificates before the key.
LOOKED_AT = 256 * 1024


def find(tree: Tree) -> list[str]:
    """The paths, sorted. A directory ends with a slash and stands for all that is in it."""
    found: list[str] = []
    for entry in tree.entries.values():
        if found and found[-1].endswith("/") and entry.path.startswith(found[-1]):
            continue
        if _is_sensitive(tree.label, entry):
            found.append(entry.path + ("/" if entry.kind == "directory" else ""))
    return found


def _is_sensitive(label: str, entry: Entry) -> bool:
    name = entry.path.rpartition("/")[2].lower()
    if entry.kind == "directory":
        return name in DIRECTORIES
    if entry.kind != "file" or _matches(name, SHOWN):
        return False
    # A name without an extension says nothing; such a file is small when it is a key.
    may_be_key = _matches(name, KEYS) or ("." not in name.lstrip(".") and entry.size <= LOOKED_AT)
    return _matches(name, FILES) or (may_be_key and bool(PRIVATE.search(_beginning(label, entry))))


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _beginning(label: str, entry: Entry) -> bytes:
    try:
        with entry.open() as stream:
            return stream.read(LOOKED_AT)
    except OSError as error:
        raise SourceError(f"{label}: cannot read {entry.path} ({error.strerror or error}).") from error


def without(tree: Tree, paths: list[str]) -> Tree:
    """The tree without these paths and all that is below them."""
    directories = tuple(path for path in paths if path.endswith("/"))
    gone = {path.rstrip("/") for path in paths}
    kept = {
        path: entry
        for path, entry in tree.entries.items()
        if path not in gone and not (directories and path.startswith(directories))
    }
    return Tree(tree.label, kept)


def treat(tree: Tree, choice: str) -> tuple[Tree, list[str], str]:
    """(the tree as it is released, what was left out of it, a warning)."""
    found = find(tree) if choice != "ignore" else []
    if not found:
        return tree, [], ""
    told = f"{tree.label} holds what looks like secrets or a history ({listing(found, 5)})"
    if choice == "refuse":
        raise SourceError(
            f"release_sensitive_files: refuse is set, and {told}; take them out of the source, or set drop to leave "
            "them out of the release."
        )
    if choice == "drop":
        return without(tree, found), found, ""
    return tree, [], f"{told}, which goes to every host; set release_sensitive_files to drop, refuse or ignore."
