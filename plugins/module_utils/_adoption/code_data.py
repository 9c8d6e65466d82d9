# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Separate data from code: uploads, databases, logs and keys in the code, and behind links in the code."""

from __future__ import annotations

import os
from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._adoption.places import (
    LARGE,
    Contents,
    find_written_files,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import (
    ACME_CHALLENGE,
    AdoptionPlan,
    Move,
    PlanRequest,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.sources import (
    BESIDE,
    SUFFIXES,
    is_database_at,
)
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import Node, has_permission, read_node
from ansible_collections.flaskops.production.plugins.module_utils._doctor.names import (
    DATABASE,
    KEY,
    LOGS,
    SECRETS,
    UPLOADS,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.paths import is_within
from ansible_collections.flaskops.production.plugins.module_utils._nginx.parser import Location

# Names in shared/ with a meaning of their own in the layout.
RESERVED = ("static", "media", "logs", ".env", "database")


class Evidence(NamedTuple):
    """The facts that distinguish data from code."""

    # The code without the files that SQLite keeps beside its databases.
    tree: list[Node]
    contents: Contents
    # Directories that Nginx serves, with their locations.
    served: dict[str, Location]
    # Directories and files that the service writes to, with the reason.
    changing: dict[str, str]
    # Whether the user of the service may write to all of the code.
    open_code: bool


def plan_data(request: PlanRequest, plan: AdoptionPlan) -> None:
    """Add the data in the code, behind links in the code, and in directories beside it that Nginx serves."""
    facts = request.facts
    evidence = _collect_evidence(request)
    if request.shared_paths is not None:
        _plan_given_data(request, plan, request.shared_paths)
        _report_missing_data(request, evidence, plan)
    else:
        _plan_detected_data(request, evidence, plan)
    plan.exclude += [item.path for item in facts.tree if BESIDE.search(item.path) and not plan.includes(item.path)]
    plan.exclude += [move.source + suffix for move in plan.moves for suffix in SUFFIXES if is_database_at(move.source)]
    for path, location in evidence.served.items():
        if request.is_beside_code(path) and _is_uploads(path, location) and not plan.includes(path):
            target = _choose_media(plan) or choose_unused(choose_target(os.path.relpath(path, facts.root)), plan)
            plan.moves.append(Move("uploads", path, target, "", "", f"Nginx serves it at {location.path}"))
    for item in facts.top_level:
        in_shared = facts.root == request.root and os.path.dirname(item.path) == request.shared
        if in_shared and DATABASE.search(item.path):
            plan.obstacles.append(
                f"{item.path} lies in shared/ itself, which only root may write to: move it to a directory there, such "
                f"as {request.shared}/database/, and change the path in the application."
            )


def _collect_evidence(request: PlanRequest) -> Evidence:
    facts = request.facts
    tree = [
        item for item in facts.tree if not BESIDE.search(item.path) or not is_database_at(BESIDE.sub("", item.path))
    ]
    contents = Contents(tree, facts.code)
    user = facts.runtime_user
    code = facts.nodes.get(facts.code) or Node(facts.code, "directory", 0, 0, 0)
    return Evidence(
        tree=tree,
        contents=contents,
        served=_list_served(facts),
        changing=_find_changing(facts, contents, find_written_files(facts, tree, request.surroundings)),
        open_code=user is None or not user.uid or has_permission(user, code, 2),
    )


def _plan_detected_data(request: PlanRequest, evidence: Evidence, plan: AdoptionPlan) -> None:
    _plan_linked_data(request, evidence, plan)
    for item in evidence.tree:
        if item.kind == "directory" and not plan.includes(item.path):
            plan.moves += _detect_directory(request.facts, item, evidence, plan)
    for item in evidence.tree:
        if item.kind == "file" and not plan.includes(item.path):
            plan.moves += _detect_file(request.facts, item, evidence)


def _report_missing_data(request: PlanRequest, evidence: Evidence, plan: AdoptionPlan) -> None:
    """Report detected data that release_shared_paths lacks. The application could no longer write to it."""
    detected = AdoptionPlan(code=request.facts.code)
    _plan_detected_data(request, evidence, detected)
    for move in detected.moves:
        if plan.includes(move.source) or request.surroundings.is_left(move.source):
            continue
        if any(is_within(given.source, move.source) for given in plan.moves):
            continue  # a part of it is given
        if move.kind in ("uploads", "database", "data"):
            plan.obstacles.append(
                f"{move.source} is data ({move.reason}), but release_shared_paths does not have {move.link}, so the "
                f"application could no longer write to it: add it, or set adopt_leave: ['{move.source}']."
            )
        else:
            plan.attention.append(f"{move.source} is not copied: release_shared_paths does not have {move.link}.")


def _plan_given_data(request: PlanRequest, plan: AdoptionPlan, shared_paths: list[str]) -> None:
    for name in shared_paths:
        link = name.rstrip("/")
        path = os.path.join(request.facts.code, link)
        shared = os.path.join(request.shared, name)
        source = os.path.realpath(path)
        if os.path.islink(path) and source == os.path.realpath(shared):
            continue  # it is in shared/ already
        if os.path.lexists(path):
            # A link that leads out of the old deployment is reported by its own path.
            inside = request.is_in_old(source) and os.path.lexists(source)
            reason = "release_shared_paths has it"
            plan.moves.append(Move("data", source if inside else path, link, link, "", reason))
        elif not name.endswith("/") and not os.path.lexists(shared):
            plan.obstacles.append(f"release_shared_paths has {name}, a file, but {path} does not exist.")


def _plan_linked_data(request: PlanRequest, evidence: Evidence, plan: AdoptionPlan) -> None:
    """Add data beside the code that links in the code lead to, as other tools share data between releases."""
    facts = request.facts
    links = [(os.path.realpath(item.path), item) for item in facts.tree if item.target]
    for end, item in sorted(links, key=lambda pair: (len(pair[0]), pair[1].path)):
        link = os.path.relpath(item.path, facts.code)
        if (
            not is_within(end, facts.root)
            or is_within(end, facts.code)
            or not os.path.lexists(end)
            or end == os.path.realpath(os.path.join(request.shared, link))
            or link == ".env"
            or os.path.exists(os.path.join(end, "pyvenv.cfg"))
        ):
            continue
        above = next((move for move in plan.moves if is_within(end, move.source)), None)
        if above:
            target = os.path.normpath(os.path.join(above.target, os.path.relpath(end, above.source)))
            kind, reason = above.kind, f"{item.path} leads there"
        elif is_within(end, request.shared):
            kind, target, reason = "data", os.path.relpath(end, request.shared), "it stays where it is"
        else:
            kind, target, reason = _classify_linked(end, item.path, link, evidence.served, plan)
        plan.moves.append(_make_move(kind, end, target, link, reason))


def _classify_linked(
    end: str, path: str, link: str, served: dict[str, Location], plan: AdoptionPlan
) -> tuple[str, str, str]:
    """Return the kind, the target and the reason of a move for the end of a link."""
    name, flat = os.path.basename(link), link.replace("/", "-")
    if os.path.isdir(end):
        location = served.get(end)
        if location and _is_uploads(end, location):
            return "uploads", _choose_media(plan) or choose_target(link), f"Nginx serves it at {location.path}"
        if name in UPLOADS:
            return "uploads", choose_target(link), "uploads"
        if name in LOGS:
            return "logs", "logs" if link in LOGS else choose_target(link), "logs"
        # Nginx must be able to read it if it serves a directory above.
        public = any(is_within(place, directory) for place in (path, end) for directory in served)
        return "uploads" if public else "data", choose_target(link), "a link leads to it"
    if is_database_at(end):
        return "database", f"database/{flat}", "an SQLite database"
    if name.endswith(".log"):
        return "log", f"logs/{flat}", "a log"
    if KEY.match(name) or SECRETS.match(name):
        return "key", link, "a private key" if KEY.match(name) else "environment variables"
    return "data", choose_target(link), "a link leads to it"


def _find_changing(facts: Facts, contents: Contents, files: list[str]) -> dict[str, str]:
    """Return the directories of data, and single files among the code, that the service writes to, with the reason."""

    def is_code(path: str) -> bool:
        return path == facts.code or path in contents.code

    found = {}
    reason = f"{facts.runtime_user.name if facts.runtime_user else 'the service'} has written to it since it started"
    own = [path.lstrip("+-") for path in facts.unit.get("ReadWritePaths", "").split()]
    for path in [*files, *(path for path in own if is_within(path, facts.code) and path != facts.code)]:
        top = path if os.path.isdir(path) else os.path.dirname(path)
        if is_code(top):
            found[path] = reason
            continue
        above = os.path.dirname(top)
        while not is_code(above) and os.path.basename(above) != "static":
            top, above = above, os.path.dirname(above)
        found[top] = reason
    for path, count in contents.files.items():
        if count >= LARGE and not is_code(path) and os.path.basename(path) != "static":
            found.setdefault(path, f"it has {count} files, and no code")
    return found


def list_shared(request: PlanRequest) -> list[str]:
    """Return the shared paths that are links into the new layout's shared/ already."""
    found = []
    for item in request.facts.tree:
        name = os.path.relpath(item.path, request.facts.code)
        if item.target and os.path.realpath(item.path) == os.path.realpath(os.path.join(request.shared, name)):
            found.append(name + ("/" if os.path.isdir(item.path) else ""))
    return found


def is_writable(facts: Facts, name: str) -> bool:
    """Return whether the old service may write to a path in the code."""
    item = read_node(os.path.realpath(os.path.join(facts.code, name.rstrip("/"))))
    return item is not None and facts.runtime_user is not None and has_permission(facts.runtime_user, item, 2)


def _choose_media(plan: AdoptionPlan) -> str:
    """Return `media` for the first directory of uploads, and an empty string for others."""
    return "" if any(move.target == "media" for move in plan.moves) else "media"


def choose_unused(target: str, plan: AdoptionPlan) -> str:
    """Return a name in shared/ that no other move uses."""
    while any(is_within(target, move.target) or is_within(move.target, target) for move in plan.moves):
        target = f"beside/{target}"
    return target


def choose_target(link: str) -> str:
    """Return the name in shared/ for a name in the code. Names that the layout reserves get a prefix."""
    plain = link[len("shared/") :] if link.startswith("shared/") else link
    return plain if plain.split("/")[0] not in RESERVED or plain.startswith("static/") else f"data/{plain}"


def _list_served(facts: Facts) -> dict[str, Location]:
    return {
        os.path.realpath(location.directory): location
        for site in facts.sites()
        for location in site.locations
        if location.directory and not location.path.startswith(ACME_CHALLENGE)
    }


def _is_uploads(path: str, location: Location) -> bool:
    return os.path.basename(path) in UPLOADS or location.path.strip("/").split("/")[-1] in UPLOADS


def _detect_directory(facts: Facts, item: Node, evidence: Evidence, plan: AdoptionPlan) -> list[Move]:
    """Return the move of a directory in the code if it holds data."""
    path, name, link = item.path, os.path.basename(item.path), os.path.relpath(item.path, facts.code)
    if os.path.exists(os.path.join(path, "pyvenv.cfg")) or "/." in f"/{link}":
        return []
    contents, location = evidence.contents, evidence.served.get(path)
    if path not in contents.python:
        if location and _is_uploads(path, location):
            target = _choose_media(plan) or choose_target(link)
            return [_make_move("uploads", path, target, link, f"Nginx serves it at {location.path}")]
        if name in UPLOADS:
            return [_make_move("uploads", path, choose_target(link), link, "uploads")]
        if name in LOGS:
            return [_make_move("logs", path, "logs" if link in LOGS else choose_target(link), link, "logs")]
    if name == "instance":
        return [_make_move("data", path, choose_target(link), link, "Flask's directory for data")]
    if path in contents.code:
        return []
    return _detect_unnamed_directory(facts, item, link, evidence)


def _detect_unnamed_directory(facts: Facts, item: Node, link: str, evidence: Evidence) -> list[Move]:
    """Return the move of a directory without code if its contents or its permissions show that it holds data."""
    path, target, user = item.path, choose_target(link), facts.runtime_user
    if path in evidence.changing:
        # Nginx must be able to read it if it serves a directory above.
        public = any(is_within(path, directory) for directory in evidence.served)
        return [_make_move("uploads" if public else "data", path, target, link, evidence.changing[path])]
    if path in evidence.served or link == "static":
        return []
    if path in evidence.contents.databases:
        return [_make_move("data", path, target, link, "it holds a database")]
    if not evidence.open_code and user and has_permission(user, item, 2):
        return [_make_move("data", path, target, link, f"{user.name} writes to it")]
    return []


def _detect_file(facts: Facts, item: Node, evidence: Evidence) -> list[Move]:
    """Return the move of a file in the code if it is data."""
    path, name, link = item.path, os.path.basename(item.path), os.path.relpath(item.path, facts.code)
    flat = link.replace("/", "-")
    if is_database_at(path):
        return [_make_move("database", path, f"database/{flat}", link, "an SQLite database")]
    if name.endswith(".log"):
        return [_make_move("log", path, f"logs/{flat}", link, "a log")]
    if KEY.match(name):
        return [_make_move("key", path, link, link, "a private key")]
    if path in evidence.changing and not SECRETS.match(name):
        return [_make_move("data", path, f"data/{flat}", link, evidence.changing[path])]
    return []


def _make_move(kind: str, source: str, target: str, link: str, reason: str) -> Move:
    return Move(kind, source, target, link, "" if target == link else link, reason)
