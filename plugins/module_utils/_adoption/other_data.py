# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find data beside the code and outside of the old deployment, by the environment, the unit, open files and links."""

from __future__ import annotations

import os
import re
import stat

from ansible_collections.flaskops.production.plugins.module_utils._adoption.code_data import (
    choose_target,
    choose_unused,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.places import (
    HIDDEN,
    find_data_beside,
    find_named_paths,
    find_writable_outside,
    replace_paths,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import (
    ENVIRONMENT,
    AdoptionPlan,
    Move,
    PlanRequest,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.sources import is_database_at
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts, find_venv
from ansible_collections.flaskops.production.plugins.module_utils._doctor.finding import format_paths
from ansible_collections.flaskops.production.plugins.module_utils._doctor.names import UPLOADS
from ansible_collections.flaskops.production.plugins.module_utils._files.paths import is_within

# The setting that lets the new units write outside of the application's directory.
WRITE_PATHS = "gunicorn_systemd_read_write_paths"


def plan_named_data(request: PlanRequest, plan: AdoptionPlan) -> None:
    """Add data that environment variables name, beside the code and outside of the old deployment."""
    facts, surroundings = request.facts, request.surroundings
    sources: dict[str, str] = {}
    for name, path in find_named_paths(surroundings.environment, facts.code):
        real = os.path.realpath(path)
        if surroundings.is_left(real) or is_within(real, facts.code) or is_within(real, request.shared):
            continue
        if not is_within(real, facts.root):
            _plan_outside(request, plan, real, name)
        elif is_within(facts.code, real):
            plan.obstacles.append(
                f"{name} names {path}, which holds the code and more. Let the variable name the data itself, or, if "
                f"the application writes nothing there, add {path} to adopt_leave."
            )
        else:
            source = _find_data(facts, real)
            if source and source not in (file.lstrip("-") for file in facts.env_files):
                sources.setdefault(source, name)
    for source, name in sorted(sources.items(), key=lambda item: len(item[0])):
        if not plan.includes(source) and not is_in_venv(source, facts.root):
            plan.moves.append(_make_move(facts, source, f"{name} names it", plan))


def _find_data(facts: Facts, path: str) -> str:
    """Return what to copy for a named path: the path or its directory. Empty if there is nothing to copy."""
    if os.path.lexists(path) and stat.S_ISSOCK(os.lstat(path).st_mode):
        return ""
    if os.path.isdir(path):
        return path
    above = os.path.dirname(path)
    if above != facts.root and not is_within(facts.code, above) and os.path.isdir(above):
        return above
    return path if os.path.isfile(path) else ""


def is_in_venv(path: str, top: str) -> bool:
    """Return whether a path below the top is in a virtual environment."""
    while is_within(path, top):
        if os.path.exists(os.path.join(path, "pyvenv.cfg")):
            return True
        path = os.path.dirname(path)
    return False


def _make_move(facts: Facts, source: str, reason: str, plan: AdoptionPlan) -> Move:
    """Return the move of data beside the code, which no name in the code leads to."""
    name = os.path.relpath(source, facts.root)
    if os.path.isdir(source):
        kind, target = "uploads" if os.path.basename(name) in UPLOADS else "data", choose_target(name)
    elif is_database_at(source):
        kind, target = "database", f"database/{name.replace('/', '-')}"
    else:
        kind, target = "data", choose_target(name)
    return Move(kind, source, choose_unused(target, plan), "", "", reason)


def _plan_outside(request: PlanRequest, plan: AdoptionPlan, path: str, reason: str, known: bool = False) -> None:
    """Let the new units write to data outside of the deployment, which stays there.

    `known` means that the service writes there. Otherwise, the data counts if its user may write to it.
    """
    top = request.facts.root
    place = find_writable_outside(request.facts, path, known)
    if not place or is_within(place, request.root) or request.is_in_old(place):
        return
    if any(is_within(place, hidden) for hidden in HIDDEN):
        plan.obstacles.append(
            f"{place}, to which the service writes ({reason}), lies outside of {top}, and the new units hide it: move "
            f"it to {top} first, or, if the application does not need it, add it to adopt_leave."
        )
    elif re.search(r"[\s:%\"'\\]", place):
        plan.obstacles.append(
            f"{place}, to which the service writes ({reason}), contains a character that cannot be written in a unit."
        )
    else:
        paths = plan.variables.setdefault(WRITE_PATHS, [])
        if isinstance(paths, list) and place not in paths:
            paths.append(place)


def plan_write_paths(request: PlanRequest, plan: AdoptionPlan) -> None:
    """Let the new units write to paths of the old unit, open files, and ends of links outside of the deployment."""
    facts, surroundings = request.facts, request.surroundings

    def is_outside(path: str) -> bool:
        return not (request.is_in_old(path) or is_within(path, request.root) or surroundings.is_left(path))

    own = [path.lstrip("+-") for path in facts.unit.get("ReadWritePaths", "").split()]
    known = [*((path, "ReadWritePaths") for path in own), *((path, "it has it open") for path in surroundings.opened)]
    for path, reason in known:
        real = os.path.realpath(path)
        if path not in surroundings.logs and is_outside(real):
            _plan_outside(request, plan, real, reason, known=True)
    for item in facts.tree:
        end = os.path.realpath(item.path)
        if item.target and is_outside(end):
            _plan_outside(request, plan, end, f"{item.path} leads there")
    paths = plan.variables.get(WRITE_PATHS)
    if paths and WRITE_PATHS in request.given:
        plan.attention.append(f"{WRITE_PATHS} is set. It must include {paths}, where the service writes.")


def check_unreachable_data(request: PlanRequest, plan: AdoptionPlan) -> None:
    """Add an obstacle for data beside the code that no variable and no link leads to."""
    unreachable = {
        path: reason
        for path, reason in find_data_beside(request.facts, request.surroundings).items()
        if not plan.includes(path) and not request.surroundings.is_left(path) and not is_within(path, request.shared)
    }
    outer = [path for path in unreachable if not any(path != other and is_within(path, other) for other in unreachable)]
    if outer:
        plan.obstacles.append(
            f"{format_paths(outer)} {'is' if len(outer) == 1 else 'are'} data ({unreachable[outer[0]]}) beside the "
            "code, and no environment variable and no link in the code leads there, so the release would not find it. "
            "Let the application take the path from an environment variable; or, if it does not use the data, set "
            f"adopt_leave: {outer}."
        )


def plan_rewrites(request: PlanRequest, plan: AdoptionPlan) -> None:
    """Replace the old paths in the values of the environment by the new ones, and report those that remain."""
    facts, surroundings, root = request.facts, request.surroundings, request.root
    if "flask_app_env" in request.given:
        return
    plan.rewrites = _list_rewrites(request, plan)
    changed = replace_paths(surroundings.environment, plan.rewrites, facts.code)
    before = find_named_paths(surroundings.environment, facts.code)
    after = find_named_paths(changed, facts.code)
    names = sorted({name for name, _path in set(before) - set(after)})
    own = [path.lstrip("-") for path in facts.env_files if os.path.realpath(path.lstrip("-")) == f"{root}/shared/.env"]
    if names and own:
        plan.obstacles.append(
            f"{own[0]} is the environment file of both deployments, and has paths in {', '.join(names)} that the new "
            "one does not have: change them to paths below shared/, and move the data there."
        )
    elif names:
        plan.attention.append(
            f"{', '.join(names)} {'names' if len(names) == 1 else 'name'} paths of the old deployment: shared/.env "
            "gets the new ones."
        )
    left = [(name, path) for name, path in after if _is_lost(request, path)]
    if left:
        shown = format_paths([f"{name} ({path})" for name, path in left])
        plan.obstacles.append(
            f"Environment variables name paths of the old deployment that are not copied: {shown}. Remove them, or set "
            f"adopt_leave: {[path for _name, path in left]}."
        )


def _list_rewrites(request: PlanRequest, plan: AdoptionPlan) -> list[tuple[str, str]]:
    facts, root = request.facts, request.root
    pairs = [
        (move.source, os.path.join(request.shared, move.target)) for move in plan.moves if move.kind != ENVIRONMENT
    ]
    pairs += [(path, os.path.join(root, "app")) for path in (facts.code, facts.live) if path]
    venv = find_venv(facts)
    pairs += [(venv, os.path.join(root, "venv"))] if venv else []
    return [
        (old, new) for old, new in dict.fromkeys(pairs) if old != new and not request.is_in_layout(old, "app", "shared")
    ]


def _is_lost(request: PlanRequest, path: str) -> bool:
    """Return whether a path that the new environment names is a file of the old deployment that is not copied."""
    return (
        os.path.lexists(path)
        and not request.is_in_layout(path, "app", "venv", "shared", "run")
        and request.is_in_old(path)
        and not request.surroundings.is_left(os.path.realpath(path))
        and not stat.S_ISSOCK(os.lstat(path).st_mode)
    )
