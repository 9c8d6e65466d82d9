# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find obstacles: the state of the old service and of Nginx, unsafe links, other services, and paths in the code."""

from __future__ import annotations

import contextlib
import fnmatch
import os

from ansible_collections.flaskops.production.plugins.module_utils._adoption.other_data import is_in_venv
from ansible_collections.flaskops.production.plugins.module_utils._adoption.places import (
    Contents,
    find_mentions,
    list_texts,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import (
    ENVIRONMENT,
    AdoptionPlan,
    PlanRequest,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.site_settings import proxies_to
from ansible_collections.flaskops.production.plugins.module_utils._adoption.sources import find_source
from ansible_collections.flaskops.production.plugins.module_utils._core.text import one_line
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import MAX_SCANNED, Node
from ansible_collections.flaskops.production.plugins.module_utils._doctor.finding import format_paths
from ansible_collections.flaskops.production.plugins.module_utils._files.directory import UnsafePathError
from ansible_collections.flaskops.production.plugins.module_utils._files.paths import is_within
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import read_file, resolve


def check_deployment(request: PlanRequest, plan: AdoptionPlan) -> None:
    """Add obstacles unless a service runs the code, and a running Nginx proxies to it."""
    facts = request.facts
    if not facts.unit:
        plan.obstacles.append(
            f"No systemd service runs {facts.root}: set adopt_unit to the name of its service. A process that "
            "systemd did not start cannot be adopted, because nothing restarts it if the adoption fails."
        )
        return
    plan.obstacles += [*_check_links(facts), *_check_service(request), *_check_nginx(facts)]


def _check_links(facts: Facts) -> list[str]:
    found = []
    for path in dict.fromkeys((facts.root, facts.live)):
        with contextlib.suppress(FileNotFoundError):
            try:
                if resolve(path) != facts.code and path == facts.live:
                    found.append(f"{path} changed while the plan was made: run again when no other deploy is running.")
            except UnsafePathError as error:
                found.append(f"The path of the old deployment is unsafe: {error} Set adopt_from to its directory.")
    return found


def _check_service(request: PlanRequest) -> list[str]:
    facts, found = request.facts, []
    unit = facts.unit["Id"]
    if facts.unit.get("ActiveState") != "active":
        found.append(f"{unit} does not run ({facts.unit.get('ActiveState')}): start it first.")
    if not os.path.isdir(facts.code):
        found.append(f"The code of {unit} does not exist: {facts.code}. Set adopt_from to its directory.")
    elif is_within(request.root, facts.code):
        found.append(
            f"flask_app_root is {request.root}, which is or lies in the code ({facts.code}): set it to another "
            f"directory, such as {request.root}-production."
        )
    if not facts.listen:
        found.append(f"{unit} has no known address: it must be Gunicorn with --bind, or have a socket unit.")
    return found


def _check_nginx(facts: Facts) -> list[str]:
    if facts.nginx_state == "missing":
        return ["There is no Nginx on the host: an adoption needs it to hold requests while the service is replaced."]
    if facts.nginx_state.startswith("invalid"):
        errors = [line for line in facts.nginx_output.splitlines() if "[emerg]" in line] or [facts.nginx_output]
        return [f"Nginx refuses its configuration: {' '.join(errors)} Fix it first."]
    if facts.nginx_state.endswith("stopped"):
        return ["Nginx does not run: start it first."]
    if facts.listen and not any(proxies_to(site, facts.listen) for site in facts.sites()):
        return [f"No site of Nginx proxies to {facts.listen}, where {facts.unit['Id']} listens."]
    return []


def check_size(request: PlanRequest, plan: AdoptionPlan) -> None:
    facts = request.facts
    code = [item for item in facts.tree if not plan.includes(item.path)]
    if facts.truncated or len(code) > MAX_SCANNED:
        largest = Contents(code, facts.code).find_largest() or facts.code
        plan.obstacles.append(
            f"{facts.code} has too many files for code, most of them in {largest}: name data in release_shared_paths, "
            "or set adopt_from to the directory of the code."
        )


def check_sources(request: PlanRequest, plan: AdoptionPlan) -> None:
    """Add obstacles for data that root would read through an unsafe link, and for names that cannot be reported."""
    tops = request.tops
    read = [move.source for move in plan.moves] + plan.dotenv + plan.environment
    unprintable = [path for path in dict.fromkeys([*tops, *read, *plan.exclude]) if one_line(path) != path]
    if unprintable:
        plan.obstacles.append(
            "Names with control characters, or with bytes that are not UTF-8, cannot be distinguished: rename "
            f"{format_paths(unprintable)}."
        )
    for path in dict.fromkeys(read):
        try:
            if request.is_in_old(path):
                with find_source(path, tops):
                    pass
            else:
                read_file(path, 0)
        except UnsafePathError as error:
            plan.obstacles.append(
                f"{path} cannot be copied: {error} Put a copy in its place, or remove it from the old deployment."
            )
        except OSError:
            pass  # the copy reports it if it persists
    leaving = [
        one_line(f"{item.path} -> {item.target}")
        for item in request.facts.tree
        if item.target and not _is_in_either(request, os.path.realpath(item.path))
    ]
    if leaving:
        plan.attention.append(
            f"Links that lead out of {tops[0]} are copied as links, without the files that they lead to: "
            f"{format_paths(leaving)}."
        )


def _is_in_either(request: PlanRequest, path: str) -> bool:
    return request.is_in_old(path) or is_within(path, request.root)


def check_mentions(request: PlanRequest, plan: AdoptionPlan) -> None:
    """Report lines of the code that name data, or the deployment itself, by an absolute path."""
    facts, surroundings = request.facts, request.surroundings
    code = [item for item in facts.tree if _is_released(request, plan, item)]
    data = [move.source for move in plan.moves if move.kind == "data"]
    texts = [item for item in surroundings.beside if any(is_within(item.path, source) for source in data)]
    to_data: list[str] = []
    to_rest: list[str] = []
    for mention in find_mentions(
        list_texts([*code, *texts]), list(dict.fromkeys([facts.root, facts.code, facts.live]))
    ):
        real = os.path.realpath(mention.path)
        if request.is_in_layout(mention.path, "app", "shared", "run") or surroundings.is_left(real):
            continue
        beside = os.path.lexists(real) and request.is_beside_code(real) and not is_in_venv(real, facts.root)
        found = to_data if plan.includes(real) or beside else to_rest
        found.append(f"{mention.file}:{mention.line} ({mention.path})")
    if to_data:
        plan.obstacles.append(
            f"The code names data by its old path: {format_paths(to_data)}. The release would not find it: let the "
            "application take the path from an environment variable."
        )
    if to_rest:
        plan.attention.append(f"The code names its old directory, where the release is not: {format_paths(to_rest)}.")


def _is_released(request: PlanRequest, plan: AdoptionPlan, item: Node) -> bool:
    """Return whether a file of the code becomes part of the release."""
    parts = os.path.relpath(item.path, request.facts.code).split("/")
    return (
        not plan.includes(item.path)
        and not any(is_within(item.path, path) for path in plan.exclude)
        and not any(fnmatch.fnmatchcase(part, pattern) for part in parts for pattern in request.excluded)
    )


def check_inner_links(request: PlanRequest, plan: AdoptionPlan) -> None:
    """Add an obstacle for links in data to other parts of the old deployment. They would break in a copy."""
    broken = []
    for item in [*request.facts.tree, *request.surroundings.beside]:
        if not item.target:
            continue
        holding = (move for move in plan.moves if item.path != move.source and is_within(item.path, move.source))
        move = next(holding, None)
        end = os.path.realpath(item.path)
        if move and request.is_in_old(end) and not is_within(end, move.source) and os.path.lexists(end):
            broken.append(f"{item.path} -> {item.target}")
    if broken:
        plan.obstacles.append(
            f"Links in the data lead to other parts of {request.facts.root}, and would break in the copies: "
            f"{format_paths(broken)}. Replace each by a copy of its target."
        )


def check_other_units(request: PlanRequest, plan: AdoptionPlan) -> None:
    """Report other services of the old deployment. They would continue with the old code and data."""
    facts, surroundings = request.facts, request.surroundings
    shares_data = any(move.kind not in (ENVIRONMENT, "key", "log", "logs") for move in plan.moves)
    for name, runs in surroundings.units:
        if runs and shares_data and name not in surroundings.leave:
            plan.obstacles.append(
                f"{name} runs from {facts.root}, too, and would continue with the old data after the adoption of "
                f"{facts.unit['Id']}: stop and disable it, and do not start it from {facts.root} again. If it shares "
                f"no data with the application, set adopt_leave: ['{name}']."
            )
        else:
            plan.attention.append(
                f"{name} names {facts.root}, too, and is not adopted: let it use the paths of the new layout."
            )
