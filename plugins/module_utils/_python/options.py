# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a virtual environment, parsed once."""

from __future__ import annotations

import os
from typing import Any, NamedTuple, Sequence

# The options of a virtual environment, documented in the module venv.
VENV_OPTIONS = {
    "directory": {"type": "path", "required": True},
    "source": {"type": "path"},
    "link": {"type": "path"},
    "requirements": {"type": "list", "elements": "str", "default": ["requirements.txt"]},
    "packages": {"type": "list", "elements": "str", "default": []},
    "extras": {"type": "list", "elements": "str", "default": []},
    "groups": {"type": "list", "elements": "str", "default": []},
    "python": {"type": "str", "default": "python3"},
    "installer": {"type": "str", "choices": ["pip", "uv"], "default": "pip"},
    "uv": {"type": "path"},
    "index_url": {"type": "str", "no_log": True},
    "extra_index_urls": {"type": "list", "elements": "str", "default": [], "no_log": True},
    "find_links": {"type": "list", "elements": "str", "default": []},
    "require_hashes": {"type": "bool", "default": False},
    "only_binary": {"type": "bool", "default": False},
    "environment": {"type": "dict", "default": {}, "no_log": True},
    "timeout": {"type": "int", "default": 1800},
    "rebuild": {"type": "bool", "default": False},
}


class VenvError(Exception):
    """A virtual environment that cannot be used or built. The message is complete sentences."""


class MissingInputError(VenvError):
    """A missing interpreter or directory that earlier tasks create, but not in check mode."""


class VenvSettings(NamedTuple):
    directory: str
    source: str | None
    link: str | None
    requirements: list[str]
    packages: list[str]
    python: str
    installer: str
    uv: str | None
    index_url: str | None
    extra_index_urls: list[str]
    find_links: list[str]
    require_hashes: bool
    only_binary: bool
    environment: dict[str, Any]
    timeout: int
    rebuild: bool = False
    extras: Sequence[str] = ()
    groups: Sequence[str] = ()
    report_missing: bool = False


def parse_settings(params: dict[str, Any], report_missing: bool = False) -> VenvSettings:
    """Return the options of a task with normalized paths. Raises VenvError for a relative path."""
    for name in ("directory", "source", "link", "uv"):
        if params[name] and not os.path.isabs(params[name]):
            raise VenvError(f"{name} is '{params[name]}', but must be an absolute path.")
    return VenvSettings(**{name: params[name] for name in VENV_OPTIONS}, report_missing=report_missing)._replace(
        directory=os.path.normpath(params["directory"]),
        source=os.path.realpath(params["source"]) if params["source"] else None,
        link=os.path.normpath(params["link"]) if params["link"] else None,
    )
