# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of release_source, for the module, which documents them, and the action plugin, which does the work."""

from __future__ import annotations

# Version control, caches, virtual environments and a developer's own secrets are never part of a release.
EXCLUDE = (
    ".git",
    ".hg",
    ".svn",
    "__pycache__",
    "*.pyc",
    ".venv",
    "venv",
    "node_modules",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
    ".tox",
    ".nox",
    ".DS_Store",
    ".env",
)

SOURCE = {
    "directory": {"type": "str"},
    "archive": {"type": "str"},
    "archive_checksum": {"type": "str"},
    "archive_signature": {"type": "str"},
    "archive_minisign_key": {"type": "str", "no_log": False},
    "archive_gpg_keyring": {"type": "str", "no_log": False},
    "git_repo": {"type": "str"},
    "git_ref": {"type": "str", "default": "HEAD"},
    "git_verify": {"type": "str", "default": "", "choices": ["", "commit", "tag"]},
    "git_gpg_keyring": {"type": "str", "no_log": False},
    "git_allowed_signers": {"type": "str"},
    "name": {"type": "str"},
    "strip_components": {"type": "int", "default": 0},
    "subdirectory": {"type": "str"},
    "exclude": {"type": "list", "elements": "str", "default": list(EXCLUDE)},
    "requirements": {"type": "list", "elements": "str", "default": []},
    "packages": {"type": "list", "elements": "str", "default": []},
    "require_hashes": {"type": "bool", "default": False},
    "only_binary": {"type": "bool", "default": False},
    "index": {"type": "str", "default": "", "choices": ["", "venv_index_url", "venv_extra_index_urls"]},
    "extras": {"type": "list", "elements": "str", "default": []},
    "groups": {"type": "list", "elements": "str", "default": []},
    "installer": {"type": "str", "choices": ["pip", "uv"], "default": "pip"},
    "python": {"type": "str", "default": ""},
    "static_paths": {"type": "list", "elements": "str", "default": []},
    "shared_paths": {"type": "list", "elements": "str", "default": []},
    "wsgi": {"type": "str", "default": ""},
    "sensitive_files": {"type": "str", "default": "warn", "choices": ["warn", "drop", "refuse", "ignore"]},
}
