# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The content of a built virtual environment: its packages, and the marker that it is complete."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import re
import stat
from typing import Any

from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import replace_file
from ansible_collections.flaskops.production.plugins.module_utils._files.paths import is_within
from ansible_collections.flaskops.production.plugins.module_utils._python.requirements import normalize_name
from ansible_collections.flaskops.production.plugins.module_utils._systemd import transient_unit

# The last file that is written into a virtual environment. Without it, the build is unfinished.
COMPLETE_MARKER = ".complete"
# The maximum size of a package's metadata, far above any real size.
MAX_METADATA_BYTES = 1024**2


def write_marker(path: str, content: dict[str, Any]) -> None:
    data = json.dumps(content, indent=2, sort_keys=True) + "\n"
    replace_file(os.path.join(path, COMPLETE_MARKER), data.encode("utf-8"), 0o644)


def is_complete(path: str) -> bool:
    """Return whether a virtual environment was built completely, and no package was added or removed since."""
    if not has_marker(path):
        return False
    try:
        with open(os.path.join(path, COMPLETE_MARKER), encoding="utf-8") as file:
            marker = json.load(file)
    except (OSError, ValueError):
        return False
    return isinstance(marker, dict) and marker.get("content") == compute_content_digest(path)


def has_marker(path: str) -> bool:
    """Return whether a virtual environment was complete once: its marker exists and belongs to root."""
    try:
        info = os.lstat(os.path.join(path, COMPLETE_MARKER))
    except OSError:
        return False
    return stat.S_ISREG(info.st_mode) and info.st_uid in (0, os.geteuid())


def compute_content_digest(path: str) -> str:
    """Return a digest of the names in site-packages, which changes if a package is removed manually.

    Bytecode caches are ignored, because the application changes them. Reading files of all packages would take a
    hundred times as long.
    """
    names = []
    for directory in sorted(glob.glob(os.path.join(glob.escape(path), "lib", "python*", "site-packages"))):
        names += [name for name in sorted(os.listdir(directory)) if name != "__pycache__"]
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()


def list_packages(path: str) -> list[str]:
    """Return the packages of a virtual environment as name==version, from their metadata.

    Links and special files are skipped, because the directory may still belong to the build user.
    """
    found = {}
    for metadata in glob.glob(
        os.path.join(glob.escape(path), "lib", "python*", "site-packages", "*.dist-info", "METADATA")
    ):
        if os.path.realpath(metadata) != os.path.join(os.path.realpath(path), os.path.relpath(metadata, path)):
            continue
        with contextlib.suppress(transient_unit.BuildError, OSError):
            fields: dict[str, str] = {}
            for line in transient_unit.read_result(metadata, MAX_METADATA_BYTES).splitlines():
                name, separator, value = line.partition(":")
                if not separator:
                    break
                fields.setdefault(name.lower(), value.strip())
            if "name" in fields and "version" in fields:
                found[normalize_name(fields["name"])] = f"{fields['name']}=={fields['version']}"
    return [found[name] for name in sorted(found)]


def find_external_code(path: str) -> str | None:
    """Return the name of an installed package whose code is outside of its virtual environment, or None.

    Such a package is editable: it would change, or be removed, with the directory that it was installed from.
    """
    root = os.path.realpath(path)
    for packages in glob.glob(os.path.join(glob.escape(path), "lib", "python*", "site-packages")):
        for name in sorted(os.listdir(packages)):
            if name.startswith("__editable__") or name.endswith((".pth", ".egg-link")):
                text = _read_text(os.path.join(packages, name))
                paths = [line.strip() for line in text.splitlines()]
                if name.startswith("__editable__") and name.endswith(".py"):
                    paths += re.findall(r"['\"](/[^'\"\n]*)['\"]", text)
                if any(os.path.isabs(line) and not is_within(os.path.realpath(line), root) for line in paths):
                    return re.sub(r"^_+editable_+\.?|_finder\.py$|-\d.*$|\.pth$|\.egg-link$", "", name)
    return None


def _read_text(path: str) -> str:
    """Return the text of a file that a build has written. Special files and links are not read."""
    if os.path.islink(path) or not os.path.isfile(path):
        return ""
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read(1024**2)
