#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: symlink_swap
short_description: Swap a symbolic link to a directory, atomically and durably
version_added: "1.0.0"
author:
  - The flaskops.production contributors (@flaskops)
description:
  - Creates a symbolic link to a directory, or points an existing one to another directory by a single rename.
    A process that reads the link finds the old directory or the new one, never neither.
  - The files behind the link are flushed to disk before the rename and the link itself after it, so that a power
    failure cannot keep the new link and lose its files.
  - A file or a real directory at O(path) is refused and left as it is. The module refuses a target
    that is not a directory, that lies outside O(within), or that is reached through the link itself.
attributes:
  check_mode:
    support: full
    description: Refuses the same input as a run, predicts its changes exactly, and changes nothing.
  diff_mode:
    support: full
    description: Shows the text of the link before and after.
  platform:
    support: full
    platforms: linux
    description: The kind of host that the module works on.
options:
  path:
    description:
      - The absolute path of the link. Its directory must exist.
    type: path
    required: true
  src:
    description:
      - The directory to point the link at, absolute or relative to the directory of O(path). It must exist.
    type: path
    required: true
  within:
    description:
      - A directory below which O(src) must be once all links are resolved, absolute or relative to the directory of
        O(path). It must exist.
    type: path
  relative:
    description:
      - Whether a link that is written gets a relative text, such as C(releases/5), or an absolute one.
      - It does not matter for a link that names O(src) already. Such a link is left as it is, however it is spelled.
    type: bool
    default: true
  sync:
    description:
      - Whether the file system that holds O(src) is flushed to disk before the link is changed, and the directory of
        O(path) after it.
      - Disable it only if a power failure does not matter, such as in a throw-away container.
    type: bool
    default: true
notes:
  - Spellings that name the same place are the same. Doubled and trailing slashes, C(./), and absolute instead of
    relative texts are no change.
  - The module compares the name in the link, not its final target. A link that reaches O(src) through another link is
    changed, because that other link may change later. An O(src) that is a link to a directory itself is kept as that
    name, and not resolved.
  - A temporary name that a killed run left beside O(path) is removed by the next swap in that directory, when its
    process is gone or after one minute.
  - Runs that swap the same link at the same time are safe, and the last one wins. RV(previous_target) is the text of
    the link when the module read it.
seealso:
  - module: ansible.builtin.file
  - module: flaskops.production.tree
"""

EXAMPLES = r"""
- name: Swap the link to a release
  flaskops.production.symlink_swap:
    path: /srv/myapp/app
    src: releases/2026-04-21-120000-1a2b3c4
    within: releases
  register: swap

- name: Show the previous release
  ansible.builtin.debug:
    msg: "The previous release is {{ swap.previous_src }}"
  when: swap is changed and swap.previous_src is not none

- name: Point a link at a directory elsewhere by its absolute path
  flaskops.production.symlink_swap:
    path: /srv/myapp/venv
    src: /opt/venvs/myapp-3
    relative: false
"""

RETURN = r"""
path:
  description: The absolute path of the link, without needless slashes and dots.
  returned: success
  type: str
  sample: /srv/myapp/app
src:
  description: The absolute path of the directory that the link names.
  returned: success
  type: str
  sample: /srv/myapp/releases/2026-04-21-120000-1a2b3c4
target:
  description: The text of the link.
  returned: success
  type: str
  sample: releases/2026-04-21-120000-1a2b3c4
previous_src:
  description: The absolute path that the link named before, whether it existed or not. V(null) when there was no link.
  returned: success
  type: str
  sample: /srv/myapp/releases/2026-04-20-093000-9f8e7d6
previous_target:
  description: The text of the link before. V(null) when there was no link.
  returned: success
  type: str
  sample: releases/2026-04-20-093000-9f8e7d6
"""

import os
from typing import Any, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule, run_module
from ansible_collections.flaskops.production.plugins.module_utils._files.links import (
    SymlinkError,
    is_reached_through,
    read_link,
    swap_link,
)


class LinkChange(NamedTuple):
    """The current and the wanted target of the link. The fields are the module's return values."""

    path: str
    src: str
    target: str
    previous_src: str | None
    previous_target: str | None

    @property
    def changed(self) -> bool:
        return self.target != self.previous_target


def plan_change(path: str, src: str, within: str | None = None, relative: bool = True) -> LinkChange:
    """Return the change of the link. Raises SymlinkError for an invalid option or a refused change."""
    path = _parse_link_path(path)
    parent = os.path.dirname(path)
    if os.path.lexists(parent) and not os.path.isdir(parent):
        raise SymlinkError(
            f"{parent}, the directory of the link {path}, is not a directory. Move it away, or correct path."
        )
    if not os.path.isdir(parent):
        raise SymlinkError(
            f"The directory {parent} of the link {path} does not exist. Create it first, or correct path."
        )
    previous = read_link(path)
    directory = normalize_path(os.path.join(parent, src))
    _check_directory(path, directory)
    if within is not None:
        _check_within(directory, normalize_path(os.path.join(parent, within)))
    previous_src = None
    if previous is not None:
        previous_src = normalize_path(os.path.join(parent, previous))
        if _resolve_parent(parent, previous_src) == _resolve_parent(parent, directory):
            return LinkChange(path, directory, previous, previous_src, previous)
    return LinkChange(path, directory, format_link_text(directory, parent, relative), previous_src, previous)


def normalize_path(path: str) -> str:
    """Return the absolute path without needless slashes and dots. Links before '..' are resolved as by the kernel."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." not in parts:
        return "/" + "/".join(parts)
    climbed = len(parts) - parts[::-1].index("..")
    return os.path.join(os.path.realpath("/" + "/".join(parts[:climbed])), *parts[climbed:])


def format_link_text(src: str, parent: str, relative: bool) -> str:
    """Return the text of a link to src in the directory parent."""
    if not relative:
        return src
    if src == parent or src.startswith(parent.rstrip("/") + "/"):
        return os.path.relpath(src, parent)
    # The kernel resolves '..' from the real directory.
    return os.path.relpath(src, os.path.realpath(parent))


def _parse_link_path(path: str) -> str:
    if not path.startswith("/"):
        raise SymlinkError(f"path is {path!r}, which is relative; set an absolute path, such as /srv/myapp/app.")
    plain = path.rstrip("/")
    while plain.endswith("/."):
        plain = plain[:-2].rstrip("/")
    parent, name = os.path.split(plain)
    if name in ("", ".."):
        raise SymlinkError(f"path is {path!r}, which is a directory; set the path of a link in it.")
    return os.path.join(normalize_path(parent), name)


def _resolve_parent(parent: str, path: str) -> str:
    """Replace parent at the start of a path by its real path, so that names of the same file are equal."""
    inside = path.startswith(parent.rstrip("/") + "/")
    return os.path.join(os.path.realpath(parent), os.path.relpath(path, parent)) if inside else path


def _check_directory(path: str, src: str) -> None:
    if is_reached_through(src, path):
        problem = "is path itself" if src == path else f"is reached through {path}"
        raise SymlinkError(
            f"src {src} {problem}; the link would point at itself. Set a directory that does not need the link."
        )
    if not os.path.lexists(src):
        raise SymlinkError(f"src {src} does not exist. Create the directory first, or correct src.")
    if not os.path.isdir(src):
        problem = "a link that does not lead to a directory" if os.path.islink(src) else "not a directory"
        raise SymlinkError(f"src {src} is {problem}. Set a directory.")


def _check_within(src: str, within: str) -> None:
    if not os.path.isdir(within):
        raise SymlinkError(f"within {within} is not a directory. Set the directory that src must be below.")
    real, limit = os.path.realpath(src), os.path.realpath(within)
    if real == limit or not real.startswith(limit.rstrip("/") + "/"):
        leads = "" if real == src else f" leads to {real}, which"
        raise SymlinkError(f"src {src}{leads} is not below {limit}. Set a directory below it, or correct within.")


def build_diff(planned: LinkChange) -> dict:
    def state(target: str | None) -> dict:
        found = {"state": "absent"} if target is None else {"state": "link", "target": target}
        return {"path": planned.path, **found}

    return {"before": state(planned.previous_target), "after": state(planned.target)}


def argument_spec() -> dict:
    return {
        "path": {"type": "path", "required": True},
        "src": {"type": "path", "required": True},
        "within": {"type": "path"},
        "relative": {"type": "bool", "default": True},
        "sync": {"type": "bool", "default": True},
    }


def work(module: AnsibleModule) -> dict[str, Any]:
    options = dict(module.params)
    sync = options.pop("sync")
    planned = plan_change(**options)
    if planned.changed and not module.check_mode:
        swap_link(planned.path, planned.target, sync)
    return {"changed": planned.changed, **planned._asdict(), "diff": build_diff(planned)}


def main() -> None:
    run_module(work, argument_spec(), path="path")


if __name__ == "__main__":
    main()
