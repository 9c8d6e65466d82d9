# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The virtual environment that an application needs on a host, and whether it exists."""

from __future__ import annotations

import os
from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._files import links
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import replace_file
from ansible_collections.flaskops.production.plugins.module_utils._python.digest import (
    collect_digest_inputs,
    compute_digest,
)
from ansible_collections.flaskops.production.plugins.module_utils._python.interpreter import (
    Interpreter,
    find_interpreter,
)
from ansible_collections.flaskops.production.plugins.module_utils._python.options import VenvError, VenvSettings
from ansible_collections.flaskops.production.plugins.module_utils._python.requirement_files import (
    RequirementFile,
    find_problems,
    read_requirement_files,
)
from ansible_collections.flaskops.production.plugins.module_utils._python.venv_content import is_complete

# For each digest of inputs, the number of forced builds. Each of them has its own virtual environment.
REBUILDS = ".rebuilds"


class VenvPlan(NamedTuple):
    """The virtual environment for some settings, built or not. link_text is the wanted text of the link, if any.

    inputs is the digest of the inputs, and rebuilds the number of builds that rebuild has forced for them.
    """

    inputs: str
    rebuilds: int
    digest: str
    path: str
    interpreter: Interpreter
    files: list[RequirementFile]
    link_text: str | None


def plan_venv(settings: VenvSettings, will_be_linked: bool = True) -> VenvPlan:
    """Return the virtual environment for the settings.

    Raises MissingInputError for a missing interpreter or source, and VenvError for other problems.
    """
    interpreter = find_interpreter(settings.python)
    files = read_requirement_files(settings.source, settings.requirements)
    problems = find_problems(settings, files)
    if settings.link and will_be_linked and not os.path.isdir(os.path.dirname(settings.link)):
        problems.append(f"{os.path.dirname(settings.link)}, the directory of the link, is not a directory.")
    if problems:
        raise VenvError(" ".join(problems))
    inputs = collect_digest_inputs(settings, files, interpreter)
    before = compute_digest(inputs)
    rebuilds = _read_rebuilds(settings.directory, before) + settings.rebuild
    while True:
        digest = compute_digest({**inputs, "rebuild": rebuilds}) if rebuilds else before
        path = os.path.join(settings.directory, digest)
        if not settings.rebuild or not is_complete(path):
            break
        # A run was killed before it recorded this one.
        rebuilds += 1
    return VenvPlan(
        before,
        rebuilds,
        digest,
        path,
        interpreter,
        files,
        make_relative_target(path, settings.link) if settings.link else None,
    )


def _read_rebuilds(directory: str, inputs: str) -> int:
    try:
        with open(os.path.join(directory, REBUILDS, inputs), encoding="ascii") as stream:
            return int(stream.read(20))
    except (OSError, ValueError):
        return 0


def record_rebuild(settings: VenvSettings, plan: VenvPlan) -> None:
    """Make later runs without rebuild use the new virtual environment."""
    directory = os.path.join(settings.directory, REBUILDS)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    replace_file(os.path.join(directory, plan.inputs), f"{plan.rebuilds}\n".encode(), 0o644)


def is_in_place(settings: VenvSettings) -> bool:
    """Return whether the virtual environment is complete and the link points at it."""
    if settings.rebuild:
        return False
    try:
        plan = plan_venv(settings)
        linked = read_link_target(settings.link, settings.directory) if settings.link else None
    except VenvError:
        return False
    return is_complete(plan.path) and linked == plan.link_text


def read_link_target(link: str, directory: str) -> str | None:
    """Return the text of the link, or None if there is none. Raises VenvError unless it points into the directory."""
    text = links.read_link(link)
    if text is None:
        return None
    parent = os.path.realpath(os.path.dirname(link))
    if os.path.dirname(os.path.normpath(os.path.join(parent, text))) not in (directory, os.path.realpath(directory)):
        raise VenvError(
            f"{link} points to {text}, which is not a virtual environment in {directory}, so it was not changed. "
            "If releases are deployed, it follows the live release; otherwise remove the link and run again."
        )
    return text


def make_relative_target(path: str, link: str) -> str:
    """Return the relative text of a link to a path, which remains valid if the whole tree is moved."""
    directory, name = os.path.split(path)
    return os.path.relpath(
        os.path.join(os.path.realpath(directory), name), os.path.realpath(os.path.dirname(os.path.abspath(link)))
    )
